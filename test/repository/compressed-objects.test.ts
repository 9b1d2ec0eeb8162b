import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BackUpOptions, backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { FRAME_BYTES, FRAMES_MAGIC } from '../../src/format/frames.ts';
import { BackupCoordinator, Lifecycle } from '../../src/index.ts';
import { compressedBody } from '../../src/repository/compressed-objects.ts';
import { Keyring } from '../../src/repository/sealing/keyring.ts';
import { Sealer } from '../../src/repository/sealing/sealer.ts';
import { StoreBackups } from '../../src/repository/store-backups.ts';
import { readObject, storedBody } from '../../src/repository/stored-objects.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { memoryDestination } from '../support/memory-destination.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

const KEY = 'stores/x/objects/00/00';
const signal = new AbortController().signal;
const repositoryId = newUlid(1_700_000_000_000);
const sealer = new Sealer(Keyring.make(repositoryId));

async function all(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

/** Stretches that shrink beside stretches that do not. */
const mixed = (sizes: readonly number[]): Buffer =>
  Buffer.concat(
    sizes.map((size, i) => (i % 2 === 0 ? Buffer.alloc(size, `record ${i} `) : randomBytes(size))),
  );

/** The data of these files as one compressed object. */
async function bodyOf(contents: readonly Buffer[], environment = inlineEnvironment) {
  const folder = await temporaryFolder();
  const files = contents.map((content, i) => {
    const path = join(folder, String(i));
    writeFileSync(path, content);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const { byteLength: dataBytes } = content;
    return { path, digest: { sha256, dataBytes, sizeBytes: dataBytes, crc32: 0, crc32c: undefined } };
  });
  let counted = 0;
  const body = await compressedBody(
    environment,
    join(folder, 'snapshot'),
    files,
    new RunControl(),
    (count) => {
      counted += count;
    },
  );
  return { body, folder, counted: () => counted };
}

test('what was compressed comes back, whole and in every range, in clear and sealed', async () => {
  const sizes = fc.array(
    fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 1, max: 1_300_000 })),
    {
      minLength: 1,
      maxLength: 3,
    },
  );
  await fc.assert(
    fc.asyncProperty(sizes, fc.boolean(), fc.nat(), fc.nat(), async (sizes, isSealed, a, b) => {
      const contents = [Buffer.alloc(700_000, 'always '), mixed(sizes)];
      const content = Buffer.concat(contents);
      const { body, folder, counted } = await bodyOf(contents);
      if (body === undefined) return expect(sizes.length).toBeGreaterThan(1); // too much of it is random
      expect(readdirSync(folder)).toEqual(['0', '1']);
      const destination = memoryDestination();
      const store = new StoreBackups(
        inlineEnvironment,
        destination,
        repositoryId,
        repositoryId,
        isSealed ? sealer : undefined,
      );
      await destination.put(KEY, storedBody(store, KEY, body));
      expect(counted()).toBe(content.byteLength);
      const offset = a % content.byteLength;
      const ranges = [
        { offset: 0, length: content.byteLength },
        { offset, length: 1 + (b % (content.byteLength - offset)) },
      ];
      for (const { offset, length } of ranges) {
        const range = {
          key: KEY,
          contentBytes: content.byteLength,
          compressedBytes: body.sizeBytes,
          offset,
          length,
        };
        const read = await all((await readObject(store, range, signal))!);
        expect(read.equals(content.subarray(offset, offset + length))).toBe(true);
      }
      await body.close();
    }),
    { numRuns: perTier(8, 300), seed: SEED },
  );
});

test('a body that is opened again yields the same bytes', async () => {
  const { body } = await bodyOf([Buffer.alloc(1_500_000, 'text ')]);
  const first = await all(body!.open());
  expect(first.byteLength).toBe(body!.sizeBytes);
  expect((await all(body!.open())).equals(first)).toBe(true);
  await body!.close();
});

test.each([
  ['random bytes', randomBytes(600_000)],
  ['a few bytes', Buffer.from('short short short short')],
])('%s are stored as they are', async (_, content) => {
  expect((await bodyOf([content])).body).toBeUndefined();
});

test('where there is no room for the temporary file, data is stored as it is', async () => {
  const fs: FileSystem = {
    ...inlineEnvironment.fs,
    open: async (path, how) => {
      if (how === 'create') throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
      return inlineEnvironment.fs.open(path, how);
    },
  };
  const { body } = await bodyOf([Buffer.alloc(600_000, 'text ')], { ...inlineEnvironment, fs });
  expect(body).toBeUndefined();
});

test('data that changed since it was proven is not sent', async () => {
  const folder = await temporaryFolder();
  writeFileSync(join(folder, 'a'), Buffer.alloc(600_000, 'other text '));
  const sha256 = createHash('sha256').update(Buffer.alloc(600_000, 'text ')).digest('hex');
  const digest = { sha256, dataBytes: 600_000, sizeBytes: 600_000, crc32: 0, crc32c: undefined };
  const files = [{ path: join(folder, 'a'), digest }];
  const body = compressedBody(inlineEnvironment, join(folder, 's'), files, new RunControl(), () => {});
  await expect(body).rejects.toMatchObject({ code: 'COPY_DAMAGED' });
});

const frame = (stored: Uint8Array): Buffer => {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(stored.byteLength);
  return Buffer.concat([header, stored]);
};
const CONTENT = Buffer.alloc(FRAME_BYTES + 500_000, 'some text ');
const packed = [CONTENT.subarray(0, FRAME_BYTES), CONTENT.subarray(FRAME_BYTES)].map((part) =>
  frame(zlib.brotliCompressSync(part)),
);
const GOOD = Buffer.concat([FRAMES_MAGIC, ...packed]);
const [first, second] = packed as [Buffer, Buffer];

const HOSTILE: Record<string, [Buffer, RegExp]> = {
  'that is not compressed': [CONTENT.subarray(0, GOOD.byteLength), /is not compressed/],
  'that is empty': [Buffer.alloc(0), /is not compressed/],
  'that is cut in a header': [GOOD.subarray(0, 8 + first.byteLength + 3), /it was cut off/],
  'that is cut in a frame': [GOOD.subarray(0, -1), /it was cut off/],
  'that is cut between frames': [GOOD.subarray(0, 8 + first.byteLength), /it was cut off/],
  'with bytes behind its end': [Buffer.concat([GOOD, Buffer.from('x')]), /goes on behind its end/],
  'with a frame too many': [Buffer.concat([GOOD, second]), /goes on behind its end/],
  'with its frames exchanged': [Buffer.concat([FRAMES_MAGIC, second, first]), /holds too little at 0/],
  'with a frame of four gigabytes': [
    Buffer.concat([FRAMES_MAGIC, Buffer.alloc(4, 0xff), first]),
    /has a frame of 4294967295 bytes/,
  ],
  'with an empty frame': [Buffer.concat([FRAMES_MAGIC, Buffer.alloc(4), first]), /has a frame of 0 bytes/],
  'with a frame that is no Brotli': [
    Buffer.concat([FRAMES_MAGIC, frame(randomBytes(2000)), second]),
    /does not expand at 0|holds too little at 0/,
  ],
  // A hundred megabytes of zeros in a hundred bytes.
  'with a bomb': [
    Buffer.concat([FRAMES_MAGIC, frame(zlib.brotliCompressSync(Buffer.alloc(100_000_000))), second]),
    /does not expand at 0/,
  ],
};

describe('an object', () => {
  const reading = async (stored: Buffer) => {
    const destination = memoryDestination();
    const store = new StoreBackups(inlineEnvironment, destination, repositoryId, repositoryId);
    await destination.put(KEY, { sizeBytes: stored.byteLength, open: () => [stored] });
    const { byteLength: length } = CONTENT;
    const range = { key: KEY, contentBytes: length, compressedBytes: stored.byteLength, offset: 0, length };
    return all((await readObject(store, range, signal))!);
  };

  test('that was made elsewhere at another level is read', async () => {
    expect((await reading(GOOD)).equals(CONTENT)).toBe(true);
  });

  test.each(Object.entries(HOSTILE))('%s is refused', async (_, [stored, message]) => {
    await expect(reading(stored)).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
      path: KEY,
      message: expect.stringMatching(message),
    });
  });
});

describe('a repository', () => {
  const objects = {
    large: Buffer.alloc(2_000_000, 'text '),
    small: Buffer.alloc(20_000, 'small '),
    none: randomBytes(300_000),
  };
  const setUp = async () => {
    const to = join(await temporaryFolder(), 'repository');
    await initRepository(to);
    const dataDir = await plainDirectory(objects);
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
    const run = (options: Partial<BackUpOptions> = {}) => backUp(dataDir, { to, coordinator, ...options });
    const expectWhole = async () => {
      expect(await verifyBackup('latest', { from: to })).toMatchObject({ ok: true, findings: [] });
      const into = join(await temporaryFolder(), 'out');
      await restoreBackup('latest', { from: to, into });
      expect(readTree(into)).toEqual(readTree(dataDir));
    };
    return { dataDir, run, expectWhole };
  };

  test('keeps what shrinks compressed, and uses it again whether or not it would compress now', async () => {
    const { dataDir, run, expectWhole } = await setUp();
    const { uploadedBytes } = await run();
    expect(uploadedBytes).toBeGreaterThan(300_000);
    expect(uploadedBytes).toBeLessThan(310_000);
    expect(readdirSync(join(dataDir, '.lifecycle/backup')).filter((name) => name.startsWith('.'))).toEqual(
      [],
    );
    await expectWhole();
    writeTree(dataDir, { more: Buffer.alloc(500_000, 'more ') });
    expect(await run({ compress: false })).toMatchObject({ uploadedBytes: 500_000, objectsReused: 3 });
    await expectWhole();
  });

  test('in which nothing was compressed is gone on with', async () => {
    const { dataDir, run, expectWhole } = await setUp();
    expect(await run({ compress: false })).toMatchObject({ uploadedBytes: 2_320_000 });
    writeTree(dataDir, { more: Buffer.alloc(500_000, 'more ') });
    const { uploadedBytes, objectsReused } = await run();
    expect(objectsReused).toBe(3);
    expect(uploadedBytes).toBeLessThan(1000);
    await expectWhole();
  });
});

test('no more files are compressed at once than there are threads that compute', async () => {
  const root = await temporaryFolder();
  const dataDir = join(root, 'data');
  const to = join(root, 'repository');
  writeTree(dataDir, Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [name, name.repeat(300_000)])));
  await initRepository(to);
  const { pool } = inlineEnvironment;
  let [now, most] = [0, 0];
  const run = async (...args: Parameters<typeof pool.run>) => {
    if (args[0] !== 'compressFiles') return pool.run(...args);
    most = Math.max(most, ++now);
    await setImmediate(); // the others may come
    return pool.run(...args).finally(() => now--);
  };
  const environment = {
    ...inlineEnvironment,
    pool: { ...pool, concurrency: 1, run: run as typeof pool.run },
  };
  const lifecycle = new Lifecycle({ dataDir, environment });
  const coordinator = new BackupCoordinator({ dataDir, lifecycle, engine: 'files' });
  const { objectsUploaded } = await backUp(dataDir, { to, coordinator, environment });
  expect([objectsUploaded, most]).toEqual([4, 1]);
});
