import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, type TestContext, test } from 'vitest';
import { EXT4 } from '../../src/env/block-use.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { filePastCache } from '../../src/env/past-cache.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { type CopyJob, copyFiles, joinRanges } from '../../src/snapshot/tasks/copy-files.ts';
import { mountedImage, mountInMemory, overlayOn } from '../support/file-systems.ts';
import { seeded } from '../support/seeded.ts';
import { diskFolder, temporaryFolder } from '../support/temp.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
/** Around a page, what is read at once, what is written at once, and the window of a reader. */
const EDGES = [0, 4 * KiB, 64 * KiB, 256 * KiB, MiB];
const SIZES = [
  ...new Set(EDGES.flatMap((edge) => [-4097, -1, 0, 1, 4095, 4097].map((by) => edge + by))),
].filter((size) => size >= 0);

const quiet = () => {
  const control = new RunControl();
  control.goPastCache('all', true);
  return control;
};

const FILE_SYSTEMS: Readonly<Record<string, (context: TestContext) => Promise<string>>> = {
  'the disk': diskFolder,
  memory: async (context) => {
    const folder = join(await temporaryFolder(), 'memory');
    mountInMemory(context, folder, 64 * MiB);
    return folder;
  },
  ext3: (context) => mountedImage(context, 'ext3'),
  btrfs: (context) => mountedImage(context, 'btrfs'),
  overlayfs: (context) => overlayOn(context),
};

/** Noise with holes of any length between. */
function contentOf(size: number, below: (limit: number) => number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const length = 1 + below(below(2) === 0 ? 5000 : 200 * KiB);
    if (below(3) > 0) for (let i = at; i < Math.min(at + length, size); i++) bytes[i] = 1 + below(255);
    at += length;
  }
  return bytes;
}

test.for(Object.keys(FILE_SYSTEMS))(
  'on %s a copy past the cache is the source, whatever its size',
  async (name, context) => {
    const folder = await FILE_SYSTEMS[name]!(context);
    const random = seeded(SIZES.length);
    const below = (limit: number) => Math.floor(random() * limit);
    for (const size of SIZES) {
      const source = join(folder, `source-${size}`);
      const content = contentOf(size, below);
      writeFileSync(source, content);
      const patch = { offset: below(size), bytes: Buffer.from('patch').subarray(0, Math.min(5, size)) };
      const isPatched = size > 10 && patch.offset + 5 <= size;
      const expected = Buffer.from(content);
      if (isPatched) patch.bytes.copy(expected, patch.offset);
      const image = {
        sizeBytes: size,
        extents: [{ offset: 0, length: size }],
        patches: isPatched ? [patch] : [],
      };
      const jobs: [string, CopyJob, Buffer][] = [
        ['whole', { source: { path: source }, target: join(folder, `whole-${size}`) }, content],
        ['image', { source: { path: source }, target: join(folder, `image-${size}`), image }, expected],
      ];
      for (const [what, job, wanted] of jobs) {
        const [copied] = await copyFiles(nodeFileSystem, [job], quiet());
        expect(readFileSync(job.target).equals(wanted), `${what} of ${size} bytes`).toBe(true);
        expect(copied, what).toMatchObject({ sizeBytes: size, crc32: crc32(wanted), short: false });
      }
    }
  },
);

test('ranges of one target, at edges of pages and beside them', async (context) => {
  const folder = await mountedImage(context, 'ext4');
  const random = seeded(3);
  const below = (limit: number) => Math.floor(random() * limit);
  const source = join(folder, 'source');
  const content = contentOf(3 * MiB + 77, below);
  writeFileSync(source, content);
  for (const edges of [
    [MiB, 2 * MiB],
    [4096, MiB + 1],
    [1, 4095, 2 * MiB + 4097],
  ]) {
    const target = join(folder, `target-${edges.join()}`);
    writeFileSync(target, '');
    const starts = [0, ...edges];
    const jobs = starts.map((from, i): CopyJob => {
      const to = starts[i + 1];
      return { source: { path: source }, target, range: { from, ...(to !== undefined && { to }) } };
    });
    const copied = joinRanges(await copyFiles(nodeFileSystem, jobs, quiet()));
    expect(readFileSync(target).equals(content)).toBe(true);
    expect(copied).toMatchObject({ crc32: crc32(content), sizeBytes: content.length });
  }
  // Otherwise none of this would say anything.
  const file = await nodeFileSystem.open(source, 'read', true);
  await file.read(Buffer.alloc(5000), 4097);
  expect(file.isPastCache).toBe(true);
  await file.close();
});

test('a full disk is an error, and never a short copy', async (context) => {
  const folder = await mountedImage(context, 'ext4');
  const source = join(await temporaryFolder(), 'source');
  writeFileSync(source, Buffer.alloc(200 * MiB, 7));
  const target = join(folder, 'target');
  await expect(
    copyFiles(nodeFileSystem, [{ source: { path: source }, target }], quiet()),
  ).rejects.toMatchObject({
    code: 'ENOSPC',
  });
  expect(statSync(target).size).toBeLessThan(200 * MiB);
});

test('a file system that refuses only when it is read or written is taken through the cache', async () => {
  const folder = await temporaryFolder();
  const path = join(folder, 'file');
  const cached = await nodeFileSystem.open(path, 'create');
  const refuse = async (): Promise<never> => {
    throw Object.assign(new Error('refused'), { code: 'EINVAL' });
  };
  const file = filePastCache(cached, { ...cached, read: refuse, write: refuse, close: async () => {} }, EXT4);
  const content = contentOf(300 * KiB, (limit) => limit - 1);
  expect(await file.write(content, 0)).toBe(content.length);
  const read = Buffer.alloc(content.length);
  expect(await file.read(read, 0)).toBe(content.length);
  expect(read.equals(content)).toBe(true);
  expect(file.isPastCache).toBe(false);
  await file.close();
});
