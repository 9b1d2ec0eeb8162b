import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { salvageBackup } from '../../src/backup/salvage-backup.ts';
import { BackupCoordinator, openLsm } from '../../src/index.ts';
import { entriesBelow } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const KEYS = 100;
const value = (i: number): string => `value ${i} `.repeat(800);

test('what a damaged backup still says comes back, nothing that never was, and the rest is told', async () => {
  const scratch = await temporaryFolder();
  const at = (name: string) => join(scratch, name);
  const from = at('repository');
  await initRepository(from);
  const db = await openLsm(at('data'));
  await Promise.all(
    Array.from({ length: KEYS }, (_, i) => db.put(Buffer.from(`key ${1000 + i}`), Buffer.from(value(i)))),
  );
  await db.close();
  const coordinator = new BackupCoordinator({ dataDir: at('data'), engine: 'lsm' });
  await backUp(at('data'), { to: from, coordinator, compress: false });
  const [object, ...others] = entriesBelow(from)
    .filter((entry) => entry.isFile() && entry.parentPath.includes('/objects/'))
    .map((entry) => join(entry.parentPath, entry.name));
  expect(others).toEqual([]);

  const bytes = readFileSync(object!);
  bytes[bytes.byteLength >> 1]! ^= 1;
  writeFileSync(object!, bytes);
  const salvaged = await salvageBackup('latest', { from, into: at('changed'), scratch });
  expect(salvaged).toMatchObject({
    complete: false,
    entries: KEYS - 1,
    damaged: [{ path: 'lsm.wal', message: expect.stringContaining('does not hold') }],
  });
  const restored = await openLsm(at('changed'));
  for await (const [key, found] of restored.iterate())
    expect(found.toString()).toBe(value(Number(key.toString().slice(4)) - 1000));
  await restored.close();

  rmSync(object!);
  const missing = salvageBackup('latest', { from, into: at('missing'), scratch });
  expect(await missing.catch(({ message }) => ({ complete: false, message }))).toMatchObject({
    complete: false,
  });
  expect(readdirSync(scratch).filter((name) => name.startsWith('stillpoint-scratch'))).toEqual([]);
});
