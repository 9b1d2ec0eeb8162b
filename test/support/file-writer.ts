import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { onTestFinished, type TestContext } from 'vitest';
import { needsPrograms } from './needs.ts';

/** Writes one generation after the other, in words of eight bytes, over the whole file, through a shared mapping or by plain writes. */
const WRITER = `
import mmap, os, random, struct, sys, time
path, how, rest = sys.argv[1:]
file = os.open(path, os.O_RDWR)
size = os.fstat(file).st_size
view = mmap.mmap(file, size) if how == 'mapped' else None
print('writing', flush=True)
generation = 0
while True:
    generation += 1
    block = struct.pack('<Q', generation) * 8192
    for at in range(0, size, 65536):
        if view: view[at:at + 65536] = block
        else: os.pwrite(file, block, at)
    time.sleep(random.random() * int(rest) / 1000)
`;

interface FileWriterOptions {
  readonly sizeBytes: number;
  /** The longest rest between two generations. 0: it never rests. */
  readonly restMs?: number;
}

/** Starts a process that writes to the file until the returned function, or the end of the test, ends it. */
export async function startFileWriter(
  context: TestContext,
  path: string,
  how: 'mapped' | 'plain',
  { sizeBytes, restMs = 0 }: FileWriterOptions,
): Promise<() => Promise<void>> {
  needsPrograms(context, 'python3');
  writeFileSync(path, Buffer.alloc(sizeBytes));
  const args = ['-c', WRITER, path, how, String(restMs)];
  const child = spawn('python3', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = async () => {
    const exited = once(child, 'exit');
    if (child.kill('SIGKILL')) await exited;
  };
  onTestFinished(stop);
  await once(child.stdout, 'data');
  return stop;
}

/** Whether the file had this content at some moment: one generation up to a place, and the one before from there. */
export function isOneState(bytes: Buffer): boolean {
  const words = new BigUint64Array(new Uint8Array(bytes).buffer);
  const generation = words[0]!;
  const from = words.findIndex((word) => word !== generation);
  return from === -1 || words.subarray(from).every((word) => word === generation - 1n);
}
