import { pause } from '../../env/clock.ts';
import { writeJson } from '../../env/durable-json.ts';
import { realPlace } from '../../env/io.ts';
import type { HeldLock } from '../../env/lock.ts';
import { StillpointError } from '../../errors.ts';
import { journalFileOf } from '../journal/journal.ts';
import {
  driverFileOf,
  type FleetEnvironment,
  isDrivenElsewhere,
  lockLayout,
  noPlan,
  openRun,
} from '../journal/open-run.ts';
import { writeLog } from '../journal/record-log.ts';
import { type BackupPlan, readPlan } from '../plan/plan.ts';
import { openDbosSteps } from './dbos-steps.ts';
import { LocalSteps } from './local-steps.ts';
import type { Steps } from './steps.ts';

/** A run whose steps can be taken. No other process takes them until it is closed. */
export interface OpenSteps {
  /** The real path of the layout folder. */
  readonly layout: string;
  readonly plan: BackupPlan;
  readonly steps: Steps;
  /** Does all the work of the run. Rejects early when steps cannot be recorded any more. */
  run<T>(work: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Opens the run of a layout folder; its steps are recorded in the journal there. */
export async function openLocalSteps(env: FleetEnvironment, layoutDir: string): Promise<OpenSteps> {
  const { layout, plan, journal, close } = await openRun(env, layoutDir);
  return { layout, plan, steps: new LocalSteps(journal, env.clock), run: (work) => work(), close };
}

/**
 * Opens the run of a layout folder; its steps are recorded in PostgreSQL. Waits while another controller has the run, also on another
 * machine. When it ends, the layout folder gets a copy of what is on record.
 */
export async function openSharedSteps(
  env: FleetEnvironment,
  layoutDir: string,
  url: string,
  signal: AbortSignal,
): Promise<OpenSteps> {
  const { fs } = env;
  const layout = await realPlace(fs, layoutDir);
  const plan = await readPlan(fs, layout);
  if (plan === undefined) throw noPlan(layoutDir);
  const steps = await openDbosSteps({ url, plan, clock: env.clock }, signal);
  let lock: HeldLock | undefined;
  const close = async () => {
    await steps.close();
    await lock?.release();
  };
  try {
    lock = await lockSoon(env, layoutDir);
    if (!(await isDrivenElsewhere(fs, layout))) {
      if ((await fs.inspect(journalFileOf(layout))) !== undefined)
        throw new StillpointError(
          'CONFLICT',
          `the run in ${layoutDir} was begun with a journal in that folder`,
          {
            path: layout,
            hint: 'Continue it without `--steps`, or begin another one in a new folder.',
          },
        );
      await writeJson(fs, driverFileOf(layout), { driver: 'dbos' }, 'lines');
    }
  } catch (error) {
    await close();
    throw error;
  }
  const finish = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } finally {
      await steps.end();
      await writeLog(fs, journalFileOf(layout), [steps.execution.toRecord()]);
    }
  };
  return { layout, plan, steps, run: (work) => Promise.race([finish(work), steps.lost]), close };
}

const TRIES = 50;
const TRY_MS = 100;

/** The kernel frees the lock of a controller that was killed a moment later than PostgreSQL may have noticed. */
async function lockSoon(env: FleetEnvironment, layoutDir: string): Promise<HeldLock> {
  for (let left = TRIES; ; left--) {
    try {
      return (await lockLayout(env, layoutDir)).lock;
    } catch (error) {
      const isHeld = error instanceof StillpointError && error.code === 'CONFLICT';
      if (!isHeld || left === 0) throw error;
      await pause(TRY_MS);
    }
  }
}
