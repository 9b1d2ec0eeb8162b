import type { JobStore, Tick } from '../backup/jobs/job-store.ts';
import { hasJobs } from '../backup/jobs/open-jobs.ts';
import { openSqliteJobStore } from '../backup/jobs/sqlite-job-store.ts';
import { listBackups } from '../backup/list-backups.ts';
import { destinationOf, translated } from '../backup/options.ts';
import type { BackupCoordinator } from '../coordinator/backup.ts';
import { engineByName } from '../engine/index.ts';
import { believed, recognizeEngine, unknownFolder } from '../engine/recognize.ts';
import { isoTime, pause } from '../env/clock.ts';
import { toStillpointError } from '../errors.ts';
import { DataDirectory } from '../operation/data-directory.ts';
import { checkArgument, OptionSet, type OptionsOf, optional } from '../options/option.ts';
import { signal } from '../options/snapshot.ts';
import { callback, path } from '../options/values.ts';
import { type Environment, environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { beat, channelsOf, testAlert } from './alert-channels.ts';
import type { AlertSettings } from './alert-settings.ts';
import { Alerts, noAlerts } from './alerts.ts';
import { perform } from './perform.ts';
import { believedTicks, type Schedule, type ScheduledRun, Scheduler, schedulesOf } from './scheduler.ts';
import { type Action, type Plan, readSettings } from './settings.ts';

export const runSchedulesOptions = new OptionSet(() => ({
  environment: environmentOption(),
  signal: signal(),
  onRun: optional(callback<(run: ScheduledRun) => void>(), {
    description: 'Told of each run when it begins and when it has ended, and of what was not run.',
  }),
  coordinatorOf: optional(callback<(dataDir: string) => BackupCoordinator | undefined>(), {
    description: 'The coordinator of a database that this process has open, by its absolute data directory.',
    without: 'the files are captured from outside',
  }),
}));
export type RunSchedulesOptions = OptionsOf<typeof runSchedulesOptions>;

const TICK_MS = 1000;

/**
 * Runs the plans of a settings file until the signal is aborted; then it ends the runs that are under way, and resolves. Several
 * services may run the same plans. Rejects with `INVALID_REQUEST` or `NOT_FOUND` when the file cannot be used.
 */
export async function runSchedules(settingsFile: string, options: RunSchedulesOptions = {}): Promise<void> {
  checkArgument('runSchedules: settingsFile', path(), settingsFile);
  runSchedulesOptions.check('runSchedules', options);
  const { environment = systemEnvironment } = options;
  return translated(async () => {
    const { plans, alerts } = await readSettings(environment.fs, settingsFile);
    await runPlans(plans, alerts, options);
  });
}

/** The same with plans that were read already. */
export async function runPlans(
  plans: readonly Plan[],
  settings: AlertSettings | undefined,
  options: RunSchedulesOptions,
): Promise<void> {
  const { environment = systemEnvironment, signal, onRun, coordinatorOf } = options;
  const { clock, fs } = environment;
  const schedules = schedulesOf(plans);
  const openJobs = (plan: Plan) => jobsOf(plan, environment);
  const heartbeat = settings?.heartbeat;
  const alerts = new Alerts(settings === undefined ? [] : schedules, {
    clock,
    openJobs,
    signal,
    channels: settings === undefined ? [] : channelsOf(settings, fs),
    heartbeat: heartbeat && { everyMs: heartbeat.every, beat: () => beat(heartbeat, fs, signal) },
  });
  const scheduler = new Scheduler(schedules, {
    clock,
    openJobs,
    perform: (schedule) => perform(schedule, { environment, signal, coordinatorOf }),
    onRun(run) {
      alerts.wake();
      onRun?.(run);
    },
  });
  await untilAborted(signal, async () => {
    await scheduler.tick();
    alerts.tick();
  });
  await scheduler.idle();
  await alerts.idle();
}

export interface AlertTest {
  readonly ok: boolean;
  readonly channels: readonly { readonly channel: string; readonly error: string | null }[];
}

/** Sends one alert of the kind `test` through each channel of a settings file, and one heartbeat. */
export async function testAlerts(
  settingsFile: string,
  options: { readonly environment?: Environment } = {},
): Promise<AlertTest> {
  checkArgument('testAlerts: settingsFile', path(), settingsFile);
  const { fs, clock } = options.environment ?? systemEnvironment;
  return translated(async () => {
    const { alerts, path: file } = await readSettings(fs, settingsFile);
    if (alerts === undefined) throw noAlerts(file);
    const { heartbeat } = alerts;
    const text = `stillpoint: a test of the alerts in ${file}`;
    const alert = testAlert(`test/${isoTime(clock.nowMs())}`, text);
    const sends: [string, () => Promise<void>][] = channelsOf(alerts, fs).map((channel) => [
      channel.name,
      () => channel.send(alert),
    ]);
    if (heartbeat !== undefined) sends.push(['heartbeat', () => beat(heartbeat, fs)]);
    const channels: { channel: string; error: string | null }[] = [];
    for (const [channel, send] of sends) {
      const error = await send().then(
        () => null,
        (problem) => toStillpointError(problem).message,
      );
      channels.push({ channel, error });
    }
    return { ok: channels.every(({ error }) => error === null), channels };
  });
}

async function untilAborted(signal: AbortSignal | undefined, tick: () => Promise<void>): Promise<void> {
  while (!signal?.aborted) {
    await tick();
    await pause(TICK_MS, signal).catch(() => undefined); // the loop sees that it was aborted
  }
}

async function jobsOf({ store: { dataDir } }: Plan, environment: Environment): Promise<JobStore> {
  return openSqliteJobStore(environment, await new DataDirectory(dataDir, environment).layout());
}

/** One action of one plan, and how it stands. */
export interface ScheduleState {
  readonly plan: string;
  readonly action: Action;
  readonly dataDir: string;
  readonly nextDueMs: number | null;
  /** The last due time that somebody saw; null: no service has run it yet. */
  readonly lastDueMs: number | null;
  readonly lastStatus: Tick['status'] | null;
  /** Of the last run; without one, why nothing is known. */
  readonly lastError: string | null;
  readonly lastSuccessMs: number | null;
  /** Due for longer than `overdue_after` without a success, by a service or because no service runs it; or that is not known. */
  readonly overdue: boolean;
}

/** Every schedule of a settings file, by what is on record in the data directories. */
export async function listSchedules(
  settingsFile: string,
  options: { readonly environment?: Environment } = {},
): Promise<{ readonly schedules: readonly ScheduleState[] }> {
  checkArgument('listSchedules: settingsFile', path(), settingsFile);
  const environment = options.environment ?? systemEnvironment;
  return translated(async () => {
    const { plans } = await readSettings(environment.fs, settingsFile);
    return { schedules: await statesOf(plans, environment) };
  });
}

export async function statesOf(plans: readonly Plan[], environment: Environment): Promise<ScheduleState[]> {
  const schedules: ScheduleState[] = [];
  for (const schedule of schedulesOf(plans)) {
    const state = await stateOf(schedule, environment).catch((error) =>
      unknownState(schedule, environment, error),
    );
    schedules.push(state);
  }
  return schedules;
}

/** Where the data directory is away: what is not known does not count as done. */
const unknownState = (
  { plan, action, times }: Schedule,
  { clock }: Environment,
  error: unknown,
): ScheduleState => ({
  plan: plan.name,
  action,
  dataDir: plan.store.dataDir,
  nextDueMs: times.firstAfter(clock.nowMs()) ?? null,
  lastDueMs: null,
  lastStatus: null,
  lastError: toStillpointError(error).message,
  lastSuccessMs: null,
  overdue: true,
});

async function stateOf(schedule: Schedule, environment: Environment): Promise<ScheduleState> {
  const { id, plan, action, times } = schedule;
  const ticks = await ticksOf(plan, id, environment);
  const nowMs = environment.clock.nowMs();
  const [last] = ticks;
  const success = ticks.find(({ status }) => status === 'succeeded');
  const lateMs = times.newestUpTo(nowMs - plan.overdue_after);
  const began = ticks.at(-1)?.dueMs ?? plan.writtenAtMs;
  const isLate = lateMs !== undefined && lateMs > began && (success?.dueMs ?? 0) < lateMs;
  return {
    plan: plan.name,
    action,
    dataDir: plan.store.dataDir,
    nextDueMs: times.firstAfter(nowMs) ?? null,
    lastDueMs: last === undefined || last.status === 'begun' ? null : last.dueMs,
    lastStatus: last?.status ?? null,
    lastError: last?.error ?? null,
    lastSuccessMs: success?.finishedAtMs ?? null,
    overdue: isLate,
  };
}

/** Asking makes no file. */
async function ticksOf(plan: Plan, scheduleId: string, environment: Environment): Promise<Tick[]> {
  const layout = await new DataDirectory(plan.store.dataDir, environment).layout();
  if (!(await hasJobs(environment, layout))) return [];
  const jobs = await jobsOf(plan, environment);
  try {
    return await believedTicks(jobs, scheduleId, environment.clock.nowMs());
  } finally {
    await jobs.close();
  }
}

export interface SettingsProblem {
  /** Such as `repositories.offsite`. */
  readonly where: string;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

export interface SettingsCheck {
  readonly ok: boolean;
  readonly stores: number;
  readonly repositories: number;
  readonly plans: number;
  readonly problems: readonly SettingsProblem[];
}

/**
 * Tries what a settings file says: each data directory is there, each repository opens, and an object that is put there comes back;
 * it is removed again. Rejects when the file itself cannot be used.
 */
export async function checkSettings(
  settingsFile: string,
  options: { readonly environment?: Environment } = {},
): Promise<SettingsCheck> {
  checkArgument('checkSettings: settingsFile', path(), settingsFile);
  const environment = options.environment ?? systemEnvironment;
  return translated(async () => {
    const { stores, repositories, plans } = await readSettings(environment.fs, settingsFile);
    const problems: SettingsProblem[] = [];
    const attempt = async (where: string, work: () => Promise<unknown>) => {
      try {
        await work();
      } catch (error) {
        const { code, message, hint } = toStillpointError(error);
        problems.push({ where, code, message, hint });
      }
    };
    for (const { name, dataDir, engine } of stores) {
      await attempt(`stores.${name}`, async () => {
        const { dataDir: real } = await new DataDirectory(dataDir, environment).layout();
        if (engine !== 'auto') await believed(engineByName(engine), environment.fs, real);
        else if ((await recognizeEngine(environment.fs, real)) === undefined)
          throw await unknownFolder(environment.fs, real, 'For other files say `"engine": "files"`.');
      });
    }
    for (const { name, destination, encryption } of repositories) {
      await attempt(`repositories.${name}`, async () => {
        await listBackups({ environment, from: destination, ...(encryption && { encryption }) });
        await (await destinationOf(destination)).probe();
      });
    }
    const counts = { stores: stores.length, repositories: repositories.length, plans: plans.length };
    return { ok: problems.length === 0, ...counts, problems };
  });
}
