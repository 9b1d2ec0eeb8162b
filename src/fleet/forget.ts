import { type FromOptions, fromOptions } from '../backup/list-backups.ts';
import { repositoryOf } from '../backup/options.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { checkArgument } from '../options/option.ts';
import { text } from '../options/values.ts';
import type { SetPin } from '../repository/layout.ts';
import type { Repository } from '../repository/repository.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { openPlanned, pinsOfSet, setPinsIn } from './copies/pushed-backup.ts';
import { lockLayout, noPlan } from './journal/open-run.ts';
import { readPlan } from './plan/plan.ts';

export interface ForgottenFleet {
  readonly backupId: string;
  /** The name of the repository; its address where there was no plan to say it. */
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
      const pins = await pinsOfSet(environment, repository, plan);
      const unpinned = await endPins(await openPlanned(environment, repository), pins);
      return { backupId, repository: repository.name, unpinned };
    } finally {
      await lock.release();
    }
  } catch (error) {
    throw toStillpointError(error);
  }
}

/**
 * The same without the layout folder, when that is lost: `backupId` is that of the fleet backup, as `listBackups` tells it. Only the
 * repository is asked, so a run that is still at work may pin members once more. A fleet backup that pins nothing there is no error.
 */
export async function forgetFleetIn(
  backupId: string,
  options: Pick<FromOptions, 'from' | 'encryption' | 'environment'>,
): Promise<ForgottenFleet> {
  checkArgument('forgetFleetIn: backupId', text(), backupId);
  fromOptions.check('forgetFleetIn', options);
  try {
    const repository = await repositoryOf(options.environment ?? systemEnvironment, options.from, options);
    const pins = await setPinsIn(repository, await repository.storeIds(), backupId);
    const unpinned = await endPins(repository, pins);
    return { backupId, repository: repository.destination.url, unpinned };
  } catch (error) {
    throw toStillpointError(error);
  }
}

async function endPins({ destination }: Repository, pins: readonly SetPin[]): Promise<number> {
  await destination.delete(pins.map(({ key }) => key));
  return pins.length;
}
