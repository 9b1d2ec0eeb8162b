import { constants } from 'node:fs';
import { systemCode } from '../errors.ts';
import { EXT4, XFS } from './block-use.ts';
import type { OpenFile } from './file-system.ts';

/**
 * Reading and writing past the page cache (`O_DIRECT`): what is read comes from the device, what other programs have in memory stays
 * there, and their own writes do not wait behind ours. Memory, position and length must then be whole pages.
 */

/** 0 where the system has no such flag. */
export const DIRECT: number = constants.O_DIRECT ?? 0;

/**
 * File systems whose direct reading comes from the device, or is refused where it is not by whole blocks of it. Others may take it from
 * memory without a word, as btrfs does for what it compresses.
 */
const FROM_DEVICE: ReadonlySet<number> = new Set([EXT4, XFS]);

/** A multiple of what any usual device and file system ask for. */
const PAGE_BYTES = 4096;
/** The longest call: the device is busy with it for so long that others wait. */
const STEP_BYTES = 256 * 1024;

/** Memory that begins on a page's edge: that of `WebAssembly.Memory` does, that of a `Buffer` does not. */
const pageMemory = new WeakSet<ArrayBufferLike>();

/** REQUIRES: `bytes` is a view of the memory of a `WebAssembly.Memory`. */
export function notePageMemory({ buffer }: Uint8Array): void {
  pageMemory.add(buffer);
}

const unused: Uint8Array[] = [];

/** For calls from and to other memory. Undefined where no page memory can be had. */
const takeSteps = (): Uint8Array | undefined => unused.pop() ?? newPageMemory(STEP_BYTES);

/** @param bytes A multiple of 64 KiB. */
export function newPageMemory(bytes: number): Uint8Array | undefined {
  try {
    const memory = new Uint8Array(new WebAssembly.Memory({ initial: bytes / (64 * 1024) }).buffer);
    notePageMemory(memory);
    return memory;
  } catch {
    return undefined;
  }
}

/**
 * A file through two descriptors: `direct`, which was opened with `DIRECT`, and `cached`. What cannot go past the cache goes through
 * `cached`: the last bytes of a file that is written, and everything once the file system refuses.
 *
 * @param fileSystem Its type, from `statfs`. Undefined for a file that is mostly holes: they do not keep the device busy, and nobody
 *   asks whether they came from it.
 */
export function filePastCache(cached: OpenFile, direct: OpenFile, fileSystem?: number): OpenFile {
  const mayProve = fileSystem !== undefined && FROM_DEVICE.has(fileSystem);
  const longestBytes = fileSystem === undefined ? Number.POSITIVE_INFINITY : STEP_BYTES;
  let isRefused = false;
  let hasRead = false;
  let isOfDevice = false;
  const steps = takeSteps();
  const attempt = async (call: () => Promise<number>, instead: () => Promise<number>): Promise<number> => {
    if (isRefused || steps === undefined) return instead();
    try {
      return await call();
    } catch (error) {
      if (systemCode(error) !== 'EINVAL') throw error;
      isRefused = true;
      return instead();
    }
  };
  return {
    ...cached,
    get isPastCache() {
      return !isRefused && steps !== undefined && mayProve && (isOfDevice || !hasRead);
    },
    read: (target, position) =>
      attempt(
        async () => {
          const count = await readPages(direct, target, position, steps!, longestBytes);
          if (count > 0 && mayProve) {
            hasRead = true;
            isOfDevice ||= await isOnlyInBlocks(direct, position, count, steps!);
          }
          return count;
        },
        () => cached.read(target, position),
      ),
    write(source, position) {
      if (position % PAGE_BYTES !== 0 || source.byteLength < PAGE_BYTES)
        return cached.write(source, position);
      return attempt(
        () => writePages(direct, source, position, steps!),
        () => cached.write(source, position),
      );
    },
    async close() {
      if (steps !== undefined) unused.push(steps);
      await direct.close();
      await cached.close();
    },
  };
}

async function readPages(
  direct: OpenFile,
  target: Uint8Array,
  position: number,
  steps: Uint8Array,
  longestBytes: number,
): Promise<number> {
  if (position % PAGE_BYTES === 0 && isPages(target)) {
    return direct.read(target.subarray(0, longestBytes), position);
  }
  const from = floor(position);
  const skipped = position - from;
  const wanted = Math.min(floor(skipped + target.byteLength + PAGE_BYTES - 1), steps.byteLength);
  const count = (await direct.read(steps.subarray(0, wanted), from)) - skipped;
  if (count <= 0) return 0;
  const piece = steps.subarray(skipped, skipped + Math.min(count, target.byteLength));
  target.set(piece);
  return piece.byteLength;
}

/**
 * Whether a part of [position, position + count) cannot be read but in blocks of the device. Where ext4 takes a file from memory all the
 * same (`data=journal`, `inline_data`, encryption, verity), any number of bytes can be read; a hole tells nothing.
 */
async function isOnlyInBlocks(
  direct: OpenFile,
  position: number,
  count: number,
  steps: Uint8Array,
): Promise<boolean> {
  // One byte is refused at once, mostly. Where a hole begins, an odd number of bytes goes on into what follows.
  for (const bytes of [1, Math.min(count | 1, steps.byteLength - 1)]) {
    try {
      await direct.read(steps.subarray(0, bytes), position);
    } catch (error) {
      if (systemCode(error) === 'EINVAL') return true;
    }
  }
  return false;
}

function writePages(
  direct: OpenFile,
  source: Uint8Array,
  position: number,
  steps: Uint8Array,
): Promise<number> {
  const bytes = Math.min(floor(source.byteLength), STEP_BYTES);
  const pages = source.subarray(0, bytes);
  if (isPages(pages)) return direct.write(pages, position);
  steps.set(pages);
  return direct.write(steps.subarray(0, bytes), position);
}

const floor = (bytes: number): number => bytes - (bytes % PAGE_BYTES);

const isPages = ({ buffer, byteOffset, byteLength }: Uint8Array): boolean =>
  pageMemory.has(buffer) && byteOffset % PAGE_BYTES === 0 && byteLength % PAGE_BYTES === 0;
