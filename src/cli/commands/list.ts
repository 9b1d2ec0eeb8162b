import type { Command } from 'commander';
import { type SnapshotList, Snapshots } from '../../coordinator/snapshots.ts';
import { shellWord } from '../../options/shell-word.ts';
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
      cli.output.result(list, (style, columns) => describe(list, dir, options.kind, style, columns));
    });
}

function describe(
  list: SnapshotList,
  dir: string,
  kind: string | undefined,
  style: Style,
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const { latest, latestGood, snapshots, total } = list;
  if (snapshots.length === 0 && kind !== 'backup' && kind !== undefined)
    return [`no snapshots of the kind ${kind}`];
  if (snapshots.length === 0) return [`no snapshots yet; take one: stillpoint snapshot ${shellWord(dir)}`];
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
    snapshot.ownBytes === null ? '-' : size(snapshot.ownBytes),
    snapshot.level ?? '-',
    snapshot.verifiedAtMs === null
      ? '-'
      : `${age(snapshot.createdAtMs + snapshot.ageMs - snapshot.verifiedAtMs)} ago`,
    snapshot.name === latest ? 'latest' : snapshot.name === latestGood ? 'latest-good' : '',
    visible(states[i]!),
  ]);
  const [head = '', ...lines] = fitted([HEADING, ...rows], columns);
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
  'FREES',
  'LEVEL',
  'VERIFIED',
  '',
  'STATE',
];

/** What a narrow terminal has no room for goes first; `show` and a wider one have it all. */
const DISPENSABLE = ['MODE', 'ENGINE', 'CREATED', 'FILES', 'SIZE', 'VERIFIED'];
/** What is damaged is told in words; such a line may be longer. */
const LONG_STATE = 12;
const NUMBERS = ['AGE', 'FILES', 'SIZE', 'ON DISK', 'FREES'];

function fitted(rows: readonly (readonly string[])[], columns: number): string[] {
  let shown: readonly string[] = HEADING;
  for (const left of [...DISPENSABLE, undefined]) {
    const places = shown.map((name) => HEADING.indexOf(name));
    const right = NUMBERS.map((name) => shown.indexOf(name));
    const lines = table(
      rows.map((row) => places.map((place) => row[place]!)),
      right,
    );
    const fits = lines.every((line, i) => line.length <= columns || rows[i]!.at(-1)!.length > LONG_STATE);
    if (left === undefined || fits) return lines;
    shown = shown.filter((name) => name !== left);
  }
  return [];
}

/** Without holes, and with what several share counted once, it is less than the sizes add up to. */
function totalLine({ count: all, damaged, diskBytes, totalBytes }: SnapshotList['total']): string {
  const bad = damaged === 0 ? '' : `, ${number(damaged)} damaged`;
  return `${count(all, 'snapshot')}${bad}: ${size(diskBytes)} on disk for ${size(totalBytes)} of files`;
}
