import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { newUlid, ULID } from '../../src/env/ulid.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { ensureStoreFile, readStoreFile, storeFileOf } from '../../src/snapshot/store/store-identity.ts';
import { CrashFileSystem } from '../support/crash-file-system.ts';
import { everyCrash } from '../support/crash-matrix.ts';
import { worldOn } from '../support/crash-world.ts';
import { temporaryFolder } from '../support/temp.ts';

test('a ULID sorts by its time and never repeats', () => {
  const early = newUlid(1_700_000_000_000);
  expect(early).toMatch(ULID);
  expect(early < newUlid(1_700_000_000_001)).toBe(true);
  expect(newUlid(0)).toMatch(/^0{10}/);
  expect(newUlid(2 ** 48 - 1)).toMatch(/^7Z{9}/);
  expect(new Set(Array.from({ length: 1000 }, () => newUlid(1))).size).toBe(1000);
});

test('a store gets one identity, also when many ask at once, and keeps it', async () => {
  const layout = layoutOf(await temporaryFolder());
  expect(await readStoreFile(systemEnvironment.fs, layout)).toBeUndefined();
  const made = await Promise.all(Array.from({ length: 8 }, () => ensureStoreFile(systemEnvironment, layout)));
  expect(new Set(made.map(({ store_id }) => store_id)).size).toBe(1);
  expect(await ensureStoreFile(systemEnvironment, layout)).toEqual(made[0]);
  expect(readdirSync(layout.lifecycle)).toEqual(['store.json']);
});

test.each([
  ['no JSON', '{', 'is not JSON'],
  ['another version', '{"version":2,"store_id":"x","created_at_ms":0}', 'version'],
  ['no ULID', '{"version":1,"store_id":"../x","created_at_ms":0}', 'is not a ULID'],
])('a store file with %s is refused and not replaced', async (_, text, message) => {
  const layout = layoutOf(await temporaryFolder());
  await systemEnvironment.fs.makeFolder(layout.lifecycle);
  writeFileSync(storeFileOf(layout), text);
  const refused = { code: 'STORE_INVALID', message: expect.stringContaining(message) };
  await expect(ensureStoreFile(systemEnvironment, layout)).rejects.toMatchObject(refused);
  await expect(readStoreFile(systemEnvironment.fs, layout)).rejects.toMatchObject(refused);
});

test('fields that this version does not know are read', async () => {
  const layout = layoutOf(await temporaryFolder());
  const { store_id } = await ensureStoreFile(systemEnvironment, layout);
  const text = JSON.stringify({ version: 1, store_id, created_at_ms: 0, later: { than: 'this' } });
  writeFileSync(storeFileOf(layout), text);
  expect(await readStoreFile(systemEnvironment.fs, layout)).toMatchObject({ later: { than: 'this' } });
});

test('an identity that was told survives every crash, and none is half written', async () => {
  const before = worldOn(new CrashFileSystem(), 0);
  await before.fs.makeFolder('/disk');
  await before.fs.syncFolder('/');
  const layout = layoutOf('/disk');
  const coverage = await everyCrash({
    name: 'store identity',
    before: before.fs,
    run: async ({ environment }, reached) => reached((await ensureStoreFile(environment, layout)).store_id),
    recover: async ({ environment }) => ensureStoreFile(environment, layout),
    async check({ environment }, told) {
      const { store_id } = (await readStoreFile(environment.fs, layout))!;
      expect(store_id).toMatch(ULID);
      if (told !== '') expect(store_id).toBe(told);
    },
  });
  expect(coverage.points).toBeGreaterThan(5);
  expect(join(layout.lifecycle, 'store.json')).toBe(storeFileOf(layout));
});
