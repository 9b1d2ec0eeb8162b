import { type FleetEnvironment, openRun } from '../journal/open-run.ts';
import type { BackupPlan } from '../plan/plan.ts';
import { LocalSteps } from './local-steps.ts';
import type { Steps } from './steps.ts';

/** A run whose steps can be taken. No other process takes them until it is closed. */
export interface OpenSteps {
  /** The real path of the layout folder. */
  readonly layout: string;
  readonly plan: BackupPlan;
  readonly steps: Steps;
  close(): Promise<void>;
}

/** Opens the run of a layout folder; its steps are recorded in the journal there. */
export async function openLocalSteps(env: FleetEnvironment, layoutDir: string): Promise<OpenSteps> {
  const { layout, plan, journal, close } = await openRun(env, layoutDir);
  return { layout, plan, steps: new LocalSteps(journal, env.clock), close };
}
