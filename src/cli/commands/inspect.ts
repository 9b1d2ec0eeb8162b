import { basename, join, resolve, sep } from 'node:path';
import type { Command } from 'commander';
import { MANIFEST } from '../../engine/engine.ts';
import { inspectLeveldbFile } from '../../engine/leveldb/inspect.ts';
import { inspectLsmFile } from '../../engine/lsm/inspect.ts';
import { readSmallFile } from '../../env/io.ts';
import { nodeFileSystem } from '../../env/node-file-system.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { OptionSet, optional } from '../../options/option.ts';
import { trueOrFalse, wholeNumber } from '../../options/values.ts';
import { LATEST } from '../../snapshot/store/layout.ts';
import { latestName } from '../../snapshot/store/list.ts';
import type { Cli } from '../cli.ts';
import { documentLines } from '../document-text.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';

const inspectOptions = new OptionSet(() => ({
  limit: optional(wholeNumber(1), {
    description: 'Lists at most this many entries, blocks, ….',
    without: '1000',
  }),
  keys: optional(trueOrFalse(), { description: 'Lists the entries of a table, and not only its blocks.' }),
}));

const MANIFEST_FILES = 1000;

const NOTE =
  'Values are given as lengths. Damage is told, and what can be read is shown all the same; `verify` judges.';

export function define(command: Command, cli: Cli): void {
  const flags = new Flags(inspectOptions.fields, ['limit', 'keys']);
  flags.addTo(command);
  command
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('inspect ./data/lsm.wal --limit 20', 'inspect ./data/sst/1.sst --keys --json', 'inspect ./snapshot/snapshot.manifest')}`,
    )
    .action(async (file: string, given: Given) => {
      const { limit, keys = false } = flags.read(given);
      const described = await inspect(file, { entries: keys, ...(limit !== undefined && { limit }) });
      cli.output.result(described, (style) => documentLines(described, style));
    });
}

async function inspect(file: string, options: { limit?: number; entries: boolean }): Promise<object> {
  const fs = nodeFileSystem;
  const path = await realPath(file).catch((cause) => {
    if (systemCode(cause) !== 'ENOENT' && systemCode(cause) !== 'ENOTDIR') throw cause;
    throw new StillpointError('NOT_FOUND', `no such file: ${file}`, {
      path: file,
      cause,
      hint: 'Check the path.',
    });
  });
  const stat = await fs.inspect(path);
  if (stat?.kind !== 'file') {
    const what = stat?.kind === 'folder' ? 'a folder' : 'not a regular file';
    throw new StillpointError('INVALID_REQUEST', `${file} is ${what}`, {
      path: file,
      hint: 'Name one file of a data directory or of a snapshot; for a whole folder use `stillpoint verify`.',
    });
  }
  if (basename(path) === MANIFEST) return { path, ...(await describeManifest(path, options.limit)) };
  const lsm = await inspectLsmFile(fs, path, options);
  if (lsm !== undefined) return { path, engine: 'lsm', ...lsm };
  const leveldb = await inspectLeveldbFile(fs, path, options);
  if (leveldb !== undefined) return { path, engine: 'leveldb', ...leveldb };
  throw new StillpointError('ENGINE_MISMATCH', `${file} is not a file of any known engine`, {
    path: file,
    hint: 'Known are the logs, tables and lists of lsm and LevelDB, and snapshot.manifest, by content or by name.',
  });
}

/** `…/backup/latest` is a file, and on the way to another it stands for the snapshot that it names. */
async function realPath(file: string): Promise<string> {
  const parts = resolve(file).split(sep);
  const marker = parts.lastIndexOf(LATEST);
  if (marker < 1 || marker === parts.length - 1) return nodeFileSystem.realPath(file);
  const parent = parts.slice(0, marker).join(sep) || sep;
  const name = await latestName(nodeFileSystem, parent);
  const named = name === undefined ? file : join(parent, name, ...parts.slice(marker + 1));
  return nodeFileSystem.realPath(named);
}

/** Nothing in a manifest that does not hold is worth showing: what is wrong with it is. */
async function describeManifest(path: string, limit = MANIFEST_FILES): Promise<object> {
  const { decodeManifest, MANIFEST_LIMIT_BYTES } = await import('../../snapshot/store/manifest.ts');
  const bytes = (await readSmallFile(nodeFileSystem, path, MANIFEST_LIMIT_BYTES)) ?? Buffer.alloc(0);
  const known = { kind: 'snapshot manifest', size_bytes: bytes.byteLength };
  try {
    const { sealed, snapshot = null, entries } = decodeManifest(bytes, path);
    const listed = entries.slice(0, limit);
    return { ...known, sealed, snapshot, entries_total: entries.length, entries: listed, problems: [] };
  } catch (error) {
    if (!(error instanceof StillpointError)) throw error;
    return {
      ...known,
      sealed: false,
      snapshot: null,
      entries_total: 0,
      entries: [],
      problems: [error.message],
    };
  }
}
