import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type Engine, type FileSystem, type Finding, readFully, streamFile } from 'stillpoint/engine';

// A log in segments: 000001.seg, 000002.seg, … Only the last one grows. A record is its length, its CRC-32, its number
// (three u32, little-endian) and the content; the CRC covers number and content. Numbers count from 1 through all segments.
const SEGMENT = /^\d{6}\.seg$/;
export const HEADER_BYTES = 12;
export const MAX_CONTENT_BYTES = 64 * 1024;
const IMMUTABLE = { kind: 'immutable' } as const;

type Facts = { first: number; last: number } | null;

async function segmentsOf(fs: FileSystem, dir: string): Promise<string[]> {
  const files = (await fs.list(dir)).filter(({ name, kind }) => kind === 'file' && SEGMENT.test(name));
  return files.map(({ name }) => name).sort();
}

/** Where the last whole record ends, and the file: the writer may be in the middle of the next record. */
async function endsOf(fs: FileSystem, path: string): Promise<{ whole: number; sizeBytes: number }> {
  const file = await fs.open(path, 'read');
  const header = Buffer.alloc(HEADER_BYTES);
  try {
    const { sizeBytes } = await file.stat();
    for (let whole = 0; ; ) {
      if ((await readFully(file, header, whole)) < HEADER_BYTES) return { whole, sizeBytes };
      const next = whole + HEADER_BYTES + header.readUInt32LE(0);
      if (next > sizeBytes) return { whole, sizeBytes };
      whole = next;
    }
  } finally {
    await file.close();
  }
}

const engine: Engine = {
  name: 'append-log',
  hasImmutableFiles: true,
  detect: async (fs, dir) => (await segmentsOf(fs, dir)).length > 0,
  listFiles: segmentsOf,

  /** All segments but the last are finished. Of the last one, the snapshot has what is whole now. */
  async plan({ fs, dir }) {
    const segments = await segmentsOf(fs, dir);
    const path = segments.pop();
    if (path === undefined) return { items: [] };
    const { whole, sizeBytes } = await endsOf(fs, join(dir, path));
    const extents = whole > 0 ? [{ offset: 0, length: whole }] : [];
    const last = { kind: 'image', path, sizeBytes: whole, extents, patches: [] } as const;
    return {
      items: [...segments.map((path) => ({ ...IMMUTABLE, path })), last],
      // Never cut off in silence: while the end is torn, no plan is confirmed, and at last the snapshot fails.
      confirm: async () => (whole < sizeBytes ? `the last record of ${path} is not whole` : undefined),
    };
  },

  /** Reads the file once, for its checksums and its records. Memory holds one buffer and one record. */
  async checkFile(file, request, run) {
    const { path, level, live } = request;
    const findings: Finding[] = [];
    let rest = Buffer.alloc(0);
    let [offset, entries, first, last] = [0, 0, 0, 0];
    const sums = await streamFile(file, request, run, (piece) => {
      if (level === 'files' || findings.length > 0) return; // behind damage no record can be found
      rest = Buffer.concat([rest, piece]);
      while (rest.length >= HEADER_BYTES) {
        const [length, crc, number] = [0, 4, 8].map((at) => rest.readUInt32LE(at)) as [
          number,
          number,
          number,
        ];
        const end = HEADER_BYTES + length;
        if (length <= MAX_CONTENT_BYTES && end > rest.length) return; // it goes on in the next piece
        const isNext = entries === 0 || number === last + 1;
        if (length > MAX_CONTENT_BYTES || crc !== crc32(rest.subarray(8, end)) || !isNext) {
          const message = 'length, checksum or number of a record is wrong';
          findings.push({ path, offset, code: 'APPEND_LOG_RECORD', severity: 'error', message });
          return;
        }
        if (entries++ === 0) first = number;
        [last, rest, offset] = [number, rest.subarray(end), offset + end];
      }
    });
    if (rest.length > 0 && findings.length === 0) {
      const severity = live ? 'warning' : 'error';
      findings.push({
        path,
        offset,
        code: 'APPEND_LOG_TORN',
        severity,
        message: 'the last record is not whole',
      });
    }
    const facts: Facts = entries > 0 ? { first, last } : null;
    return { ...sums, findings, counts: { entries }, facts };
  },

  /** Each segment goes on where the one before ended. Only the manifest can tell that the last one is missing. */
  checkConsistency(checks) {
    const findings: Finding[] = [];
    let expected = 1;
    for (const path of [...checks.keys()].sort()) {
      const facts = checks.get(path)!.facts as Facts;
      if (facts !== null && facts.first !== expected) {
        const message = `begins with record ${facts.first}; ${expected} is missing`;
        findings.push({ path, offset: 0, code: 'APPEND_LOG_GAP', severity: 'error', message });
      }
      expected = facts === null ? expected : facts.last + 1;
    }
    return { findings };
  },
};

export default engine;
