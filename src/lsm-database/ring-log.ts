import { dirname, join } from 'node:path';
import { inferLogGeometry } from '../engine/lsm/directory.ts';
import { LOG } from '../engine/lsm/names.ts';
import type { FileStat, FileSystem, OpenFile } from '../env/file-system.ts';
import { readExactly, removeIfPresent, withFile, writeFully } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import {
  decodeSectionHeader,
  encodeSectionHeader,
  encodeSegmentHeader,
  FIRST_SEGMENT_ID,
  liveBytes,
  ringBytes,
  ringExtents,
  SECTION_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SectionHeader,
  sectionProblem,
  segmentDataBytes,
  segmentHeaderOffset,
  segmentProblem,
  type WalGeometry,
  walFileBytes,
} from '../format/lsm/wal.ts';

const READ_BYTES = 1024 * 1024;
/** A new log is made under this name first, so that a partial log is never used. */
export const TEMPORARY_LOG = `.${LOG}.tmp`;

export interface LogEntry {
  readonly lsn: bigint;
  readonly bytes: Buffer;
}

/**
 * The open `lsm.wal`. Places in it are *positions*: they only grow, the live range is [start, end), and what wraps around
 * is their image in the ring alone. One caller at a time may change it. After a method has rejected, the file's state is
 * unknown and this object still says what was durable before: write no more.
 */
export class RingLog {
  readonly geometry: WalGeometry;
  readonly ringBytes: number;
  /** Of the file. */
  readonly sizeBytes: number;
  readonly #file: OpenFile;
  readonly #segmentHeaders: Buffer[];
  #start: number;
  #end: number;
  /** A position whose image in the ring is 0. */
  #origin = 0;

  private constructor(
    file: OpenFile,
    sizeBytes: number,
    geometry: WalGeometry,
    section: SectionHeader,
    segmentHeaders: Buffer[],
  ) {
    this.#file = file;
    this.sizeBytes = sizeBytes;
    this.geometry = geometry;
    this.ringBytes = ringBytes(geometry);
    this.#segmentHeaders = segmentHeaders;
    this.#start = section.start;
    this.#end = section.start + liveBytes(geometry, section);
  }

  /** Makes an empty log, durable with its name. */
  static async create(fs: FileSystem, path: string, geometry: WalGeometry): Promise<void> {
    const temporary = join(dirname(path), TEMPORARY_LOG);
    await removeIfPresent(fs, temporary);
    await withFile(fs, temporary, 'create', async (file) => {
      await file.truncate(walFileBytes(geometry));
      for (let index = 0; index < geometry.segmentCount; index++) {
        // The engine says 1 in the first header of a new log and 0 in all others.
        const header = encodeSegmentHeader(FIRST_SEGMENT_ID + BigInt(index), index === 0 ? 1n : 0n);
        await writeFully(file, header, segmentHeaderOffset(geometry, index));
      }
      await file.sync();
    });
    await fs.rename(temporary, path);
    await fs.syncFolder(dirname(path));
  }

  /** `DATABASE_DAMAGED` for whatever the engine itself would refuse. */
  static async open(fs: FileSystem, path: string): Promise<RingLog> {
    const file = await fs.open(path, 'update');
    try {
      const { sizeBytes } = await file.stat();
      const geometry = await inferLogGeometry(file, sizeBytes);
      if (geometry === undefined) throw damagedLog(path, 'not one of its segment headers holds');
      // A single segment fits any size: it may be a larger log that was cut short.
      if (sizeBytes !== walFileBytes(geometry) || geometry.segmentCount === 1) {
        throw damagedLog(path, `its ${sizeBytes} bytes are not those of its segments`);
      }
      const section = decodeSectionHeader(await readExactly(file, 0, SECTION_HEADER_BYTES));
      const problem = sectionProblem(geometry, section);
      if (problem !== undefined) throw damagedLog(path, problem);
      const headers: Buffer[] = [];
      for (let index = 0; index < geometry.segmentCount; index++) {
        const at = segmentHeaderOffset(geometry, index);
        const header = await readExactly(file, at, SEGMENT_HEADER_BYTES);
        const wrong = segmentProblem(header, index);
        if (wrong !== undefined)
          throw damagedLog(path, `the header of segment ${index} does not hold: ${wrong}`);
        headers.push(header);
      }
      return new RingLog(file, sizeBytes, geometry, section, headers);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get path(): string {
    return this.#file.path;
  }

  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#end;
  }

  get usedBytes(): number {
    return this.#end - this.#start;
  }

  get freeBytes(): number {
    return this.ringBytes - this.usedBytes;
  }

  /** As it is on disk. */
  get section(): SectionHeader {
    return this.#section(this.#origin, this.#start, this.#end);
  }

  get sectionHeader(): Buffer {
    return encodeSectionHeader(this.section);
  }

  /** As they are on disk. */
  get segmentHeaders(): Buffer[] {
    return [...this.#segmentHeaders];
  }

  /** The image of a position in the ring. */
  logical(position: number, origin = this.#origin): number {
    return (position - origin) % this.ringBytes;
  }

  /**
   * Writes entries behind the end, which need room there, and moves the end over them; durable when it resolves. Nothing of
   * the live range is touched.
   */
  async append(entries: readonly LogEntry[]): Promise<void> {
    const bytes =
      entries.length === 1 ? entries[0]!.bytes : Buffer.concat(entries.map((entry) => entry.bytes));
    // An empty log starts again at the front, as in the engine.
    const origin = this.usedBytes === 0 ? this.#end : this.#origin;
    const headers = await this.#writeRing(origin, this.#end, bytes, (offset) => lsnAt(entries, offset));
    // One sync covers entries and header. Should a power failure keep the header and not all of the entries, replay meets an
    // entry whose checksum fails, or an old one with an LSN below that of the live one before it, and stops there. In an
    // empty log nothing precedes, but its first entry begins in the very sector that has the header.
    const end = this.#end + bytes.byteLength;
    await this.#writeSection(origin, this.#start, end);
    this.#origin = origin;
    this.#end = end;
    for (const [index, header] of headers) this.#segmentHeaders[index] = header;
  }

  /** Gives up what stands before a position of the live range; durable before anything may be written there. */
  async moveStart(position: number): Promise<void> {
    await this.#writeSection(this.#origin, position, this.#end);
    this.#start = position;
  }

  /**
   * Gives up what stands behind a position of the live range. With `erase` it is overwritten with zeros first, so that
   * entries which still hold there can never follow on a later one.
   */
  async moveEnd(position: number, erase: boolean): Promise<void> {
    for (let at = position; erase && at < this.#end; at += READ_BYTES) {
      const zeros = Buffer.alloc(Math.min(READ_BYTES, this.#end - at));
      let done = 0;
      for (const extent of ringExtents(this.geometry, this.logical(at), zeros.byteLength)) {
        await writeFully(this.#file, zeros.subarray(done, done + extent.length), extent.offset);
        done += extent.length;
      }
    }
    if (erase) await this.#file.syncData();
    await this.#writeSection(this.#origin, this.#start, position);
    this.#end = position;
  }

  /** The bytes of [from, to), in order, in chunks of at most 1 MiB. */
  async *read(from: number, to: number): AsyncGenerator<Buffer, void> {
    for (const extent of ringExtents(this.geometry, this.logical(from), to - from)) {
      for (let done = 0; done < extent.length; done += READ_BYTES) {
        yield await readExactly(this.#file, extent.offset + done, Math.min(READ_BYTES, extent.length - done));
      }
    }
  }

  stat(): Promise<FileStat> {
    return this.#file.stat();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #writeRing(
    origin: number,
    position: number,
    bytes: Buffer,
    lsnOf: (offset: number) => bigint,
  ): Promise<Map<number, Buffer>> {
    const headers = new Map<number, Buffer>();
    let done = 0;
    for (const extent of ringExtents(this.geometry, this.logical(position, origin), bytes.byteLength)) {
      await writeFully(this.#file, bytes.subarray(done, done + extent.length), extent.offset);
      const data = segmentDataBytes(this.geometry);
      const logical = this.logical(position + done, origin);
      if (logical % data === 0) {
        const index = logical / data;
        const header = encodeSegmentHeader(FIRST_SEGMENT_ID + BigInt(index), lsnOf(done));
        await writeFully(this.#file, header, segmentHeaderOffset(this.geometry, index));
        headers.set(index, header);
      }
      done += extent.length;
    }
    return headers;
  }

  async #writeSection(origin: number, start: number, end: number): Promise<void> {
    await writeFully(this.#file, encodeSectionHeader(this.#section(origin, start, end)), 0);
    await this.#file.syncData();
  }

  #section(origin: number, start: number, end: number): SectionHeader {
    return {
      start: this.logical(start, origin),
      end: this.logical(end, origin),
      full: end - start === this.ringBytes,
    };
  }
}

/** LSN of the entry that the byte at `offset` of all of them belongs to. */
function lsnAt(entries: readonly LogEntry[], offset: number): bigint {
  let end = 0;
  for (const { lsn, bytes } of entries) {
    end += bytes.byteLength;
    if (offset < end) return lsn;
  }
  throw new StillpointError('INTERNAL', `offset ${offset} lies behind the last entry`);
}

export function damagedLog(path: string, problem: string): StillpointError {
  return new StillpointError('DATABASE_DAMAGED', `the log ${path} is damaged: ${problem}`, { path });
}
