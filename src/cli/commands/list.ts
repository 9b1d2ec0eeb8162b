import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type SnapshotList, Snapshots } from '../../coordinator/snapshots.ts';
import { ownerOf } from '../../snapshot/store/layout.ts';
import type { Cli } from '../cli.ts';
import { examples } from '../help-text.ts';
import type { Style } from '../style.ts';
import { number, size, table, time, visible } from '../text.ts';

export function define(command: Command, cli: Cli): void {
  command.addHelpText('after', examples('list ./data', 'list ./data --json')).action(async (dir: string) => {
    const list = await new Snapshots({ dataDir: dir }).list();
    cli.output.result(list, (style) => describe(list, dir, style));
  });
}

function nothingIn(dir: string): string {
  const owner = ownerOf(resolve(dir));
  if (owner === undefined) return `no snapshots yet; take one: stillpoint snapshot ${visible(dir)}`;
  return `${visible(dir)} is no data directory; try: stillpoint list ${visible(owner)}`;
}

function describe({ latest, snapshots }: SnapshotList, dir: string, style: Style): string[] {
  if (snapshots.length === 0) return [nothingIn(dir)];
  const rows = snapshots.map(({ name, createdAtMs, engine, entries, totalBytes, problem }) => [
    name,
    time(createdAtMs),
    visible(engine ?? '-'),
    entries === null ? '-' : number(entries),
    totalBytes === null ? '-' : size(totalBytes),
    name === latest ? 'latest' : '',
    problem === null ? '' : visible(problem),
  ]);
  const heading = ['NAME', 'CREATED', 'ENGINE', 'FILES', 'SIZE', '', ''];
  const [head = '', ...lines] = table([heading, ...rows], [3, 4]);
  return [
    style.dim(head),
    ...lines.map((line, i) => {
      const { name, problem } = snapshots[i]!;
      if (problem !== null) return style.red(line);
      return name === latest ? style.bold(line) : line;
    }),
  ];
}
