import { once } from 'node:events';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { isLockedHere, kernelLocks } from '../../src/env/lock.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

/** So many locks that the kernel's table of them takes two pages, taken and let go as fast as it can. */
const CHURN = `
import { closeSync, openSync } from 'node:fs';
import { tryLock } from 'fs-native-extensions';
const dir = process.argv[2];
const open = (n) => {
  const fd = openSync(dir + '/' + n, 'w');
  tryLock(fd);
  return fd;
};
const fds = Array.from({ length: 120 }, (_, n) => open(n));
process.stdout.write('go');
for (;;) {
  for (let n = 0; n < 110; n++) closeSync(fds[n]);
  for (let n = 0; n < 110; n++) fds[n] = open(n);
}`;

test.runIf(process.platform === 'linux')(
  'the lock that LevelDB holds in this process is seen, and kept, however many locks others take and let go',
  async () => {
    const dir = await temporaryFolder();
    const database = new ClassicLevel(join(dir, 'db'));
    await database.open();
    const child = startScript(CHURN, [await temporaryFolder()]);
    try {
      await once(child.stdout, 'data');
      const lock = join(dir, 'db/LOCK');
      let missed = 0;
      for (let i = 0; i < 3000; i++) if (!(await isLockedHere(lock))) missed++;
      expect(missed).toBe(0);
      expect(await kernelLocks.tryAcquire(nodeFileSystem, lock, 'exclusive')).toBeUndefined();
      await database.close();
      expect(await isLockedHere(lock)).toBe(false);
    } finally {
      child.kill('SIGKILL');
      await database.close();
    }
  },
);
