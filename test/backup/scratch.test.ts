import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { inScratch } from '../../src/backup/scratch.ts';
import { backUp, drillBackup, initRepository, openDestination } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { startScript } from '../support/process.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

test('what a killed drill left in the clear goes with the next one, and what is in use stays', async () => {
  const root = await temporaryFolder();
  const [dataDir, from, scratch] = ['data', 'repository', 'scratch'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ];
  await makeSmallLsm(dataDir);
  await initRepository(from);
  await backUp(dataDir, { to: from });
  mkdirSync(scratch);
  // One that is just being made, one with a name like ours, and one with something else in it.
  const others = [randomUUID(), 'notes', randomUUID()].map((id) => `stillpoint-scratch-${id}`);
  for (const [i, name] of others.entries()) {
    mkdirSync(join(scratch, name));
    if (i > 0) writeFileSync(join(scratch, name, 'stillpoint.lock'), '');
  }
  writeFileSync(join(scratch, others[2]!, 'thesis.txt'), 'mine');
  const drilling = startScript(
    `import { drillBackup } from 'stillpoint';
     const [from, scratch] = process.argv.slice(2);
     const probe = (dir) => (console.log(dir), new Promise(() => setInterval(() => {}, 1000)));
     await drillBackup('latest', { from, scratch, probe });`,
    [from, scratch],
  );
  const [line] = (await once(drilling.stdout, 'data')) as [Buffer];
  const used = String(line).trim();
  const drill = () => drillBackup('latest', { from, scratch });
  expect((await drill()).report.ok).toBe(true);
  expect(existsSync(used)).toBe(true);
  drilling.kill('SIGKILL');
  await once(drilling, 'exit');
  expect(existsSync(used)).toBe(true);
  expect((await drill()).report.ok).toBe(true);
  expect(readdirSync(scratch).sort()).toEqual(others.sort());
});

test('who makes a scratch folder and who sweeps do not meet', async () => {
  const scratch = await temporaryFolder();
  const destination = await openDestination(await temporaryFolder());
  const use = async (i: number) => {
    for (let round = 0; round < 8; round++)
      await inScratch(systemEnvironment, destination, scratch, async (folder) => {
        mkdirSync(folder);
        for (let at = 0; at < 5; at++) {
          writeFileSync(join(folder, `${at}`), `${i}`);
          await setImmediate();
        }
        expect(readdirSync(folder)).toHaveLength(5);
      });
  };
  await Promise.all(Array.from({ length: 12 }, (_, i) => use(i)));
  expect(readdirSync(scratch)).toEqual([]);
  expect(openFiles(scratch)).toEqual([]);
});

/** Names of descriptors of this process below a folder. */
const openFiles = (folder: string): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const name = readlinkSync(`/proc/self/fd/${fd}`);
      return name.startsWith(folder) ? [name] : [];
    } catch {
      return [];
    }
  });
