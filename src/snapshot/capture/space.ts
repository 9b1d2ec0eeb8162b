import { dirname } from 'node:path';
import type { CaptureItem } from '../../engine/engine.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import { size } from '../../options/size.ts';
import type { Environment } from '../environment.ts';
import { imageBytes } from './check-plan.ts';
import type { Pins } from './pins.ts';
import type { CaptureRequest } from './request.ts';

/** Bytes that the capture and the proof will read; immutable files must be pinned. */
export const bytesToRead = (items: readonly CaptureItem[], pins: Pins): number =>
  items.reduce((sum, item) => {
    const compared = item.kind === 'image' && item.needsComparison ? item.sizeBytes : 0;
    return sum + copyBytes(item, pins) + compared + sizeOf(item, pins);
  }, 0);

/**
 * `NO_SPACE` before anything is copied, when not even what is certain to be copied fits: clones take no space, and what the previous
 * snapshot may share takes none. `isCloning`: as far as cloning works here.
 */
export function checkLeastSpace(
  env: Environment,
  request: CaptureRequest,
  items: readonly CaptureItem[],
  pins: Pins,
  isCloning: boolean,
): Promise<void> {
  const mayBeShared = (item: CaptureItem) =>
    item.kind !== 'bytes' && request.previous?.files.get(item.path)?.size === copyBytes(item, pins);
  const certain = items.filter((item) => !(isCloning && item.kind === 'immutable') && !mayBeShared(item));
  return checkSpace(env, request, certain, pins, (bytes) => `at least ${bytes}`);
}

/** `NO_SPACE` when the copies of these do not fit beside what is copied already. */
export async function checkSpace(
  { fs }: Environment,
  { mode, dir, into }: CaptureRequest,
  items: readonly CaptureItem[],
  pins: Pins,
  needs = (bytes: string) => `${bytes} more`,
): Promise<void> {
  if (mode === 'link') return;
  const needed = items.reduce((sum, item) => sum + occupiedBytes(item, pins), 0);
  await refuseShortage(fs, { needed, dir, on: into, place: dirname(into), needs: needs(size(needed)) });
}

interface Shortage {
  readonly needed: number;
  /** The data directory. */
  readonly dir: string;
  /** A folder on the disk of the snapshots. */
  readonly on: string;
  /** Where that is, for people. */
  readonly place: string;
  /** What is needed, in words. */
  readonly needs: string;
}

/** `NO_SPACE` where the copy does not fit, or leaves no room for the writes of the database on the same disk. */
export async function refuseShortage(
  fs: FileSystem,
  { needed, dir, on, place, needs }: Shortage,
): Promise<void> {
  const free = await fs.freeBytes(on);
  if (needed + spareBytes(needed) <= free) return;
  const isShared = (await fs.inspect(on))?.dev === (await fs.inspect(dir))?.dev;
  if (needed <= free && !isShared) return;
  const spare = needed <= free ? ` and must leave ${size(spareBytes(needed))} for the database` : '';
  throw new StillpointError(
    'NO_SPACE',
    `the snapshot needs ${needs}${spare}, and ${size(free)} are free on the disk of ${place}`,
    { path: place, data: { neededBytes: needed, freeBytes: free } },
  );
}

/** An `lsm` database writes so much at once. One that finds no room takes no more writes. */
const MOST_SPARE_BYTES = 16 * 1024 * 1024;

/** What a copy of so many bytes leaves free. A full disk is no reason to refuse what takes next to nothing. */
export const spareBytes = (neededBytes: number): number =>
  Math.min(MOST_SPARE_BYTES, Math.ceil(neededBytes / 4));

/** What a copy will occupy: holes stay holes. */
function occupiedBytes(item: CaptureItem, pins: Pins): number {
  if (item.kind === 'bytes') return item.bytes.byteLength;
  const { allocatedBytes } = item.kind === 'image' ? item : pins.of(item.path).stat;
  return Math.min(copyBytes(item, pins), allocatedBytes ?? Number.POSITIVE_INFINITY);
}

const copyBytes = (item: CaptureItem, pins: Pins): number =>
  item.kind === 'image' ? imageBytes(item) : sizeOf(item, pins);

function sizeOf(item: CaptureItem, pins: Pins): number {
  if (item.kind === 'immutable') return pins.of(item.path).stat.sizeBytes;
  return item.kind === 'image' ? item.sizeBytes : item.bytes.byteLength;
}
