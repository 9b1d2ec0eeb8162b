import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A fresh folder that is removed when the running test ends, in memory where there is enough. Call it inside a test. */
export const temporaryFolder = (): Promise<string> => folderIn(tmpdir());

/** The same on the system's own disk, for a test whose subject is that. */
export const diskFolder = (): Promise<string> => folderIn(process.env.STILLPOINT_DISK!);

async function folderIn(parent: string): Promise<string> {
  const folder = await mkdtemp(join(parent, 'stillpoint-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
