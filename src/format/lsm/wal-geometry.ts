import {
  DEFAULT_GEOMETRY,
  decodeSegmentHeader,
  FIRST_SEGMENT_ID,
  hasWalMagic,
  SECTION_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  segmentHeaderOffset,
  segmentProblem,
  WAL_VERSION,
  type WalGeometry,
  walFileBytes,
} from './wal.ts';

/** Resolves to the 28 bytes at `offset`, or to fewer where the file ends. */
export type SegmentHeaderReader = (offset: number) => Promise<Uint8Array> | Uint8Array;

/** Geometries with more segments are not tried. */
const MAX_SEGMENTS = 4096;
/** For each geometry this many headers are read at the start and at the end. */
const SAMPLE = 8;
const MIN_SEGMENT_BYTES = SEGMENT_HEADER_BYTES + 1;
const MAX_POWER = 40;

interface Evidence {
  readonly geometry: WalGeometry;
  /** Valid headers, minus valid headers that belong to another place. */
  readonly valid: number;
  /** Damaged headers. */
  readonly damaged: number;
}

/**
 * Finds segment size and count from the size of the file and the places of valid segment headers: the geometry is not stored
 * anywhere. Damaged headers do not matter as long as others are valid. Undefined without any valid header.
 *
 * Candidates are the whole divisions of the file, and segments of a power of two in a file that was cut or appended to;
 * of each at most 16 headers are read, so that a hostile size costs a few thousand reads at most.
 */
export async function inferGeometry(
  sizeBytes: number,
  readHeader: SegmentHeaderReader,
): Promise<WalGeometry | undefined> {
  let best: Evidence | undefined;
  for (const geometry of candidates(sizeBytes)) {
    const evidence = await weigh(geometry, readHeader);
    if (evidence.valid > 0 && (best === undefined || isBetter(evidence, best))) best = evidence;
  }
  return best?.geometry;
}

/** In order of preference: with equal evidence the earlier one wins. */
function* candidates(sizeBytes: number): Generator<WalGeometry> {
  const rest = sizeBytes - SECTION_HEADER_BYTES;
  if (sizeBytes === walFileBytes(DEFAULT_GEOMETRY)) yield DEFAULT_GEOMETRY;
  for (let count = 1; count <= MAX_SEGMENTS && rest / count >= MIN_SEGMENT_BYTES; count++) {
    if (rest % count === 0) yield { segmentBytes: rest / count, segmentCount: count };
  }
  for (let power = 5; power <= MAX_POWER && 2 ** power <= rest; power++) {
    const segmentBytes = 2 ** power;
    const segmentCount = Math.floor(rest / segmentBytes);
    if (rest % segmentBytes !== 0 && segmentCount <= MAX_SEGMENTS) yield { segmentBytes, segmentCount };
  }
}

async function weigh(geometry: WalGeometry, readHeader: SegmentHeaderReader): Promise<Evidence> {
  let valid = 0;
  let damaged = 0;
  for (let index = 0; index < geometry.segmentCount; index++) {
    if (index === SAMPLE) index = Math.max(SAMPLE, geometry.segmentCount - SAMPLE);
    const header = await readHeader(segmentHeaderOffset(geometry, index));
    if (segmentProblem(header, index) === undefined) valid++;
    else if (isOfAnotherPlace(header)) valid--;
    else if (wasHeader(header, index)) damaged++;
  }
  return { geometry, valid, damaged };
}

const isBetter = (a: Evidence, b: Evidence): boolean =>
  a.valid > b.valid || (a.valid === b.valid && a.damaged > b.damaged);

function isOfAnotherPlace(header: Uint8Array): boolean {
  if (header.byteLength < SEGMENT_HEADER_BYTES || !hasWalMagic(header)) return false;
  const { id } = decodeSegmentHeader(header);
  const index = Number(id - FIRST_SEGMENT_ID);
  return index >= 0 && index < MAX_SEGMENTS && segmentProblem(header, index) === undefined;
}

/** Whether two of the three fields with known values are right: damage rarely hits more than one. */
function wasHeader(header: Uint8Array, index: number): boolean {
  if (header.byteLength < SEGMENT_HEADER_BYTES) return false;
  const { version, id } = decodeSegmentHeader(header);
  const right = [hasWalMagic(header), version === WAL_VERSION, id === FIRST_SEGMENT_ID + BigInt(index)];
  return right.filter(Boolean).length >= 2;
}
