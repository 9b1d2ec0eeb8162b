import {
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bodyOf } from '../../src/destination/destination.ts';
import { openFolder } from '../../src/destination/folder.ts';
import { openDestination } from '../../src/destination/open.ts';
import { keepsIfAbsent } from '../../src/destination/probe.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { testDestination } from '../../src/testing/index.ts';
import { systemError } from '../support/crash-file-system.ts';
import { entriesBelow } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

testDestination({ test, name: 'folder', createDestination: async () => openFolder(await temporaryFolder()) });

const text = (content: string) => bodyOf(Buffer.from(content));

describe('a folder as a destination', () => {
  test('folders have mode 0700 and files 0600, whatever the umask', async () => {
    const root = await temporaryFolder();
    const before = process.umask(0);
    try {
      const destination = await openFolder(root);
      await destination.put('a/b', text('x'));
      expect(statSync(join(root, 'a')).mode & 0o777).toBe(0o700);
      expect(statSync(join(root, 'a/b')).mode & 0o777).toBe(0o600);
    } finally {
      process.umask(before);
    }
  });

  test('what died in the middle of a put is never listed, and swept once it is old', async () => {
    const root = await temporaryFolder();
    const destination = await openFolder(root);
    await destination.put('a/b', text('x'));
    const [old, young] = [join(root, 'a/.put-00'), join(root, 'a/.put-01')];
    writeFileSync(old, 'half');
    writeFileSync(young, 'half');
    writeFileSync(join(root, 'a/.hidden'), 'of somebody else');
    const twoHoursAgo = Date.now() / 1000 - 7200;
    utimesSync(old, twoHoursAgo, twoHoursAgo);
    const keys: string[] = [];
    for await (const { key } of destination.list('')) keys.push(key);
    expect(keys).toEqual(['a/b']);
    expect(await destination.abortStale(3_600_000)).toBe(1);
    expect(readdirSync(join(root, 'a')).sort()).toEqual(['.hidden', '.put-01', 'b']);
  });

  test('no link is followed', async () => {
    const root = await temporaryFolder();
    const outside = await temporaryFolder();
    writeFileSync(join(outside, 'secret'), 'secret');
    symlinkSync(outside, join(root, 'folder'));
    symlinkSync(join(outside, 'secret'), join(root, 'file'));
    const destination = await openFolder(root);
    await expect(destination.get('file')).rejects.toMatchObject({ code: 'DESTINATION_PATH_CONFLICT' });
    await expect(destination.put('file', text('x'))).rejects.toMatchObject({
      code: 'DESTINATION_PATH_CONFLICT',
    });
    await expect(destination.get('folder/secret')).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE' });
    await expect(destination.put('folder/new', text('x'))).rejects.toMatchObject({
      code: 'UNSUPPORTED_FILE',
    });
    for (const name of ['file', 'folder']) {
      await expect(destination.list('')[Symbol.asyncIterator]().next()).rejects.toMatchObject({
        code: 'DESTINATION_PATH_CONFLICT',
        path: join(root, name),
      });
      rmSync(join(root, name));
    }
    expect(readdirSync(outside)).toEqual(['secret']);
  });

  test('a folder that was exchanged for another, as when a disk is unmounted, is an error and never empty', async () => {
    const root = await temporaryFolder();
    const destination = await openFolder(root);
    await destination.put('a', text('x'));
    renameSync(root, `${root}-away`);
    mkdirSync(root);
    const gone = { code: 'DESTINATION_NOT_FOUND' };
    await expect(destination.head('a')).rejects.toMatchObject(gone);
    await expect(destination.get('a')).rejects.toMatchObject(gone);
    await expect(destination.put('b', text('x'))).rejects.toMatchObject(gone);
    await expect(destination.list('')[Symbol.asyncIterator]().next()).rejects.toMatchObject(gone);
    expect(entriesBelow(root)).toEqual([]);
    rmSync(`${root}-away`, { recursive: true });
  });

  test.each([
    ['ENOSPC', 'DESTINATION_NO_SPACE'],
    ['EACCES', 'DESTINATION_PERMISSION_DENIED'],
    ['EROFS', 'DESTINATION_PERMISSION_DENIED'],
    ['EIO', 'DESTINATION_UNREACHABLE'],
  ])('%s is %s, and the object is not there', async (system, code) => {
    const root = await temporaryFolder();
    const fs = {
      ...nodeFileSystem,
      link: async (_: string, to: string) => {
        throw systemError(system, to);
      },
    };
    const destination = await openFolder(root, { fs });
    await expect(destination.put('a', text('x'), { ifAbsent: true })).rejects.toMatchObject({ code });
    expect(await destination.head('a')).toBeUndefined();
    expect(entriesBelow(root)).toEqual([]);
  });

  test('a file system without hard links is refused', async () => {
    const fs = {
      ...nodeFileSystem,
      link: async (_: string, to: string) => Promise.reject(systemError('EPERM', to)),
    };
    const destination = await openFolder(await temporaryFolder(), { fs });
    await expect(destination.probe()).rejects.toMatchObject({
      code: 'DESTINATION_CONFIG_INVALID',
      message: expect.stringContaining('hard links'),
    });
  });
});

test('a destination that ignores ifAbsent is found out', async () => {
  const folder = await openFolder(await temporaryFolder());
  const put = folder.put.bind(folder);
  const others = ['get', 'head', 'delete'].map((name) => [name, folder[name as 'get'].bind(folder)]);
  const ignoring = { ...Object.fromEntries(others), put: (key: string, body: never) => put(key, body) };
  expect(await keepsIfAbsent(ignoring as never)).toBe(false);
});

describe('what a user names', () => {
  test('is a path or folder:PATH', async () => {
    const root = await temporaryFolder();
    for (const url of [root, `folder:${root}`, `folder://${root}`])
      await (await openDestination(url)).put('a', text(url));
    expect(readdirSync(root)).toEqual(['a']);
  });

  test.each([
    ['ftp://host/x', 'DESTINATION_CONFIG_INVALID'],
    ['folder:', 'DESTINATION_CONFIG_INVALID'],
    ['/no/such/folder', 'DESTINATION_NOT_FOUND'],
    [import.meta.filename, 'DESTINATION_PATH_CONFLICT'],
  ])('%s is refused as %s', async (url, code) => {
    await expect(openDestination(url)).rejects.toMatchObject({ code });
  });
});
