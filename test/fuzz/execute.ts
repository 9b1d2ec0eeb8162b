import type { Target } from './target.ts';

/** LZ4, the most that any decoder here unpacks, makes 255 bytes of one. Buffers for reading have up to 1 MiB. */
const AT_ONCE = { fixedBytes: 4 * 1024 * 1024, perByte: 300 };
const IN_ALL = { fixedBytes: 192 * 1024 * 1024, perByte: 3000 };

const meter = { largest: 0, total: 0 };

for (const name of ['alloc', 'allocUnsafe', 'allocUnsafeSlow'] as const) {
  const original = Buffer[name] as (size: number, ...rest: unknown[]) => Buffer<ArrayBuffer>;
  // The size alone tells what a length in a file made a decoder ask for; without the memory the search stays fast.
  Buffer[name] = (size: number, ...rest: unknown[]) => {
    meter.largest = Math.max(meter.largest, size);
    meter.total += size;
    if (size > 2 ** 30) throw new RangeError(`${size} bytes were asked for`);
    return original.call(Buffer, size, ...rest);
  };
}

/** Runs a decoder over one input; the defect that shows, or undefined. */
export async function execute(target: Target, input: Uint8Array): Promise<Error | undefined> {
  const own = Buffer.from(input);
  meter.largest = 0;
  meter.total = 0;
  try {
    await target.run(own);
  } catch (error) {
    return error instanceof Error ? error : new Error(`threw ${String(error)}`);
  }
  const { largest, total } = meter;
  const tooMuch = (bytes: number, limit: typeof AT_ONCE) =>
    bytes > limit.fixedBytes + limit.perByte * input.byteLength;
  if (tooMuch(largest, AT_ONCE)) return new Error(`takes ${largest} bytes at once`);
  if (tooMuch(total, IN_ALL)) return new Error(`takes ${total} bytes in all`);
  return Buffer.compare(own, input) === 0 ? undefined : new Error('changes its input');
}

/** As few bytes as chance finds of which `isStill` says yes. */
export async function shrink(input: Buffer, isStill: (input: Buffer) => Promise<boolean>): Promise<Buffer> {
  let best = input;
  for (let size = Math.ceil(best.byteLength / 2), tries = 0; size >= 1 && tries < 3000; ) {
    let isSmaller = false;
    for (let at = 0; at < best.byteLength && tries < 3000; ) {
      const candidate = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
      tries++;
      if (await isStill(candidate)) {
        best = candidate;
        isSmaller = true;
      } else at += size;
    }
    if (!isSmaller || size > best.byteLength) size = Math.floor(size / 2);
  }
  return best;
}
