import { basename, dirname, join, resolve } from 'node:path';
import { describeKey } from '../engine/describe.ts';
import { engineByName } from '../engine/index.ts';
import { importClassicLevel } from '../engine/leveldb/classic-level.ts';
import type { Report } from '../engine/report.ts';
import { listFolder, listIfPresent, makeFolders, realPlace, removeTree, withFile } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import { stillnessOf } from '../snapshot/verify/live-directory.ts';
import { prove } from '../snapshot/verify/prove.ts';
import { readLeveldb } from './leveldb.ts';
import type { Loss } from './source.ts';
import { type Database, Stage } from './stage.ts';

/** Losses that a report lists. */
const LISTED = 1000;

/** Something that could not be read; keys as text, or in base64 where they are none. */
export interface LostPart {
  readonly path: string;
  readonly offset: number | null;
  readonly what: string;
  /** This key … */
  readonly from: ReturnType<typeof describeKey> | null;
  /** … and all behind it up to this one may be missing, or have an older value; null: there is no such bound. */
  readonly upTo: ReturnType<typeof describeKey> | null;
}

export interface Salvaged {
  readonly from: string;
  readonly into: string;
  /** Nothing that the source should have was missing or damaged. */
  readonly complete: boolean;
  /** Keys in the new database. */
  readonly entries: number;
  /** Files that were read. */
  readonly tables: number;
  readonly logs: number;
  /** The first thousand. */
  readonly lost: readonly LostPart[];
  readonly lostTotal: number;
  readonly notes: readonly string[];
  /** The proof of the new database. */
  readonly report: Report;
}

/** REQUIRES: `dir` is real, and holds a LevelDB. */
export async function salvageInto(
  env: Environment,
  dir: string,
  given: string,
  control: RunControl,
  watch: (bytesTotal: number) => void,
): Promise<Salvaged> {
  const { fs } = env;
  const into = await realPlace(fs, resolve(given));
  await refuseOccupied(env, dir, into);
  const { ClassicLevel } = await importClassicLevel();
  const engine = engineByName('leveldb');
  const names = (await listFolder(fs, dir)).filter(({ kind }) => kind === 'file').map(({ name }) => name);
  watch(await bytesOf(env, dir, names));
  const before = await stillnessOf(fs, engine, dir);
  await makeFolders(fs, dirname(into));
  const partial = join(dirname(into), `.${basename(into)}.salvage-${env.newId()}`);
  await fs.makeFolder(partial);
  try {
    const open = async (name: string): Promise<Database> => {
      const database: Database = new ClassicLevel(join(partial, name), {
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
        errorIfExists: true,
      });
      await database.open();
      return database;
    };
    const lost: Loss[] = [];
    let lostTotal = 0;
    const staged = await open('stage');
    const stage = new Stage(staged);
    let entries = 0;
    let read: Awaited<ReturnType<typeof readLeveldb>>;
    try {
      const lose = (loss: Loss): void => {
        lostTotal++;
        if (lost.length < LISTED) lost.push(loss);
      };
      read = await readLeveldb(fs, dir, names, { take: (some) => stage.take(some), lose }, control);
      const made = await open('data');
      try {
        entries = await fill(made, stage, control);
      } finally {
        await made.close();
      }
    } finally {
      await staged.close();
    }
    const data = join(partial, 'data');
    const { report } = await prove(env, data, { level: 'full', engine, control });
    if (!report.ok) {
      throw new StillpointError(
        'COPY_DAMAGED',
        `the new database does not pass its proof: ${report.verdict}`,
        {
          path: data,
          data: { findings: report.findings, verdict: report.verdict },
        },
      );
    }
    await syncAll(env, data);
    if ((await fs.inspect(into)) !== undefined) await fs.removeFolder(into); // it was empty
    await fs.rename(data, into);
    await fs.syncFolder(dirname(into));
    const moved = before !== (await stillnessOf(fs, engine, dir));
    const notes = moved
      ? [...read.notes, 'the folder was written to meanwhile: close the database first']
      : read.notes;
    return {
      from: dir,
      into,
      complete: lostTotal === 0 && !moved && read.notes.length === 0,
      entries,
      tables: read.tables,
      logs: read.logs,
      lost: lost.map(describeLoss),
      lostTotal,
      notes,
      report,
    };
  } finally {
    await removeTree(fs, partial);
  }
}

async function refuseOccupied({ fs }: Environment, dir: string, into: string): Promise<void> {
  if (into === dir || into.startsWith(`${dir}/`)) {
    throw new StillpointError('INVALID_REQUEST', `${into} lies in the folder that is to be salvaged`, {
      path: into,
    });
  }
  const found = await fs.inspect(into);
  if (found === undefined || (found.kind === 'folder' && (await listIfPresent(fs, into)).length === 0))
    return;
  throw new StillpointError('TARGET_NOT_EMPTY', `${into} exists and is not empty`, { path: into });
}

async function bytesOf({ fs }: Environment, dir: string, names: readonly string[]): Promise<number> {
  let total = 0;
  for (const name of names) total += (await fs.inspect(placeOf(dir, name)))?.sizeBytes ?? 0;
  return total;
}

/** Batches of about so many bytes. */
const BATCH_BYTES = 1024 * 1024;

async function fill(database: Database, stage: Stage, control: RunControl): Promise<number> {
  let entries = 0;
  let batch = database.batch();
  let bytes = 0;
  for await (const [key, value] of stage.present()) {
    batch.put(key, value);
    entries++;
    bytes += key.length + value.length;
    if (bytes < BATCH_BYTES) continue;
    control.checkCancelled();
    await batch.write();
    batch = database.batch();
    bytes = 0;
  }
  await batch.write({ sync: true });
  return entries;
}

async function syncAll({ fs }: Environment, folder: string): Promise<void> {
  for (const { name, kind } of await listFolder(fs, folder)) {
    if (kind === 'file') await withFile(fs, join(folder, name), 'read', (file) => file.sync());
  }
  await fs.syncFolder(folder);
}

const describeLoss = ({ path, offset, what, from, upTo }: Loss): LostPart => ({
  path,
  offset,
  what,
  from: from === undefined ? null : describeKey(from),
  upTo: upTo === undefined ? null : describeKey(upTo),
});
