import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp, drillBackup, initRepository } from '../../src/index.ts';
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
  mkdirSync(join(scratch, 'stillpoint-scratch-of-somebody')); // no lock in it: it is just being made
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
  expect(readdirSync(scratch)).toEqual(['stillpoint-scratch-of-somebody']);
});
