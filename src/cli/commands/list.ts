import type { Command } from 'commander';
import { type SnapshotList, Snapshots } from '../../coordinator/snapshots.ts';
import { listOptions } from '../../options/verify.ts';
import type { Cli } from '../cli.ts';
import { blockingEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples } from '../help-text.ts';
import { refuseOther } from '../refuse-other.ts';
import { stateCell } from '../state-text.ts';
import type { Style } from '../style.ts';
import { age, count, number, size, table, time, visible } from '../text.ts';

const flags = new Flags(listOptions.fields, ['kind']);

export function define(command: Command, cli: Cli): void {
  flags.addTo(command);
  command
    .addHelpText('after', examples('list ./data', 'list ./data --json', 'list ./data --kind archive'))
    .action(async (dir: string, given: Given) => {
      const options = flags.read(given);
      const list = await new Snapshots({ dataDir: dir, environment: blockingEnvironment }).list(options);
      if (list.snapshots.length === 0) await refuseOther('list', dir);
      cli.output.result(list, (style) => describe(list, dir, options.kind, style));
    });
}

function describe(list: SnapshotList, dir: string, kind: string | undefined, style: Style): string[] {
  const { latest, latestGood, snapshots, total } = list;
  if (snapshots.length === 0 && kind !== 'backup' && kind !== undefined)
    return [`no snapshots of the kind ${kind}`];
  if (snapshots.length === 0) return [`no snapshots yet; take one: stillpoint snapshot ${visible(dir)}`];
  const best = snapshots.find(({ name }) => name === latestGood);
  const states = snapshots.map((snapshot) => stateCell(snapshot, best));
  const rows = snapshots.map((snapshot, i) => [
    snapshot.name,
    time(snapshot.createdAtMs),
    age(snapshot.ageMs),
    visible(snapshot.engine ?? '-'),
    snapshot.mode ?? '-',
    snapshot.entries === null ? '-' : number(snapshot.entries),
    snapshot.totalBytes === null ? '-' : size(snapshot.totalBytes),
    snapshot.diskBytes === null ? '-' : size(snapshot.diskBytes),
    snapshot.level ?? '-',
    snapshot.verifiedAtMs === null
      ? '-'
      : `${age(snapshot.createdAtMs + snapshot.ageMs - snapshot.verifiedAtMs)} ago`,
    snapshot.name === latest ? 'latest' : snapshot.name === latestGood ? 'latest-good' : '',
    visible(states[i]!),
  ]);
  const [head = '', ...lines] = table([HEADING, ...rows], [2, 5, 6, 7]);
  return [
    style.dim(head),
    ...lines.map((line, i) => {
      if (snapshots[i]!.state === 'damaged') return style.red(line);
      if (states[i] !== 'good') return style.yellow(line);
      return snapshots[i]!.name === latest ? style.bold(line) : line;
    }),
    totalLine(total),
  ];
}

const HEADING = [
  'NAME',
  'CREATED',
  'AGE',
  'ENGINE',
  'MODE',
  'FILES',
  'SIZE',
  'ON DISK',
  'LEVEL',
  'VERIFIED',
  '',
  'STATE',
];

/** Without holes, and with what several share counted once, it is less than the sizes add up to. */
function totalLine({ count: all, damaged, diskBytes, totalBytes }: SnapshotList['total']): string {
  const bad = damaged === 0 ? '' : `, ${number(damaged)} damaged`;
  return `${count(all, 'snapshot')}${bad}: ${size(diskBytes)} on disk for ${size(totalBytes)} of files`;
}
