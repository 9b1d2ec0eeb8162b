import type { Command } from 'commander';
import { runsOptions, Snapshots } from '../../coordinator/snapshots.ts';
import type { RunRecord } from '../../operation/run-record.ts';
import { nameOf } from '../../snapshot/store/layout.ts';
import type { Cli } from '../cli.ts';
import { blockingEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples } from '../help-text.ts';
import { refuseOther } from '../refuse-other.ts';
import type { Style } from '../style.ts';
import { duration, number, size, table, time, visible } from '../text.ts';

const flags = new Flags(runsOptions.fields, ['kind', 'status', 'limit']);

export function define(command: Command, cli: Cli): void {
  flags.addTo(command);
  command
    .addHelpText('after', examples('runs ./data', 'runs ./data --status failed --limit 10 --json'))
    .action(async (dir: string, given: Given) => {
      const snapshots = new Snapshots({ dataDir: dir, environment: blockingEnvironment });
      const list = await snapshots.runs(flags.read(given));
      if (list.runs.length === 0) await refuseOther('runs', dir);
      cli.output.result(list, (style) => describe(list.runs, given, style));
    });
}

function describe(runs: readonly RunRecord[], { kind, status }: Given, style: Style): string[] {
  if (runs.length === 0) return [kind === undefined && status === undefined ? 'no runs yet' : 'no such runs'];
  const rows = runs.map(({ kind, location, state, upkeep }) => [
    state.startedAtMs === null ? '-' : time(state.startedAtMs),
    kind,
    state.status,
    tookText(state),
    kind !== 'verify' || state.progress === null ? '-' : size(state.progress.bytesProcessed ?? 0),
    visible(nameOf(location)),
    visible(state.code === null ? upkeepText(kind, upkeep) : `${state.code} ${state.reason ?? ''}`),
  ]);
  const heading = ['STARTED', 'KIND', 'STATUS', 'TOOK', 'READ', 'SNAPSHOT', ''];
  const [head = '', ...lines] = table([heading, ...rows], [3, 4]);
  return [
    style.dim(head),
    ...lines.map((line, i) => (runs[i]!.state.status === 'failed' ? style.red(line) : line)),
  ];
}

function upkeepText(kind: RunRecord['kind'], upkeep: RunRecord['upkeep']): string {
  if (upkeep === null) return '';
  const { folders, removed, freedBytes } = upkeep;
  if (kind === 'verify')
    return folders === 1 ? 'no damage found' : `no damage found in ${number(folders)} snapshots`;
  return `${number(removed)} of ${number(folders)} removed, ${size(freedBytes)} freed`;
}

function tookText({ startedAtMs, finishedAtMs, progress }: RunRecord['state']): string {
  if (finishedAtMs === null) return progress?.percent == null ? '-' : `${progress.percent}%`;
  return startedAtMs === null ? '-' : duration(Math.max(0, finishedAtMs - startedAtMs));
}
