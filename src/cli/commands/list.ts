import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type SnapshotList, Snapshots } from '../../coordinator/snapshots.ts';
import { detectEngine } from '../../engine/index.ts';
import { blockingFileSystem } from '../../env/blocking-file-system.ts';
import { nodeFileSystem } from '../../env/node-file-system.ts';
import { StillpointError } from '../../errors.ts';
import { layoutOf, ownerOf } from '../../snapshot/store/layout.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { examples } from '../help-text.ts';
import { stateCell } from '../state-text.ts';
import type { Style } from '../style.ts';
import { age, count, number, size, table, time, visible } from '../text.ts';

// Nothing else goes on in this process: with calls that block it, a list takes two thirds of the time.
const environment = { ...commandEnvironment, fs: blockingFileSystem };

export function define(command: Command, cli: Cli): void {
  command.addHelpText('after', examples('list ./data', 'list ./data --json')).action(async (dir: string) => {
    const list = await new Snapshots({ dataDir: dir, environment }).list();
    if (list.snapshots.length === 0) await refuseOther(dir);
    cli.output.result(list, (style) => describe(list, dir, style));
  });
}

/** A folder without snapshots that is no data directory either: most likely a mistake in the path. */
async function refuseOther(dir: string): Promise<void> {
  const fs = nodeFileSystem;
  const owner = ownerOf(resolve(dir));
  if (owner !== undefined) {
    throw new StillpointError('ENGINE_MISMATCH', `${dir} is no data directory`, {
      path: dir,
      hint: `Try: stillpoint list ${owner}`,
    });
  }
  if ((await fs.inspect(layoutOf(dir).lifecycle)) !== undefined) return;
  if ((await detectEngine(fs, dir)) !== undefined) return;
  const isEmpty = (await fs.list(dir)).length === 0;
  throw new StillpointError(
    isEmpty ? 'EMPTY_SOURCE' : 'ENGINE_MISMATCH',
    `${dir} is no data directory: ${isEmpty ? 'it is empty' : 'it holds neither snapshots nor files of a known engine'}`,
    { path: dir, hint: 'Check the path.' },
  );
}

function describe(list: SnapshotList, dir: string, style: Style): string[] {
  const { latest, latestGood, snapshots, total } = list;
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
