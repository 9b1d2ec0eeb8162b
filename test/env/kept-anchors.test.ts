import { open, readdirSync, readlinkSync } from 'node:fs';
import { mkdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { DESCRIPTORS, TurnAnchors } from '../../src/env/kept-anchors.ts';
import { ANCHOR_FLAGS, anchors } from '../../src/env/openat-paths.ts';
import { testOnLinux } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';

/** Paths that keep descriptors between calls, and the folders that were opened for them. */
function keeping() {
  const opened: string[] = [];
  const openFolder = (path: string) => {
    opened.push(path);
    return promisify(open)(path, ANCHOR_FLAGS);
  };
  return { opened, anchor: anchors(openFolder, new TurnAnchors()) };
}

/** The folders below `root` that this process has a descriptor of. */
const openBelow = (root: string): string[] =>
  readdirSync(DESCRIPTORS)
    .map((fd) => {
      try {
        return readlinkSync(join(DESCRIPTORS, fd));
      } catch {
        return ''; // the descriptor of this very list
      }
    })
    .filter((name) => name.startsWith(root));

testOnLinux('calls that follow each other share one descriptor of their folder', async () => {
  const root = await temporaryFolder();
  const { anchor, opened } = keeping();
  for (let i = 0; i < 10; i++) await anchor.name(join(root, `file-${i}`), (name) => writeFile(name, ''));
  expect(opened).toEqual([root]);
});

testOnLinux('no descriptor is left once a turn ends without a call', async () => {
  const root = await temporaryFolder();
  const { anchor } = keeping();
  await anchor.name(join(root, 'file'), (name) => writeFile(name, ''));
  expect(openBelow(root)).toEqual([root]);
  await nextTurn();
  expect(openBelow(root)).toEqual([]);
});

testOnLinux('a walk through many folders keeps few of them open', async () => {
  const root = await temporaryFolder();
  const { anchor } = keeping();
  for (let i = 0; i < 40; i++) {
    const folder = join(root, `folder-${i}`);
    await mkdir(folder);
    await anchor.name(join(folder, 'file'), (name) => writeFile(name, ''));
  }
  await anchor.folder(root, () => expect(openBelow(root).length).toBeLessThan(20));
});

testOnLinux('a folder that another one replaces between two calls is looked up again', async () => {
  const root = await temporaryFolder();
  const { anchor, opened } = keeping();
  const folder = join(root, 'folder');
  const write = (content: string) => anchor.name(join(folder, 'file'), (name) => writeFile(name, content));
  await mkdir(folder);
  await write('first');
  await anchor.name(folder, (name) => rename(name, join(root, 'moved')));
  await anchor.name(folder, (name) => mkdir(name));
  await write('second');
  expect(opened).toEqual([folder, root, folder]);
  expect(await readFile(join(root, 'moved/file'), 'utf8')).toBe('first');
  expect(await readFile(join(folder, 'file'), 'utf8')).toBe('second');
});

testOnLinux('a link in place of a kept folder is not followed', async () => {
  const root = await temporaryFolder();
  const { anchor } = keeping();
  const folder = join(root, 'folder');
  await mkdir(folder);
  await anchor.name(folder, async () => {
    await anchor.name(join(folder, 'file'), (name) => writeFile(name, 'first'));
    await rename(folder, join(root, 'moved'));
    await symlink(join(root, 'moved'), folder);
    const second = anchor.name(join(folder, 'file'), (name) => writeFile(name, 'second'));
    await expect(second).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE', path: folder });
  });
  expect(await readFile(join(root, 'moved/file'), 'utf8')).toBe('first');
});
