import {
  decodeEntryHeader,
  ENTRY_HEADER_BYTES,
  entryProblem,
  MIN_ENTRY_LEN,
} from '../../../format/lsm/wal-entry.ts';
import type { RingLog } from './ring-log.ts';

/** LSNs of entries behind a stop are not further away than this. */
const MAX_LSN_STEP = 1n << 32n;
/** What may be spent on checksums of bytes that only look like entries: each costs its length. */
const BUDGET_BYTES = 256 * 1024 * 1024;
const WINDOW_BYTES = 1024 * 1024;
const HIGHEST_TYPE = 2;
const ENTRY_LEN_AT = 8;

/**
 * LSNs of the entries that stand whole anywhere in [from, end) of the log, at any byte, above `afterLsn` and ascending. Where
 * an entry was found the search goes on behind it. `gave up` when bytes that look like entries and are none take too long.
 */
export async function searchEntries(
  log: RingLog,
  from: number,
  afterLsn: bigint,
): Promise<readonly bigint[] | 'gave up'> {
  const found: bigint[] = [];
  let budget = BUDGET_BYTES;
  let last = afterLsn;
  let window: Buffer = Buffer.alloc(0);
  let windowAt = from;
  for (let at = from; log.end - at >= ENTRY_HEADER_BYTES + MIN_ENTRY_LEN; ) {
    if (at + ENTRY_HEADER_BYTES + 1 > windowAt + window.byteLength) {
      windowAt = at;
      window = await readRange(log, at, Math.min(log.end, at + WINDOW_BYTES));
    }
    // The cheap questions first: they are asked of every byte.
    const offset = at - windowAt;
    const total = ENTRY_HEADER_BYTES + window.readUInt32LE(offset + ENTRY_LEN_AT);
    if (
      window[offset + ENTRY_HEADER_BYTES]! > HIGHEST_TYPE ||
      total < ENTRY_HEADER_BYTES + MIN_ENTRY_LEN ||
      total > log.end - at
    ) {
      at++;
      continue;
    }
    const rest = window.subarray(offset);
    const { lsn } = decodeEntryHeader(rest);
    if (lsn <= last || lsn - last > MAX_LSN_STEP) {
      at++;
      continue;
    }
    budget -= total;
    if (budget < 0) return 'gave up';
    const entry = total <= rest.byteLength ? rest.subarray(0, total) : await readRange(log, at, at + total);
    if (entryProblem(entry) === undefined) {
      found.push(lsn);
      last = lsn;
      at += total;
    } else {
      at++;
    }
  }
  return found;
}

async function readRange(log: RingLog, from: number, to: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of log.read(from, to)) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
