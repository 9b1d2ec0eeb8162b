import { dirname } from 'node:path';
import type { CaptureItem } from '../../engine/engine.ts';
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
  { mode, into }: CaptureRequest,
  items: readonly CaptureItem[],
  pins: Pins,
  needs = (bytes: string) => `${bytes} more`,
): Promise<void> {
  if (mode === 'link') return;
  const needed = items.reduce((sum, item) => sum + occupiedBytes(item, pins), 0);
  const free = await fs.freeBytes(into);
  if (needed <= free) return;
  throw new StillpointError(
    'NO_SPACE',
    `the snapshot needs ${needs(size(needed))}, and ${size(free)} are free on the disk of ${dirname(into)}`,
    { path: dirname(into), data: { neededBytes: needed, freeBytes: free } },
  );
}

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
