import type { CapturePlan, ImageItem } from '../../engine/engine.ts';
import { StillpointError } from '../../errors.ts';
import { pathProblem } from '../store/manifest.ts';

/** Rejects a plan that is empty, or names a path outside or twice: a hook may have made it. */
export function checkPlan(plan: CapturePlan): void {
  if (plan.items.length === 0) throw new StillpointError('EMPTY_SOURCE', 'there is nothing to capture');
  const seen = new Set<string>();
  for (const { path } of plan.items) {
    const problem = pathProblem(path) ?? (seen.has(path) ? 'is planned twice' : undefined);
    if (problem !== undefined) {
      throw new StillpointError(
        'UNSUPPORTED_FILE',
        `${JSON.stringify(path)} cannot be captured: it ${problem}`,
        { path },
      );
    }
    seen.add(path);
  }
}

/**
 * Whether the image is its whole file, byte for byte, so that it can be compared with an earlier copy. Mostly holes is not worth
 * comparing: those are faster to copy.
 */
export const isWhole = ({
  sizeBytes,
  allocatedBytes = sizeBytes,
  source,
  extents,
  patches,
}: ImageItem): boolean =>
  source === undefined &&
  patches.length === 0 &&
  extents.length === (sizeBytes === 0 ? 0 : 1) &&
  extents.every(({ offset, length }) => offset === 0 && length === sizeBytes) &&
  allocatedBytes * 2 >= sizeBytes;

/** Bytes of the image that are copied. */
export const imageBytes = (item: ImageItem): number =>
  item.extents.reduce((sum, { length }) => sum + length, 0) +
  item.patches.reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
