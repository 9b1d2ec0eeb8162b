import { dirname } from 'node:path';
import { pause } from '../env/clock.ts';
import { Semaphore } from '../env/concurrency.ts';
import { parseJson, problemsOf } from '../env/durable-json.ts';
import type { FileSystem } from '../env/file-system.ts';
import { makeFolders, readSmallFile, replaceFile, withFile, writeFully } from '../env/io.ts';
import { hintOf, isNoSpace, StillpointError } from '../errors.ts';
import { fromJson, toJson } from '../options/casing.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { withReserve } from '../snapshot/store/reserve.ts';
import { tellsContent } from './lineage.ts';
import { isFinished } from './operation-state.ts';
import { completed, gone, type RunRecord, recordSchema, withAbsent } from './run-record.ts';

/** So many of the newest runs are on record at least. */
export const KEEP_RUNS = 1_000;
/** So many of those that are kept since they tell where the data came from. */
const KEEP_TELLING = 200;
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
   * @param done The restore whose new state stands: it ends as completed.
   */
  async closeInterrupted(nowMs: number, done?: { id: string; undo: string }): Promise<string[]> {
    const records = await this.read();
    const open = records.filter(({ state }) => !isFinished(state));
    const interrupted = open.filter(({ id }) => id !== done?.id);
    const ended = open.map((record): RunRecord => {
      if (record.id === done?.id) return completed(record, done.undo, nowMs);
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
    const [older, kept] = [all.slice(0, -KEEP_RUNS), all.slice(-KEEP_RUNS)];
    for (const record of [...older.filter(tellsContent).slice(-KEEP_TELLING), ...kept]) {
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
    // A line of an earlier version has no hint.
    const hint = record.state.hint ?? hintOf(record.state.code);
    this.#records.set(record.id, { ...record, state: { ...record.state, startedAtMs, hint } });
  }
}

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
