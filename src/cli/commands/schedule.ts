import type { Command } from 'commander';
import {
  checkSettings,
  listSchedules,
  runSchedules,
  type ScheduleState,
  type SettingsCheck,
} from '../../schedule/index.ts';
import type { ScheduledRun } from '../../schedule/scheduler.ts';
import { systemEnvironment } from '../../snapshot/environment.ts';
import type { Cli } from '../cli.ts';
import { examples, paragraph } from '../help-text.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, table, time, visible } from '../text.ts';

const SETTINGS = { '<settings>': 'a JSON file with stores, repositories and plans' };
// Others are served meanwhile: nothing may block the event loop.
const environment = systemEnvironment;

const FAILED = 1;
const NOT_WELL = 3;

export function define(command: Command, cli: Cli): void {
  subcommand(
    command,
    'check',
    'try what a settings file says: folders, repositories, an object there and back',
    SETTINGS,
  )
    .addHelpText('after', examples('schedule check stillpoint.json'))
    .action(async (file: string) => {
      const check = await checkSettings(file, { environment });
      cli.output.result(check, (style) => describeCheck(check, style));
      if (!check.ok) cli.exitCode = FAILED;
    });
  subcommand(command, 'list', 'show when each plan is due, and what came of it the last time', SETTINGS)
    .addHelpText(
      'after',
      `${paragraph(LIST_NOTE)}\n${examples('schedule list stillpoint.json', 'schedule list stillpoint.json --json')}`,
    )
    .action(async (file: string) => {
      const list = await listSchedules(file, { environment });
      cli.output.result(list, (style) => describeList(list.schedules, style));
      if (list.schedules.some((one) => one.overdue || isFailed(one))) cli.exitCode = NOT_WELL;
    });
  subcommand(command, 'run', 'run the plans of a settings file until it is interrupted', SETTINGS)
    .addHelpText('after', `${paragraph(RUN_NOTE)}\n${examples('schedule run /etc/stillpoint.json')}`)
    .action(async (file: string) => {
      const beganAtMs = environment.clock.nowMs();
      await cli.interruptible(async (signal) => {
        await runSchedules(file, { environment, signal, onRun: (run) => cli.output.note(describeRun(run)) });
        cli.serviceEnded(signal);
      });
      cli.output.result({ beganAtMs, endedAtMs: environment.clock.nowMs() }, () => ['ended']);
    });
}

const LIST_NOTE = `
Exits with 3 if the last run of a plan failed, or a plan is overdue: due for longer than its "overdue_after"
without a success. A plan that no service runs is overdue, too, counted from when the settings file was written.
Only runs at due times count: \`stillpoint jobs DIR\` shows those on request, too.`;

const isFailed = ({ lastStatus }: ScheduleState): boolean =>
  lastStatus === 'failed' || lastStatus === 'interrupted';

const RUN_NOTE = `
Run it as a service. Each due time has one run, also where several services have the same plans. It ends at
SIGTERM with exit 0, at SIGINT and SIGHUP with 130: what is under way is cancelled and on record as failed.`;

function describeCheck({ ok, problems, stores, repositories, plans }: SettingsCheck, style: Style): string[] {
  const all = [
    count(stores, 'store'),
    `${repositories} repositor${repositories === 1 ? 'y' : 'ies'}`,
    count(plans, 'plan'),
  ];
  return [
    ...problems.flatMap(({ where, message, code, hint }) => [
      `${style.red(visible(where))}: ${visible(message)}  (${code})`,
      `  hint: ${visible(hint)}`,
    ]),
    ok
      ? `${style.green('good')}: ${all.join(', ')}`
      : `${count(problems.length, 'problem')} in ${all.join(', ')}`,
  ];
}

function describeList(schedules: readonly ScheduleState[], style: Style): string[] {
  if (schedules.length === 0) return ['no plans'];
  const rows = schedules.map((schedule) => [
    visible(schedule.plan),
    schedule.action,
    schedule.nextDueMs === null ? '-' : time(schedule.nextDueMs),
    schedule.lastDueMs === null ? '-' : time(schedule.lastDueMs),
    resultText(schedule),
    schedule.overdue ? 'overdue' : '',
    visible(schedule.lastError ?? ''),
  ]);
  const [head = '', ...lines] = table(
    [['PLAN', '', 'NEXT DUE', 'LAST DUE', 'RESULT BY SCHEDULE', '', ''], ...rows],
    [],
  );
  return [
    style.dim(head),
    ...lines.map((line, i) => {
      const schedule = schedules[i]!;
      if (schedule.overdue) return style.red(line);
      return isFailed(schedule) ? style.yellow(line) : line;
    }),
  ];
}

function resultText({ lastStatus, lastError }: ScheduleState): string {
  if (lastStatus === null) return lastError === null ? 'no service has run it' : 'not known';
  return lastStatus === 'begun' ? 'not due yet' : lastStatus;
}

const describeRun = ({ schedule, dueMs, status, error }: ScheduledRun): string => {
  const what = `${schedule.plan.name} ${schedule.action}, due ${time(dueMs)}: ${status}`;
  return error === null ? what : `${what}: ${visible(error)}`;
};
