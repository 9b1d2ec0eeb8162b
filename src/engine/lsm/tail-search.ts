import {
  decodeEntryHeader,
  ENTRY_HEADER_BYTES,
  entryProblem,
  MIN_ENTRY_LEN,
} from '../../format/lsm/wal-entry.ts';

/** The live bytes of a log, by positions that ascend. */
export interface LogBytes {
  readonly end: number;
  read(from: number, to: number): AsyncIterable<Buffer>;
}

/** LSNs of entries behind a stop are not further away than this. */
const MAX_LSN_STEP = 1n << 32n;
/** What may be spent on checksums of bytes that only look like entries: each costs its length. */
const BUDGET_BYTES = 256 * 1024 * 1024;
const WINDOW_BYTES = 1024 * 1024;
const HIGHEST_TYPE = 2;
const ENTRY_LEN_AT = 8;

/**
 * The replay stopped at `from`, before the end of the log. Is it the torn end of a group that was never acknowledged, or damage?
 *
 * A power failure may keep any part of the last group, its middle included. So entries that hold *behind* the stop prove nothing by
 * themselves. But each group begins with an even LSN and goes on with odd ones (`groupLsns`), and it is written only when the
 * group before it is durable. An even LSN behind the stop therefore says that what does not hold had been acknowledged: damage, and
 * cutting it off would lose commits. Only odd ones, or nothing at all, belong to the torn group. A log that another program wrote
 * knows no such rule and numbers commits with gaps; there, one even LSN behind the stop is still proof enough to refuse.
 */
export async function judgeTail(log: LogBytes, from: number, afterLsn: bigint): Promise<Tail> {
  const found = await searchEntries(log, from, afterLsn);
  if (found === 'gave up') return { damage: 'what follows cannot be judged', hasEntries: true };
  const isDamage = found.some((lsn) => lsn % 2n === 0n);
  return { damage: isDamage ? 'later commits follow' : undefined, hasEntries: found.length > 0 };
}

export interface Tail {
  /** Why it must not be cut off; undefined for a torn group. */
  readonly damage: string | undefined;
  /** Whether entries hold in it. */
  readonly hasEntries: boolean;
}

/** LSNs of the entries behind a stop. `gave up` when bytes that look like entries and are none take too long. */
async function searchEntries(
  log: LogBytes,
  from: number,
  afterLsn: bigint,
): Promise<readonly bigint[] | 'gave up'> {
  const found: bigint[] = [];
  for await (const { lsn } of findEntries(log, from, { after: afterLsn, isAscending: true })) {
    if (lsn === undefined) return 'gave up';
    found.push(lsn);
  }
  return found;
}

export interface FoundEntry {
  readonly lsn: bigint;
  /** In the live bytes. */
  readonly at: number;
  readonly bytes: Buffer;
}

/** The search went on up to here, and is too expensive from here on. */
export interface GaveUp {
  readonly lsn?: undefined;
  readonly at: number;
}

/**
 * The entries that stand whole anywhere in [from, end) of the log, at any byte, above the LSN `after`, and above each other if that is
 * asked for. Where an entry was found the search goes on behind it.
 */
export async function* findEntries(
  log: LogBytes,
  from: number,
  { after, isAscending }: { readonly after: bigint | undefined; readonly isAscending: boolean },
): AsyncGenerator<FoundEntry | GaveUp, void> {
  let budget = BUDGET_BYTES;
  let last = after;
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
    if (total === ENTRY_HEADER_BYTES) {
      // The length is all zeros. Most of a log is, and the next entry has a byte of its length behind them.
      at = windowAt + endOfZeros(window, offset + ENTRY_HEADER_BYTES) - ENTRY_HEADER_BYTES + 1;
      continue;
    }
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
    if (last !== undefined && (lsn <= last || lsn - last > MAX_LSN_STEP)) {
      at++;
      continue;
    }
    const bytes = total <= rest.byteLength ? rest.subarray(0, total) : await readRange(log, at, at + total);
    if (entryProblem(bytes) === undefined) {
      yield { lsn, at, bytes };
      if (isAscending) last = lsn;
      at += total;
      continue;
    }
    budget -= total;
    if (budget < 0) {
      yield { at };
      return;
    }
    at++;
  }
}

const ZEROS = Buffer.alloc(4096);

/** Where the zeros that begin at `from` end. */
function endOfZeros(bytes: Buffer, from: number): number {
  let at = from;
  while (at + ZEROS.length <= bytes.length && ZEROS.equals(bytes.subarray(at, at + ZEROS.length)))
    at += ZEROS.length;
  while (at < bytes.length && bytes[at] === 0) at++;
  return at;
}

async function readRange(log: LogBytes, from: number, to: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of log.read(from, to)) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
