import type { OpenFile } from '../env/file-system.ts';
import { readFully } from '../env/io.ts';
import { systemCode } from '../errors.ts';

/** What a disk that fails answers, or a file system that was damaged by it. Anything else is no matter of the data. */
const OF_THE_MEDIUM = ['EIO', 'EUCLEAN', 'EBADMSG', 'ENODATA', 'EREMOTEIO', 'ENXIO', 'EILSEQ'];

/** Disks fail by sectors, and the system reads pages. */
const PAGE_BYTES = 4096;

/** The code of an error that says that the medium cannot be read there. */
export function mediumCode(error: unknown): string | undefined {
  const code = systemCode(error);
  return code !== undefined && OF_THE_MEDIUM.includes(code) ? code : undefined;
}

/** What `work` resolves to, or what `otherwise` makes of the code where the medium cannot be read. */
export async function unlessUnreadable<T>(
  work: () => Promise<T>,
  otherwise: (code: string) => T | Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const code = mediumCode(error);
    if (code === undefined) throw error;
    return otherwise(code);
  }
}

/**
 * As `readFully`, and goes on behind pages that cannot be read: they are zeros in `target`, and `lost` is told of each stretch of
 * them. The file is taken to be as long as its size says: `target` reaches no further.
 */
export async function readWhatCanBe(
  file: OpenFile,
  target: Buffer,
  position: number,
  lost: (offset: number, length: number, code: string) => void,
): Promise<number> {
  const whole = await unlessUnreadable(
    () => readFully(file, target, position),
    () => undefined,
  );
  if (whole !== undefined) return whole;
  let stretch: { from: number; code: string } | undefined;
  const tell = (end: number): void => {
    if (stretch !== undefined) lost(position + stretch.from, end - stretch.from, stretch.code);
    stretch = undefined;
  };
  for (let at = 0; at < target.length; ) {
    // Whole pages of the file, wherever the reading began.
    const next = Math.min(target.length, at + PAGE_BYTES - ((position + at) % PAGE_BYTES));
    const page = target.subarray(at, next);
    const code = await unlessUnreadable(
      async () => {
        const count = await readFully(file, page, position + at);
        page.fill(0, count);
        return undefined;
      },
      (code) => code,
    );
    if (code === undefined) tell(at);
    else {
      page.fill(0);
      stretch ??= { from: at, code };
    }
    at = next;
  }
  tell(target.length);
  return target.length;
}
