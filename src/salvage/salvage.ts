import { dirname, join, sep } from 'node:path';
import { describeKey } from '../engine/describe.ts';
import type { Report } from '../engine/report.ts';
import { listFolder, makeFolders, removeTree, withFile } from '../env/io.ts';
import { giveToOwner } from '../env/ownership.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { crc32 } from '../format/crc32.ts';
import type { Environment } from '../snapshot/environment.ts';
import { checkTarget, moveToTarget } from '../snapshot/restore/target.ts';
import { partialFolder, placeOf } from '../snapshot/store/layout.ts';
import { describeFindings } from '../snapshot/verify/describe-findings.ts';
import { prove } from '../snapshot/verify/prove.ts';
import type { Entry, Loss, Part, Salvager, Source, Taking } from './source.ts';
import { Stage } from './stage.ts';
import type { Row, Store } from './store.ts';
import { unlessUnreadable } from './unreadable.ts';

/** In the folder that a new database is built in: what was read so far, and the database. */
const STAGE = 'stage';
const MADE = 'data';

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
  readonly engine: string;
  /** The source passes its own proof, and all of it was read. */
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
  /** Why the source does not pass its proof; null when it does. */
  readonly sourceProblem: string | null;
  /** The proof of the new database. */
  readonly report: Report;
  /** What was read where a checksum does not hold, in a database of its own; null when nobody asked for it. */
  readonly doubtful: { readonly into: string; readonly entries: number } | null;
}

/** Where to. */
export interface Targets {
  readonly into: string;
  /** For rows whose checksum does not hold, and which the new database lacks or has in an older version. */
  readonly doubtful?: string | undefined;
}

/** REQUIRES: `dir` is real. */
export async function salvageInto(
  env: Environment,
  salvager: Salvager,
  dir: string,
  targets: Targets,
  control: RunControl,
  watch: (bytesTotal: number) => void,
): Promise<Salvaged> {
  const { fs } = env;
  const target = await placeFor(env, dir, targets.into);
  const aside = targets.doubtful === undefined ? undefined : await placeFor(env, dir, targets.doubtful);
  if (aside !== undefined) refuseNested(target, aside);
  const parts = await salvager.list(fs, dir);
  const lost: Loss[] = [];
  let lostTotal = 0;
  const lose = (loss: Loss): void => {
    lostTotal++;
    if (lost.length < LISTED) lost.push(loss);
  };
  for (const { path, kind } of parts) {
    if (kind !== 'file') lose({ path, offset: null, what: `${KINDS[kind]}, which was not followed` });
  }
  const source: Source = {
    fs,
    dir,
    paths: parts.filter(({ kind }) => kind === 'file').map(({ path }) => path),
  };
  const before = await stateOf(source);
  watch(2 * before.bytes);
  const problem = await problemOf(env, salvager, dir, control);
  const begun = [await beginIn(env, target)];
  try {
    if (aside !== undefined) begun.push(await beginIn(env, aside));
    const [{ partial }, doubting] = begun as [Begun, Begun?];
    const [made, madeAside] = [join(partial, MADE), doubting && join(doubting.partial, MADE)];
    const make = (folder: string, rows: AsyncIterable<Row>) =>
      withStore(salvager.create(folder, source), (store) => fill(store, rows, control));
    const readInto = async (stage: Stage, doubts?: Stage) => {
      const doubt = doubts && ((found: readonly Entry[]) => doubts.take(found));
      const taking: Taking = { take: (found) => stage.take(found), lose, doubt };
      return {
        read: await salvager.read(source, taking, control),
        entries: await make(made, stage.present()),
        doubtfulEntries: doubts && (await make(madeAside!, doubts.newerThan(stage))),
      };
    };
    const { read, entries, doubtfulEntries } = await withStage(salvager, partial, (stage) =>
      doubting === undefined
        ? readInto(stage)
        : withStage(salvager, doubting.partial, (doubts) => readInto(stage, doubts)),
    );
    const report = await finished(env, salvager, made, control);
    const isMoved = before.mark !== (await stateOf(source, await salvager.list(fs, dir))).mark;
    control.checkCancelled();
    if (madeAside !== undefined) {
      await finished(env, salvager, madeAside, control);
      await moveToTarget(fs, madeAside, aside!);
    }
    await moveToTarget(fs, made, target);
    const notes = [...read.notes, ...(isMoved ? [MOVED] : [])];
    return {
      ...{ from: dir, into: target, engine: salvager.engine.name },
      complete: lostTotal === 0 && notes.length === 0 && problem === undefined,
      entries,
      tables: read.tables,
      logs: read.logs,
      lost: lost.map(describeLoss),
      lostTotal,
      notes,
      sourceProblem: problem ?? null,
      report,
      doubtful: aside === undefined ? null : { into: aside, entries: doubtfulEntries! },
    };
  } finally {
    for (const { partial, release } of begun) {
      await removeTree(fs, partial);
      await release();
    }
  }
}

interface Begun {
  readonly partial: string;
  release(): Promise<void>;
}

const withStage = <T>(salvager: Salvager, partial: string, work: (stage: Stage) => Promise<T>): Promise<T> =>
  withStore(salvager.create(join(partial, STAGE), undefined), (store) => work(new Stage(store)));

function refuseNested(into: string, doubtful: string): void {
  const isIn = (a: string, b: string) => `${a}${sep}`.startsWith(`${b}${sep}`);
  if (!isIn(into, doubtful) && !isIn(doubtful, into)) return;
  throw new StillpointError('INVALID_REQUEST', `${into} and ${doubtful} lie in one another`, {
    path: doubtful,
    hint: 'What is doubtful goes to a folder of its own.',
  });
}

/**
 * The folder beside the target that the new database is built in. One name for each target: what a killed run left there is found, and
 * removed. `CONFLICT` while another process is at it.
 */
async function beginIn(env: Environment, target: string): Promise<Begun> {
  const { fs } = env;
  const parent = dirname(target);
  await makeFolders(fs, parent);
  const mark = crc32(Buffer.from(target)).toString(16).padStart(8, '0');
  const partial = partialFolder(parent, `salvage-${mark}`);
  const there = await fs.inspect(partial);
  if (there === undefined) await fs.makeFolder(partial);
  else if (there.kind !== 'folder') {
    throw new StillpointError('CONFLICT', `${partial} is in the way, and is no folder`, {
      path: partial,
      hint: 'Move it away: the new database is built in a folder of that name.',
    });
  }
  const lock = await env.locks.tryAcquire(fs, join(partial, 'lock'), 'exclusive');
  if (lock === undefined)
    throw new StillpointError('CONFLICT', `another process is salvaging into ${target}`, { path: partial });
  try {
    for (const name of [STAGE, MADE]) await removeTree(fs, join(partial, name));
  } catch (error) {
    await lock.release();
    throw error;
  }
  return { partial, release: () => lock.release() };
}

const KINDS = { link: 'a link', folder: 'a folder', other: 'no regular file', file: 'a file' } as const;
const MOVED = 'the folder was written to meanwhile: close the database first';

async function placeFor({ fs }: Environment, dir: string, into: string): Promise<string> {
  const { folder, isMount } = await checkTarget(fs, into, {
    folder: dir,
    what: 'the folder that is to be salvaged',
    hint: 'Name a folder outside of it.',
  });
  if (!isMount) return folder;
  throw new StillpointError('TARGET_NOT_EMPTY', `${into} is a mount point; name a folder inside it`, {
    path: into,
  });
}

/** What the proof of the source says against it; undefined when it passes. */
async function problemOf(
  env: Environment,
  { engine }: Salvager,
  dir: string,
  control: RunControl,
): Promise<string | undefined> {
  try {
    const { report } = await prove(env, dir, { level: 'full', engine, control });
    if (report.ok) return undefined;
    return describeFindings(report.findings.filter(({ severity }) => severity === 'error'));
  } catch (error) {
    control.checkCancelled();
    return error instanceof Error ? error.message : String(error);
  }
}

async function withStore<T>(opening: Promise<Store>, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await opening;
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

/** The bytes of the source, and a mark that changes when somebody writes to it. */
async function stateOf({ fs, dir, paths }: Source, parts?: readonly Part[]) {
  const lines: string[] = [];
  let bytes = 0;
  for (const path of parts?.filter(({ kind }) => kind === 'file').map((part) => part.path) ?? paths) {
    const stat = await unlessUnreadable(
      () => fs.inspect(placeOf(dir, path)),
      () => undefined,
    );
    bytes += stat?.sizeBytes ?? 0;
    lines.push(`${path} ${stat?.ino} ${stat?.sizeBytes} ${stat?.mtimeNs}`);
  }
  return { bytes, mark: lines.sort().join('\n') };
}

async function proven(
  env: Environment,
  { engine }: Salvager,
  folder: string,
  control: RunControl,
): Promise<Report> {
  const { report } = await prove(env, folder, { level: 'full', engine, control });
  if (report.ok) return report;
  const { findings, verdict } = report;
  throw new StillpointError('COPY_DAMAGED', `the new database does not pass its proof: ${verdict}`, {
    path: folder,
    data: { findings, verdict },
  });
}

/** Batches of about so many bytes. */
const BATCH_BYTES = 1024 * 1024;

async function fill(store: Store, all: AsyncIterable<Row>, control: RunControl): Promise<number> {
  let entries = 0;
  let rows: Row[] = [];
  let bytes = 0;
  for await (const row of all) {
    rows.push(row);
    entries++;
    bytes += row[0].length + row[1].length;
    if (bytes < BATCH_BYTES) continue;
    control.checkCancelled();
    await store.put(rows);
    rows = [];
    bytes = 0;
  }
  await store.put(rows);
  return entries;
}

/** A database that passes its proof, durable. */
async function finished(
  env: Environment,
  salvager: Salvager,
  folder: string,
  control: RunControl,
): Promise<Report> {
  const report = await proven(env, salvager, folder, control);
  giveToOwner(folder);
  await syncAll(env, folder);
  return report;
}

/** All is on disk, and belongs to whom the folder belongs to: an engine of C++ makes its files as the user of this process. */
async function syncAll(env: Environment, folder: string): Promise<void> {
  const { fs } = env;
  for (const { name, kind } of await listFolder(fs, folder)) {
    const path = join(folder, name);
    giveToOwner(path);
    if (kind === 'folder') await syncAll(env, path);
    else await withFile(fs, path, 'read', (file) => file.sync());
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
