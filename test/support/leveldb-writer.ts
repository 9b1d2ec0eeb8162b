/**
 * A process that has a database open and writes the workload to it as fast as it can, or not at all. Answers messages over
 * the channel to its parent; dies with it.
 *
 * Arguments: folder, `write` or `idle`, first batch number.
 */
import { ClassicLevel } from 'classic-level';
import { batchOf } from './leveldb-workload.ts';

export interface WriterState {
  /** The last batch that the database confirmed. */
  readonly acknowledged: number;
  /** The last batch that was handed to it. */
  readonly issued: number;
}

const [folder, mode, first] = process.argv.slice(2);
let issued = Number(first ?? 1) - 1;
let acknowledged = issued;
let isRunning = mode === 'write';

// Small buffers, so that flushes and compactions run all the time.
const db = new ClassicLevel<string, string>(folder!, {
  writeBufferSize: 64 * 1024,
  maxFileSize: 1024 * 1024,
});
try {
  await db.open();
} catch (error) {
  process.send!({ failed: String((error as { cause?: unknown }).cause ?? error) });
  process.exit(1);
}

process.on('message', async (message) => {
  if (message === 'state') process.send!({ acknowledged, issued } satisfies WriterState);
  if (message === 'stop') {
    isRunning = false;
    await writing;
    await db.close();
    process.send!({ acknowledged, issued } satisfies WriterState);
    process.disconnect();
  }
});
process.on('disconnect', () => process.exit(0));

process.send!({ acknowledged, issued } satisfies WriterState);
const writing = write();

async function write(): Promise<void> {
  while (isRunning) {
    const number = ++issued;
    await db.batch(batchOf(number));
    acknowledged = number;
  }
}
