import { dirname } from 'node:path';
import type * as z from 'zod';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readSmallFile, replaceFile, withFile, writeFully } from '../../env/io.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { crc32 } from '../../format/crc32.ts';

/** What the records of a log add up to. */
interface Replayable<Entry> {
  /** Throws when the record does not follow from what was before. */
  check(record: Entry): void;
  /** Applies a record that was checked. */
  apply(record: Entry): void;
  /** The whole state as one record. */
  toRecord(): Entry;
}

/**
 * A file of records: one frame a line, `<CRC-32 of the JSON, 8 hexadecimal digits> <JSON array of records>`. A frame is written in
 * one piece and synced before anybody acts on it, so only the last can be torn, and nothing was done because of a torn one.
 */
export interface LogFile<Entry, State> {
  readonly path: string;
  readonly record: z.ZodType<Entry>;
  readonly begin: () => State;
}

const LIMIT_BYTES = 1024 * 1024 * 1024;
/**
 * A journal that has doubled is looked at: it is written anew as one record of its state if that is at most half of it, which it is
 * after many failed attempts. Smaller ones are left as they are.
 */
const LEAST_COMPACTED_BYTES = 256 * 1024;

export interface ReadLog<State> {
  readonly execution: State;
  /** Bytes of whole frames. */
  readonly goodBytes: number;
  /** Bytes behind them that a crash left; nothing was done because of them. */
  readonly tornBytes: number;
}

/** Replays a log and changes nothing. Undefined when there is none; `JOURNAL_INVALID` when it is damaged. */
export async function replayLog<Entry, State extends Replayable<Entry>>(
  fs: FileSystem,
  { path, record: schema, begin }: LogFile<Entry, State>,
): Promise<ReadLog<State> | undefined> {
  const bytes = await readSmallFile(fs, path, LIMIT_BYTES);
  if (bytes === undefined) return undefined;
  const execution = begin();
  let at = 0;
  for (let line = 1; at < bytes.byteLength; line++) {
    const end = bytes.indexOf(0x0a, at);
    const records = end < 0 ? undefined : decodeFrame(bytes.subarray(at, end), schema);
    if (records === undefined) {
      const isLast = end < 0 || end === bytes.byteLength - 1 || !hasFrame(bytes.subarray(end + 1), schema);
      if (isLast) break;
      throw new StillpointError('JOURNAL_INVALID', `${path}: line ${line} is damaged`, { path });
    }
    for (const record of records) {
      execution.check(record);
      execution.apply(record);
    }
    at = end + 1;
  }
  return { execution, goodBytes: at, tornBytes: bytes.byteLength - at };
}

function encodeFrame(records: readonly unknown[]): Buffer {
  const json = JSON.stringify(records);
  return Buffer.from(`${crc32(Buffer.from(json)).toString(16).padStart(8, '0')} ${json}\n`);
}

/** Undefined when it is not what was written; `JOURNAL_INVALID` when it is, and nobody here understands it. */
function decodeFrame<Entry>(line: Buffer, record: z.ZodType<Entry>): Entry[] | undefined {
  const head = /^([0-9a-f]{8}) $/.exec(line.subarray(0, 9).toString('latin1'));
  const json = line.subarray(9);
  if (head === null || crc32(json) !== Number.parseInt(head[1]!, 16)) return undefined;
  const parsed = record.array().safeParse(JSON.parse(json.toString('utf8')));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new StillpointError(
    'JOURNAL_INVALID',
    `the journal has a record that this version does not know: ${issue?.path.join('.')}: ${issue?.message}`,
  );
}

/** Whether a whole frame stands anywhere in there: then what is before it was not torn by a crash. */
function hasFrame<Entry>(bytes: Buffer, record: z.ZodType<Entry>): boolean {
  for (let at = 0; at < bytes.byteLength; ) {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) return false;
    if (decodeFrame(bytes.subarray(at, end), record) !== undefined) return true;
    at = end + 1;
  }
  return false;
}

/** Writes a log anew, durably: these records are all that it has. The caller holds the run lock. */
export const writeLog = (fs: FileSystem, path: string, records: readonly unknown[]): Promise<void> =>
  replaceFile(fs, path, encodeFrame(records));

interface Waiting<Entry> {
  readonly record: Entry;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A log that is open for appending. `commit` resolves when the record is durable; records that are committed at the same
 * time share one write and one sync. After a failed write nothing more is accepted: what is on disk is known only after reading it again.
 */
export class RecordLog<Entry, State extends Replayable<Entry>> {
  readonly execution: State;
  /** Frames written, and bytes of them, by this process. */
  readonly written = { frames: 0, bytes: 0 };
  readonly #fs: FileSystem;
  readonly #path: string;
  #file: OpenFile;
  #bytes: number;
  /** What it had when it was written anew or looked at last. */
  #lookedAtBytes: number;
  #waiting: Waiting<Entry>[] = [];
  #isFlushing = false;
  #failure: StillpointError | undefined;

  private constructor(fs: FileSystem, path: string, execution: State, file: OpenFile, bytes: number) {
    this.#fs = fs;
    this.#path = path;
    this.execution = execution;
    this.#file = file;
    this.#bytes = bytes;
    this.#lookedAtBytes = Math.max(bytes, LEAST_COMPACTED_BYTES);
  }

  /** Opens a log, or makes it with its first record. A torn end is cut. The caller holds the run lock. */
  static async open<Entry, State extends Replayable<Entry>>(
    fs: FileSystem,
    log: LogFile<Entry, State>,
    first: Entry,
  ): Promise<RecordLog<Entry, State>> {
    const { path } = log;
    const read = await replayLog(fs, log);
    if (read === undefined || read.goodBytes === 0) {
      const frame = encodeFrame([first]);
      await replaceFile(fs, path, frame);
      const execution = log.begin();
      execution.check(first);
      execution.apply(first);
      return new RecordLog(fs, path, execution, await fs.open(path, 'update'), frame.byteLength);
    }
    if (read.tornBytes > 0) {
      await withFile(fs, path, 'update', async (file) => {
        await file.truncate(read.goodBytes);
        await file.sync();
      });
    }
    // A crash between renaming the file and syncing its folder would take the name back.
    await fs.syncFolder(dirname(path));
    return new RecordLog(fs, path, read.execution, await fs.open(path, 'update'), read.goodBytes);
  }

  /** Checks a record, applies it, and makes it durable. A record that is refused changes nothing. */
  commit(record: Entry): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    try {
      this.execution.check(record);
    } catch (error) {
      return Promise.reject(error);
    }
    this.execution.apply(record);
    return new Promise<void>((resolve, reject) => {
      this.#waiting.push({ record, resolve, reject });
      if (!this.#isFlushing) void this.#flush();
    });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #flush(): Promise<void> {
    this.#isFlushing = true;
    // Records that are committed in the same turn of the event loop go into one frame.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        if (!(await this.#compact())) await this.#append(batch.map(({ record }) => record));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        this.#failure = toStillpointError(error);
        for (const { reject } of [...batch, ...this.#waiting]) reject(this.#failure);
        this.#waiting = [];
      }
    }
    this.#isFlushing = false;
  }

  async #append(records: readonly Entry[]): Promise<void> {
    const frame = encodeFrame(records);
    await writeFully(this.#file, frame, this.#bytes);
    await this.#file.syncData();
    this.#bytes += frame.byteLength;
    this.#count(frame);
  }

  /** Writes the state anew where that saves half. The records that wait are applied already, so it says what they say. */
  async #compact(): Promise<boolean> {
    if (this.#bytes <= 2 * this.#lookedAtBytes) return false;
    this.#lookedAtBytes = this.#bytes;
    const frame = encodeFrame([this.execution.toRecord()]);
    if (frame.byteLength > this.#bytes / 2) return false;
    const path = this.#path;
    await replaceFile(this.#fs, path, frame);
    await this.#file.close();
    this.#file = await this.#fs.open(path, 'update');
    this.#bytes = frame.byteLength;
    this.#lookedAtBytes = Math.max(frame.byteLength, LEAST_COMPACTED_BYTES);
    this.#count(frame);
    return true;
  }

  #count({ byteLength }: Buffer): void {
    this.written.frames++;
    this.written.bytes += byteLength;
  }
}
