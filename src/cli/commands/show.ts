import type { Command } from 'commander';
import { StillpointError } from '../../errors.ts';
import { systemEnvironment } from '../../snapshot/environment.ts';
import { readManifest } from '../../snapshot/store/manifest-file.ts';
import type { ListedSnapshot } from '../../snapshot/store/standing.ts';
import type { Cli } from '../cli.ts';
import { examples } from '../help-text.ts';
import { addDataDirFlag } from '../options.ts';
import { explainNotFound, findOperand } from '../snapshot-operand.ts';
import { stateText } from '../state-text.ts';
import { age, count, number, size, table, time, visible } from '../text.ts';

const FILES_SHOWN = 50;

export function define(command: Command, cli: Cli): void {
  addDataDirFlag(command)
    .addHelpText(
      'after',
      examples('show latest --data-dir ./data', 'show ./data/.lifecycle/backup/ts-1763625600 --json'),
    )
    .action(async (snapshot: string, { dataDir }: { dataDir?: string }) => {
      const shown = await explainNotFound(snapshot, dataDir, () => read(snapshot, dataDir));
      cli.output.result(shown, () => describe(shown));
    });
}

/** The summary as in `list`, with what the manifest says of itself and of each file. */
async function read(snapshot: string, dataDir: string | undefined) {
  const summary = await findOperand(snapshot, dataDir);
  const { location } = summary;
  const manifest = await readManifest(systemEnvironment, location);
  if (manifest === undefined) {
    throw new StillpointError('NOT_FOUND', `${location} is not a snapshot: it has no manifest`, {
      path: location,
    });
  }
  const { sealed, snapshot: info, entries: files } = manifest;
  const { tool = null, parent = null, checkpoint = null } = info ?? {};
  return { ...summary, sealed, tool, parent, checkpoint, files };
}

/** Files that it shares with an earlier snapshot were proven before it was taken. */
function verifiedText({ verifiedAtMs, createdAtMs, state }: ListedSnapshot): string {
  if (verifiedAtMs === null) return 'not on record';
  if (state === 'damaged' || verifiedAtMs >= createdAtMs) return time(verifiedAtMs);
  return `${time(verifiedAtMs)}: the oldest proof of a file, shared with an earlier snapshot and proven with that`;
}

function diskText({ diskBytes, ownBytes }: { diskBytes: number | null; ownBytes: number | null }): string {
  if (diskBytes === null || ownBytes === null) return 'not looked at';
  return `${size(diskBytes)}; ${size(ownBytes)} of it is freed when it is removed`;
}

function describe(shown: Awaited<ReturnType<typeof read>>): string[] {
  const { files } = shown;
  const facts = [
    ['name', shown.name],
    ['id', shown.id ?? '-'],
    ['created', `${time(shown.createdAtMs)}, ${age(shown.ageMs)} ago`],
    ['state', stateText(shown)],
    ['verified', verifiedText(shown)],
    [
      'from the disk',
      shown.mediumAtMs === null
        ? 'not on record; `verify --medium` reads it past the memory of the system'
        : `itself read ${time(shown.mediumAtMs)}`,
    ],
    ['level', shown.level ?? 'none on record'],
    [
      'mode',
      shown.mode === 'link' ? 'link: it may share files with the database' : (shown.mode ?? 'not on record'),
    ],
    ['engine', shown.engine ?? 'unknown'],
    ['checkpoint', shown.checkpoint === null ? '-' : `lsn ${shown.checkpoint.lsn}`],
    ['parent', shown.parent ?? '-'],
    ['taken by', shown.tool ?? 'another tool'],
    ['manifest', shown.sealed ? 'sealed' : 'unsealed: it carries no checksum of itself'],
    ['content', `${count(files.length, 'file')}, ${size(shown.totalBytes ?? 0)}`],
    ['on disk', diskText(shown)],
    ['location', shown.location],
  ];
  const rows = files
    .slice(0, FILES_SHOWN)
    .map(({ path, size: bytes, crc32, kind }) => [
      visible(path),
      number(bytes),
      crc32.toString(16).padStart(8, '0'),
      kind ?? '',
    ]);
  return [
    ...table(facts.map(([name = '', value = '']) => [name, visible(value)])),
    '',
    ...table([['FILE', 'BYTES', 'CRC-32', 'KIND'], ...rows], [1]),
    ...(files.length > FILES_SHOWN
      ? [`… and ${number(files.length - FILES_SHOWN)} more; --json has them all`]
      : []),
  ];
}
