import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { encodeManifest, type Manifest } from '../../src/snapshot/store/manifest.ts';
import { readManifest, writeManifest } from '../../src/snapshot/store/manifest-file.ts';
import { temporaryFolder } from '../support/temp.ts';

const manifestOf = (files: number): Manifest => ({
  version: 1,
  entries: Array.from({ length: files }, (_, i) => ({
    path: `sst/${String(i).padStart(9, '0')}.sst`,
    size: i,
    crc32: i * 7,
    crc32c: i * 11,
    kind: 'immutable' as const,
    source: { ino: String(i), mtime_ns: String(i) },
  })),
  snapshot: { id: 'a', sequence: 1, created_at_ms: 1, engine: 'lsm', tool: 'test', total_bytes: 1 },
});

test.each([1, 128, 129, 1000, 20_001])(
  'a manifest of %d files is the same here and in another thread',
  async (files) => {
    const dir = await temporaryFolder();
    const manifest = manifestOf(files);
    await writeManifest(systemEnvironment, dir, manifest);
    const path = join(dir, 'snapshot.manifest');
    expect(readFileSync(path).equals(encodeManifest(manifest))).toBe(true);
    expect(await readManifest(systemEnvironment, dir)).toEqual({
      ...manifest,
      sealed: true,
      rewritten: false,
    });
  },
);

test('what is wrong with a large manifest comes back from the other thread', async () => {
  const dir = await temporaryFolder();
  const bytes = encodeManifest(manifestOf(5000));
  bytes[bytes.indexOf('000000777')]! ^= 1;
  writeFileSync(join(dir, 'snapshot.manifest'), bytes);
  await expect(readManifest(systemEnvironment, dir)).rejects.toMatchObject({
    code: 'MANIFEST_INVALID',
    path: join(dir, 'snapshot.manifest'),
  });
  const many = [
    { path: 'a', size: 0, crc32: 0 },
    ...manifestOf(200).entries,
    { path: 'a', size: 0, crc32: 0 },
  ];
  const twice = writeManifest(systemEnvironment, dir, { version: 1, entries: many });
  await expect(twice).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE' });
});

test('the event loop goes on while a large manifest is read and written (invariant 9)', async () => {
  const dir = await temporaryFolder();
  const manifest = manifestOf(40_000);
  const turns = { here: 0, there: 0 };
  const count = async (key: keyof typeof turns, work: () => unknown) => {
    let isOver = false;
    const turn = () => {
      if (isOver) return;
      turns[key]++;
      setImmediate(turn);
    };
    setImmediate(turn);
    await work();
    isOver = true;
  };
  await count('here', () => encodeManifest(manifest));
  await count('there', async () => {
    await writeManifest(systemEnvironment, dir, manifest);
    await readManifest(systemEnvironment, dir);
  });
  expect(turns.here).toBe(0);
  expect(turns.there).toBeGreaterThan(150); // a turn for each piece
});
