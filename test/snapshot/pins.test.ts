import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { Pins } from '../../src/snapshot/capture/pins.ts';
import { temporaryFolder } from '../support/temp.ts';

test.each([
  ['links', true],
  ['descriptors, where links are impossible', false],
])('a replaced file is pinned again and the one before let go, by %s', async (_, hasLinks) => {
  const dir = await temporaryFolder();
  const folder = join(await temporaryFolder(), 'pins');
  await nodeFileSystem.makeFolder(folder);
  let open = 0;
  const fs: FileSystem = {
    ...nodeFileSystem,
    async link(existing, to) {
      if (!hasLinks) throw Object.assign(new Error('no links here'), { code: 'EPERM' });
      await nodeFileSystem.link(existing, to);
    },
    async open(path, how) {
      const file = await nodeFileSystem.open(path, how);
      open++;
      return { ...file, close: () => file.close().finally(() => open--) };
    },
  };
  const pins = new Pins(fs, dir, folder);
  await writeFile(join(dir, 'table'), 'old');
  expect(await pins.pin('table')).toBe(true);
  expect(await pins.confirm('table')).toBe(true);

  await writeFile(join(dir, 'other'), 'a new one');
  await rename(join(dir, 'other'), join(dir, 'table'));
  expect(await pins.pin('table')).toBe(true);
  expect(pins.of('table').stat.sizeBytes).toBe(3);
  expect(await pins.confirm('table')).toBe(false);
  expect(open).toBe(0);
  expect(await pins.pin('table')).toBe(true);
  expect(await pins.confirm('table')).toBe(true);
  expect(pins.of('table').stat.sizeBytes).toBe(9);
  expect(open).toBe(hasLinks ? 0 : 1);

  await pins.drop();
  expect(open).toBe(0);
  expect(await nodeFileSystem.inspect(folder)).toBeUndefined();
});
