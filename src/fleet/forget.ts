import { StillpointError, toStillpointError } from '../errors.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { unpinSet } from './copies/pushed-backup.ts';
import { lockLayout, noPlan } from './journal/open-run.ts';
import { readPlan } from './plan/plan.ts';

export interface ForgottenFleet {
  readonly backupId: string;
  /** The name of the repository. */
  readonly repository: string;
  /** How many backups it pinned until now. */
  readonly unpinned: number;
}

/**
 * Lets the repository's retention remove the members of a pushed backup: ends the pins that keep them, finished or not. Removes nothing
 * itself. Calling it again, also after a call that was cut off, ends what is left. `INVALID_REQUEST` for a backup that was downloaded,
 * `CONFLICT` while a run is at work on it.
 */
export async function forgetFleet(
  layoutDir: string,
  environment: Environment = systemEnvironment,
): Promise<ForgottenFleet> {
  try {
    const { layout, lock } = await lockLayout(environment, layoutDir);
    try {
      const plan = await readPlan(environment.fs, layout);
      if (plan === undefined) throw noPlan(layoutDir);
      const { repository, backup_id: backupId } = plan;
      if (repository === undefined)
        throw new StillpointError('INVALID_REQUEST', `the backup in ${layoutDir} is in no repository`, {
          path: layoutDir,
          hint: 'Its copies stand in that folder: remove it.',
        });
      const unpinned = await unpinSet(environment, repository, plan);
      return { backupId, repository: repository.name, unpinned };
    } finally {
      await lock.release();
    }
  } catch (error) {
    throw toStillpointError(error);
  }
}
