import { dirname } from 'node:path';
import * as z from 'zod';
import { pause } from '../env/clock.ts';
import { Semaphore } from '../env/concurrency.ts';
import { parseJson, problemsOf } from '../env/durable-json.ts';
import type { FileSystem } from '../env/file-system.ts';
import { makeFolders, readSmallFile, replaceFile, withFile, writeFully } from '../env/io.ts';
import { isNoSpace, StillpointError } from '../errors.ts';
import { type CamelCased, fromJson, toJson } from '../options/casing.ts';
import { type Layout, nameOf } from '../snapshot/store/layout.ts';
import { withReserve } from '../snapshot/store/reserve.ts';
import { isFinished, operationStateSchema } from './operation-state.ts';

export const RUN_KINDS = ['backup', 'archive', 'export', 'transient', 'restore', 'undo'] as const;
export type RunKind = (typeof RUN_KINDS)[number];

/** What keeps the snapshots in order. It is on record once it has ended (`upkeep.ts`). */
const UPKEEP_KINDS = ['verify', 'prune', 'delete'] as const;
export type UpkeepKind = (typeof UPKEEP_KINDS)[number];

export const RECORD_KINDS = [...RUN_KINDS, ...UPKEEP_KINDS] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

/**
 * A line of an earlier version lacks the fields that came later, and a line that does not fit is skipped: give each new field its
 * value in `ABSENT`, or the history of every database is lost with an upgrade.
 */
export const recordSchema = z.object({
  id: z.string(),
  kind: z.enum(RECORD_KINDS),
  /** The snapshot written, the one restored from, or the snapshot or folder that was looked after. */
  location: z.string(),
  state: operationStateSchema,
  /** What a restore brought back. */
  metadata: z
    .object({
      backup_id: z.string(),
      location: z.string(),
      restored_at_ms: z.number(),
      size_bytes: z.number(),
    })
    .nullable(),
  /** What verifying or removing came to. */
  upkeep: z
    .object({
      /** Snapshots, or undo folders, that were looked at. */
      folders: z.number(),
      removed: z.number(),
      freed_bytes: z.number(),
    })
    .nullable(),
});

/** What a line says that lacks these fields. */
const ABSENT: Omit<z.input<typeof recordSchema>, 'id' | 'kind' | 'location' | 'state'> & {
  readonly state: Omit<z.input<typeof operationStateSchema>, 'status'>;
} = {
  metadata: null,
  upkeep: null,
  state: {
    started_at_ms: null,
    finished_at_ms: null,
    progress: null,
    reason: null,
    code: null,
    phase: null,
    files_processed: null,
    files_total: null,
  },
};

const ABSENT_PROGRESS: z.input<typeof operationStateSchema>['progress'] = {
  percent: null,
  bytes_processed: null,
  bytes_total: null,
};

export type RunRecord = CamelCased<z.infer<typeof recordSchema>>;

/** A run as it reads once its process is gone. */
export function gone(record: RunRecord): RunRecord {
  if (isFinished(record.state)) return record;
  const end = {
    status: 'failed',
    code: 'INTERRUPTED',
    reason: 'the process ended in the middle of it',
  } as const;
  return { ...record, state: { ...record.state, ...end } };
}

/** A restore as it ends when its process died after the exchange of files had begun, and recovery finished that. */
function completed({ state, location, ...record }: RunRecord, nowMs: number): RunRecord {
  const bytes = state.progress?.bytesTotal ?? 0; // read once and proven once
  return {
    ...record,
    location,
    state: {
      ...state,
      status: 'completed',
      finishedAtMs: nowMs,
      progress: { percent: 100, bytesProcessed: bytes, bytesTotal: bytes },
      filesProcessed: state.filesTotal,
    },
    metadata: { backupId: nameOf(location), location, restoredAtMs: nowMs, sizeBytes: bytes / 2 },
  };
}

/** So many of the newest runs are on record at least. */
export const KEEP_RUNS = 1_000;
const LIMIT_BYTES = 64 * 1024 * 1024;

/** Lines that are parsed in one turn of the event loop. */
const LINES_A_TURN = 100;

/**
 * `records.jsonl`: a line when a run begins and one when it ends; the last line of an id counts. Written only by the
 * owner of the lifecycle lock. An incomplete line is skipped; a crash leaves one only at the end.
 *
 * What was read stays in memory, and later calls read only what was appended since: keep one for a data directory.
 */
export class RunRecords {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  readonly #file: string;
  readonly #oneAtATime = new Semaphore(1);
  #records = new Map<string, RunRecord>();
  /** Where the last line that was read begins, and its text. */
  #last = { start: 0, text: '' };
  /** Ends of runs that found no room on the disk. They go with the next line that does. */
  #unwritten: readonly RunRecord[] = [];

  constructor(fs: FileSystem, layout: Layout, file = layout.records) {
    this.#fs = fs;
    this.#layout = layout;
    this.#file = file;
  }

  /** All runs, oldest first. */
  async read(): Promise<RunRecord[]> {
    return [...(await this.#current()).values()];
  }

  /** One run, undefined when it is not on record. */
  async find(id: string): Promise<RunRecord | undefined> {
    return (await this.#current()).get(id);
  }

  /** Puts a run on record that is about to begin. `INTERNAL`, and nothing is written, when nobody could read its line. */
  async begin(record: RunRecord): Promise<void> {
    lineOf(record);
    await this.#write([record]);
  }

  /**
   * Puts the end of a run on record. A full disk is no failure: the run reads as ended in this process, and its line is
   * written once there is room. Resolves to whether it is on disk.
   */
  async end(record: RunRecord): Promise<boolean> {
    lineOf(record);
    this.#unwritten = [...this.#unwritten, record];
    await this.#writeEnds();
    return !this.#unwritten.includes(record);
  }

  /**
   * Ends the runs that a crash cut off, and drops the oldest beyond a limit. Only under the lifecycle lock: then nobody
   * can be at work on what reads as running. Resolves to the ids of the runs that it ended as failed. A full disk is no failure,
   * as for `end`.
   * @param doneId The restore whose new state stands: it ends as completed.
   */
  async closeInterrupted(nowMs: number, doneId?: string): Promise<string[]> {
    const records = await this.read();
    const open = records.filter(({ state }) => !isFinished(state));
    const interrupted = open.filter(({ id }) => id !== doneId);
    const ended = open.map((record): RunRecord => {
      if (record.id === doneId) return completed(record, nowMs);
      const { state, ...rest } = gone(record);
      return { ...rest, state: { ...state, finishedAtMs: nowMs } };
    });
    this.#unwritten = [...this.#unwritten, ...ended];
    await this.#writeEnds();
    if (records.length > 2 * KEEP_RUNS) await unlessFull(this.#dropOldest());
    return interrupted.map(({ id }) => id);
  }

  async #writeEnds(): Promise<void> {
    if (this.#unwritten.length > 0) await unlessFull(this.#write([]));
  }

  /** Writes these after the ends that found no room before. On a full disk it takes the space that is kept aside for that. */
  async #write(more: readonly RunRecord[]): Promise<void> {
    const records = [...this.#unwritten, ...more];
    const text = records.map(lineOf).join('\n');
    await withReserve(this.#fs, this.#layout, () => this.#append(text), 'reserve-records');
    this.#unwritten = this.#unwritten.filter((record) => !records.includes(record));
  }

  async #append(text: string): Promise<void> {
    await makeFolders(this.#fs, dirname(this.#file));
    const isNew = (await this.#fs.inspect(this.#file)) === undefined;
    await withFile(this.#fs, this.#file, 'open-or-create', async (file) => {
      const { sizeBytes } = await file.stat();
      // A newline first: the line before may have been cut off by a crash.
      await writeFully(file, Buffer.from(`${sizeBytes === 0 ? '' : '\n'}${text}`), sizeBytes);
      await file.sync();
    });
    if (isNew) await this.#fs.syncFolder(dirname(this.#file));
  }

  async #dropOldest(): Promise<void> {
    const lines: string[] = [];
    const all = await this.read();
    const kept = all.slice(-KEEP_RUNS);
    const damage = lastDamage(all);
    for (const record of damage === undefined || kept.includes(damage) ? kept : [damage, ...kept]) {
      lines.push(lineOf(record));
      if (lines.length % LINES_A_TURN === 0) await pause(0);
    }
    await replaceFile(this.#fs, this.#file, Buffer.from(lines.join('\n')));
  }

  async #current(): Promise<ReadonlyMap<string, RunRecord>> {
    await this.#oneAtATime.run(() => this.#readNew());
    if (this.#unwritten.length === 0) return this.#records;
    return new Map([...this.#records, ...this.#unwritten.map((record) => [record.id, record] as const)]);
  }

  async #readNew(): Promise<void> {
    const { start, text: last } = this.#last;
    let text = await this.#textFrom(start);
    let base = start;
    if (!text.startsWith(last)) {
      // Somebody replaced the file.
      this.#records = new Map();
      base = 0;
      text = await this.#textFrom(0);
    }
    for (const [i, line] of text.split('\n').entries()) {
      if (i % LINES_A_TURN === LINES_A_TURN - 1) await pause(0);
      this.#enter(line);
    }
    const end = text.lastIndexOf('\n') + 1;
    this.#last = { start: base + Buffer.byteLength(text.slice(0, end)), text: text.slice(end) };
  }

  async #textFrom(start: number): Promise<string> {
    const bytes = await readSmallFile(this.#fs, this.#file, LIMIT_BYTES, start);
    return bytes?.toString('utf8') ?? '';
  }

  #enter(line: string): void {
    const parsed = recordSchema.safeParse(withAbsent(parseJson(line)));
    if (!parsed.success) return;
    const record = fromJson(parsed.data);
    const first = this.#records.get(record.id);
    this.#records.delete(record.id);
    // A finished run keeps its start even if the line that ended it came from another process.
    const startedAtMs = record.state.startedAtMs ?? first?.state.startedAtMs ?? null;
    this.#records.set(record.id, { ...record, state: { ...record.state, startedAtMs } });
  }
}

/** Where the database itself was found damaged, and neither a later look nor a restore says that it is whole: that is never forgotten. */
function lastDamage(runs: readonly RunRecord[]): RunRecord | undefined {
  const at = runs.findLastIndex(({ state }) => state.code === 'SOURCE_DAMAGED');
  const isOver = ({ kind, location, state }: RunRecord): boolean =>
    state.status === 'completed' &&
    (kind === 'restore' || (kind === 'verify' && location === runs[at]?.location));
  return runs.slice(at + 1).some(isOver) ? undefined : runs[at];
}

/** The line with `ABSENT` where it says nothing. */
function withAbsent(json: unknown): unknown {
  if (!isObject(json) || !isObject(json.state)) return json;
  const state = { ...ABSENT.state, ...json.state };
  const progress = isObject(state.progress) ? { ...ABSENT_PROGRESS, ...state.progress } : state.progress;
  return { ...ABSENT, ...json, state: { ...state, progress } };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null;

function lineOf(record: RunRecord): string {
  const json = toJson(record);
  const parsed = recordSchema.safeParse(json);
  if (parsed.success) return JSON.stringify(json);
  throw new StillpointError('INTERNAL', `a run cannot be put on record: ${problemsOf(parsed.error)}`);
}

async function unlessFull(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isNoSpace(error)) throw error;
  }
}
