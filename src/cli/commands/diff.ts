import type { Command } from 'commander';
import { compareSnapshots, type SnapshotDifference } from '../../snapshot/compare-snapshots.ts';
import type { Cli } from '../cli.ts';
import { blockingEnvironment } from '../environment.ts';
import { examples, paragraph } from '../help-text.ts';
import { addDataDirFlag } from '../options.ts';
import { explainNotFound, findOperand } from '../snapshot-operand.ts';
import type { Style } from '../style.ts';
import { count, number, size, table, visible } from '../text.ts';

const FILES_SHOWN = 50;
const DIFFERENT = 1;
const NOTE =
  'By what the manifests say: no file is read. A database writes new tables instead of changing old ones, so little of it is "changed". Exits with 1 when the two differ.';

export function define(command: Command, cli: Cli): void {
  addDataDirFlag(command)
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('diff ts-1763625600 latest --data-dir ./data', 'diff ./a/.lifecycle/backup/latest ./b/.lifecycle/backup/latest')}`,
    )
    .action(async (from: string, to: string, { dataDir }: { dataDir?: string }) => {
      const place = (snapshot: string) =>
        explainNotFound(snapshot, dataDir, async () => (await findOperand(snapshot, dataDir)).location);
      const difference = await compareSnapshots(blockingEnvironment, await place(from), await place(to));
      cli.output.result(difference, (style) => describe(difference, style));
      if (!difference.identical) cli.exitCode = DIFFERENT;
    });
}

const SIGNS = { added: '+', removed: '-', changed: '~' } as const;

function describe(difference: SnapshotDifference, style: Style): string[] {
  const { from, to, files, identical, addedBytes, removedBytes, unchangedFiles, unchangedBytes } = difference;
  const names = `${style.bold(from.name)} and ${style.bold(to.name)}`;
  const same = `${count(unchangedFiles, 'file')}, ${size(unchangedBytes)}`;
  if (identical) return [`${names} have the same files by their manifests: ${same}; nothing was read`];
  const rows = files
    .slice(0, FILES_SHOWN)
    .map(({ path, change, beforeBytes, afterBytes }) => [
      SIGNS[change],
      visible(path),
      beforeBytes === null ? '' : number(beforeBytes),
      afterBytes === null ? '' : number(afterBytes),
    ]);
  return [
    ...table([['', 'FILE', 'BYTES BEFORE', 'BYTES AFTER'], ...rows], [2, 3]),
    ...(files.length > FILES_SHOWN
      ? [`… and ${number(files.length - FILES_SHOWN)} more; --json has them all`]
      : []),
    `${names} differ in ${count(files.length, 'file')}: ${size(addedBytes)} new, ${size(removedBytes)} gone; ${same} are the same`,
  ];
}
