import * as z from 'zod';
import { parseJson } from '../env/durable-json.ts';
import type { FileSystem } from '../env/file-system.ts';
import { makeFolders, readSmallFile, replaceFile, withFile, writeFully } from '../env/io.ts';
import { type CamelCased, fromJson, toJson } from '../options/casing.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { isFinished, operationStateSchema } from './operation-state.ts';

const RUN_KINDS = ['backup', 'archive', 'export', 'restore', 'undo'] as const;
export type RunKind = (typeof RUN_KINDS)[number];

const recordSchema = z.object({
  id: z.string(),
  kind: z.enum(RUN_KINDS),
  /** The snapshot written, or the one restored from. */
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
});

export type RunRecord = CamelCased<z.infer<typeof recordSchema>>;

const KEEP_RUNS = 1_000;
const LIMIT_BYTES = 64 * 1024 * 1024;

/**
 * `records.jsonl`: a line when a run begins and one when it ends; the last line of an id counts. Written only by the
 * owner of the lifecycle lock. A line that a crash cut off is left out; it can only be the last.
 */
export class RunRecords {
  readonly #fs: FileSystem;
  readonly #layout: Layout;

  constructor(fs: FileSystem, layout: Layout) {
    this.#fs = fs;
    this.#layout = layout;
  }

  /** All runs, oldest first. */
  async read(): Promise<RunRecord[]> {
    const text = (await readSmallFile(this.#fs, this.#layout.records, LIMIT_BYTES))?.toString('utf8') ?? '';
    const records = new Map<string, RunRecord>();
    for (const line of text.split('\n')) {
      const parsed = recordSchema.safeParse(parseJson(line));
      if (!parsed.success) continue;
      const record = fromJson(parsed.data);
      const first = records.get(record.id);
      records.delete(record.id);
      // A finished run keeps its start even if the line that ended it came from another process.
      const startedAtMs = record.state.startedAtMs ?? first?.state.startedAtMs ?? null;
      records.set(record.id, { ...record, state: { ...record.state, startedAtMs } });
    }
    return [...records.values()];
  }

  async append(record: RunRecord): Promise<void> {
    await makeFolders(this.#fs, this.#layout.backup);
    const isNew = (await this.#fs.inspect(this.#layout.records)) === undefined;
    await withFile(this.#fs, this.#layout.records, 'open-or-create', async (file) => {
      const { sizeBytes } = await file.stat();
      // A newline first: the line before may have been cut off by a crash.
      await writeFully(
        file,
        Buffer.from(`${sizeBytes === 0 ? '' : '\n'}${JSON.stringify(toJson(record))}`),
        sizeBytes,
      );
      await file.sync();
    });
    if (isNew) await this.#fs.syncFolder(this.#layout.backup);
  }

  /**
   * Ends the runs that a crash cut off, and drops the oldest beyond a limit. Only under the lifecycle lock: then nobody
   * can be at work on what reads as running. Resolves to the ids of the runs that it ended.
   */
  async closeInterrupted(nowMs: number): Promise<string[]> {
    const records = await this.read();
    const interrupted = records.filter(({ state }) => !isFinished(state));
    for (const record of interrupted) {
      await this.append({
        ...record,
        state: {
          ...record.state,
          status: 'failed',
          finishedAtMs: nowMs,
          code: 'INTERRUPTED',
          reason: 'the process ended in the middle of it',
        },
      });
    }
    if (records.length > 2 * KEEP_RUNS) {
      const kept = (await this.read()).slice(-KEEP_RUNS).map((record) => JSON.stringify(toJson(record)));
      await replaceFile(this.#fs, this.#layout.records, Buffer.from(kept.join('\n')));
    }
    return interrupted.map(({ id }) => id);
  }
}
