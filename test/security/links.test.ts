import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import type { FileSystem, OpenFile } from '../../src/env/file-system.ts';
import { removeTree } from '../../src/env/io.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { anchors } from '../../src/env/openat-paths.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import {
  BackupCoordinator,
  Lifecycle,
  openLsm,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
} from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { stillpoint } from '../support/command.ts';
import { entriesBelow, readTree, writeTree } from '../support/folders.ts';
import { describeOnLinux, testOnLinux } from '../support/needs.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

// Links that somebody with write access puts in the place of files and folders, before and in the middle of a run. What they
// lead to is neither read into a snapshot nor changed nor deleted (invariant 8).

const SECRET = 'the treasure outside ';
const FILES = { 'a.txt': 'first', 'deep/er/b.bin': 'b'.repeat(5000), 'deep/c.txt': 'third' };

describe.each([
  ['nodeFileSystem', nodeFileSystem],
  ['blockingFileSystem', blockingFileSystem],
])('%s follows no link (invariant 8)', (_, fs: FileSystem) => {
  const scene = async () => {
    const root = await temporaryFolder();
    writeTree(join(root, 'outside'), { file: SECRET, 'folder/file': SECRET });
    mkdirSync(join(root, 'inside'));
    symlinkSync(join(root, 'outside'), join(root, 'inside/link'));
    symlinkSync(join(root, 'outside/file'), join(root, 'inside/file-link'));
    return { root, inside: join(root, 'inside'), before: readTree(join(root, 'outside')) };
  };

  test('in the last component of a path', async () => {
    const { root, inside, before } = await scene();
    const link = join(inside, 'file-link');
    for (const how of ['read', 'update', 'open-or-create'] as const)
      await expect(fs.open(link, how), how).rejects.toMatchObject({ code: 'ELOOP', path: link });
    await expect(fs.open(link, 'create')).rejects.toMatchObject({ code: 'EEXIST' });
    expect(await fs.inspect(link)).toMatchObject({ kind: 'link' });
    await expect(fs.syncFolder(join(inside, 'link'))).rejects.toThrow();
    await fs.link(link, join(inside, 'again'));
    expect(await fs.inspect(join(inside, 'again'))).toMatchObject({ kind: 'link' });
    await fs.removeFile(link);
    await removeTree(fs, join(inside, 'link'));
    expect(readTree(join(root, 'outside'))).toEqual(before);
  });

  testOnLinux('before the last component of a path', async () => {
    const { root, inside, before } = await scene();
    const link = join(inside, 'link');
    const own = join(inside, 'own');
    writeFileSync(own, 'mine');
    const calls: Record<string, () => Promise<unknown>> = {
      open: () => fs.open(join(link, 'file'), 'read'),
      'open deeper': () => fs.open(join(link, 'folder/file'), 'read'),
      create: () => fs.open(join(link, 'new'), 'create'),
      inspect: () => fs.inspect(join(link, 'file')),
      list: () => fs.list(link),
      'list deeper': () => fs.list(join(link, 'folder')),
      makeFolder: () => fs.makeFolder(join(link, 'new')),
      'rename from': () => fs.rename(join(link, 'file'), join(inside, 'taken')),
      'rename to': () => fs.rename(own, join(link, 'file')),
      'link from': () => fs.link(join(link, 'file'), join(inside, 'taken')),
      'link to': () => fs.link(own, join(link, 'new')),
      removeFile: () => fs.removeFile(join(link, 'file')),
      removeFolder: () => fs.removeFolder(join(link, 'folder')),
      syncFolder: () => fs.syncFolder(join(link, 'folder')),
    };
    for (const [name, call] of Object.entries(calls))
      await expect(call(), name).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE', path: link });
    expect(readTree(join(root, 'outside'))).toEqual(before);
    expect(readdirSync(inside).sort()).toEqual(['file-link', 'link', 'own']);
  });

  test('and names the path that the caller gave in its errors', async () => {
    const { inside } = await scene();
    const [missing, other] = [join(inside, 'none/of/it'), join(inside, 'missing')];
    const calls = [
      () => fs.open(missing, 'read'),
      () => fs.makeFolder(missing),
      () => fs.removeFile(missing),
    ];
    for (const call of calls) {
      const message = expect.not.stringContaining('/proc');
      await expect(call()).rejects.toMatchObject({ code: 'ENOENT', message });
    }
    await expect(fs.open(other, 'read')).rejects.toMatchObject({
      path: other,
      message: expect.stringContaining(`'${other}'`),
    });
    await expect(fs.rename(other, join(inside, 'x'))).rejects.toMatchObject({
      path: other,
      dest: join(inside, 'x'),
    });
    expect(await fs.inspect(missing)).toBeUndefined();
  });

  test('leaves no descriptor open', async () => {
    const { inside } = await scene();
    const count = () => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);
    const before = count();
    for (let i = 0; i < 20; i++) {
      await fs.inspect(join(inside, 'file-link'));
      await fs.list(join(inside, 'link')).catch(() => undefined);
      await fs.open(join(inside, 'none/x'), 'read').catch(() => undefined);
    }
    expect(count() - before).toBeLessThan(10); // the runner opens files of its own
  });
});

testOnLinux('a folder with another name in the kernel is entered step by step', async () => {
  const root = await temporaryFolder();
  writeTree(root, { 'one/two/file': 'x' });
  const { openSync } = await import('node:fs');
  const asked: string[] = [];
  const anchor = anchors((path) => {
    asked.push(path);
    return openSync(asked.length === 1 ? '/' : path, 0o10000000);
  });
  const seen = await anchor.folder(join(root, 'one/two'), (name) => [readlinkSync(name), readdirSync(name)]);
  expect(seen).toEqual([join(root, 'one/two'), ['file']]);
  expect(asked.length).toBeGreaterThan(3);
});

test('a data directory below a link is used by its real path, by every face', async () => {
  const root = await temporaryFolder();
  mkdirSync(join(root, 'real'));
  symlinkSync(join(root, 'real'), join(root, 'link'));
  const dir = join(root, 'link/made/data');
  const database = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
  await database.put('a', 'b');
  await database.close();
  const run = async (...args: string[]) => {
    const { code, stderr } = await stillpoint(args);
    expect(code, `${args.join(' ')}: ${stderr}`).toBe(0);
  };
  await run('snapshot', dir);
  await run('list', dir);
  await run('verify', dir);
  await run('verify', join(dir, '.lifecycle/backup/latest'));
  await run('inspect', join(dir, 'lsm.wal'));
  await run('restore', 'latest', '--data-dir', dir, '--into', join(root, 'link/new/folder'));
  await run('restore', 'latest', '--data-dir', dir, '--in-place');
  await run('undo', dir);
  await run('recover', dir);
  await run('prune', dir, '--keep', '1');
  expect(existsSync(join(root, 'real/new/folder/lsm.wal'))).toBe(true);
});

test('a restore into a folder that a link leads into the data directory is refused', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  writeTree(dir, FILES);
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  symlinkSync(dir, join(root, 'link'));
  const restored = restoreSnapshot(location, { into: join(root, 'link/new') });
  await expect(restored).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  expect(existsSync(join(dir, 'new'))).toBe(false);
});

/** Everything below `root` but the outside, read as bytes: the secret must be nowhere in it. */
function expectNoSecret(root: string): void {
  for (const entry of entriesBelow(root)) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || path.startsWith(join(root, 'outside'))) continue;
    expect(readFileSync(path).includes(SECRET), `${path} holds what stood outside`).toBe(false);
  }
}

/** A copy of what stands at `place`, every file of the same size and full of the secret. */
function decoy(place: string, outside: string): void {
  cpSync(place, outside, { recursive: true });
  for (const entry of entriesBelow(outside)) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) {
      const { length } = readFileSync(path);
      writeFileSync(
        path,
        SECRET.repeat(Math.ceil(length / SECRET.length) + 1).slice(0, Math.max(length, 30)),
      );
    }
  }
}

/** Calls `before` with N right before the N-th call of any method, those of open files included, counted from when `place` was resolved. */
function interrupted(
  inner: FileSystem,
  place: string,
  before: (count: number) => void,
): { fs: FileSystem; count: () => number } {
  let count = Number.NaN;
  const wrap = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(object, name) {
        const value = object[name as keyof T];
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          before(++count);
          const result = value.apply(object, args);
          if (name === 'realPath' && args[0] === place && Number.isNaN(count)) count = 0;
          if (name !== 'open') return name === 'adopt' ? wrap(result) : result;
          return (result as Promise<OpenFile>).then((file) => wrap(file));
        };
      },
    });
  return { fs: wrap(inner), count: () => count };
}

const FLOWS: Readonly<Record<string, (dir: string, root: string, lifecycle: Lifecycle) => Promise<unknown>>> =
  {
    snapshot: (dir, _, lifecycle) =>
      new BackupCoordinator({ dataDir: dir, engine: 'files', lifecycle }).backup(),
    'restore into a folder': (dir, root, lifecycle) =>
      new Snapshots({ dataDir: dir, lifecycle }).restore('latest', { into: join(root, 'target/new') }),
    'restore in place': (dir, _, lifecycle) =>
      new RestoreCoordinator({ dataDir: dir, engine: 'files', lifecycle }).restore(),
    prune: (dir, _, lifecycle) => new Snapshots({ dataDir: dir, lifecycle }).prune({ keep: 1 }),
    verify: (dir, _, lifecycle) => new Snapshots({ dataDir: dir, lifecycle }).verify('latest'),
  };

const PLACES: Readonly<Record<string, readonly string[]>> = {
  snapshot: ['data/deep', 'data/.lifecycle', 'data/.lifecycle/backup', 'data'],
  'restore into a folder': ['target', 'data/.lifecycle/backup/ts-2/deep', 'data/.lifecycle/backup/ts-2'],
  'restore in place': ['data/deep', 'data/.lifecycle/restore', 'data/.lifecycle/backup/ts-2/deep', 'data'],
  prune: [
    'data/.lifecycle/backup/ts-1/deep',
    'data/.lifecycle/backup/.deleted-ts-1/deep',
    'data/.lifecycle/backup',
  ],
  verify: ['data/.lifecycle/backup/ts-2/deep'],
};

/** Every so many-th operation: all of them take minutes. */
const STRIDE = 37;

describeOnLinux('a folder that becomes a link before the N-th operation of', () => {
  const prepare = async () => {
    const root = await temporaryFolder();
    const dir = join(root, 'data');
    writeTree(dir, FILES);
    mkdirSync(join(root, 'target'));
    let now = 0;
    const clock = { ...systemEnvironment.clock, nowMs: () => (now += 1000) };
    const environment = { ...systemEnvironment, clock };
    const backup = new BackupCoordinator({
      dataDir: dir,
      engine: 'files',
      lifecycle: new Lifecycle({ dataDir: dir, environment }),
    });
    const names = [
      (await backup.backup({ reuse: false })).name,
      (await backup.backup({ reuse: false })).name,
    ];
    for (const [i, name] of names.entries()) {
      renameSync(join(dir, '.lifecycle/backup', name), join(dir, `.lifecycle/backup/ts-${i + 1}`));
    }
    writeFileSync(join(dir, '.lifecycle/backup/latest'), 'ts-2\n');
    mkdirSync(join(dir, '.lifecycle/restore'), { recursive: true });
    return { root, dir };
  };

  const cases = Object.entries(PLACES).flatMap(([flow, places]) =>
    places.map((place) => [flow, place] as const),
  );
  test.each(cases)('%s: %s', async (flow, place) => {
    /** Resolves to how many operations there were, had nobody acted. */
    const run = async (at: number): Promise<number> => {
      const { root, dir } = await prepare();
      const outside = join(root, 'outside');
      // What the operator names is resolved once, links and all; from then on it stays what it was.
      const resolved = place === 'target' ? join(root, place) : dir;
      let before: unknown;
      const swap = () => {
        const full = join(root, place);
        if (!existsSync(full)) return;
        decoy(full, outside);
        renameSync(full, `${full}.away`);
        symlinkSync(outside, full);
        before = readTree(outside, []);
        swaps++;
      };
      const { fs, count } = interrupted(nodeFileSystem, resolved, (number) => {
        if (number === at) swap();
        else if (at === 0 && number > 0 && existsSync(join(root, place))) there = Math.min(there, number);
      });
      const environment = { ...systemEnvironment, fs, pool: inlinePool(TASKS, fs) };
      const lifecycle = new Lifecycle({ dataDir: dir, environment });
      await FLOWS[flow]!(dir, root, lifecycle).catch(() => undefined);
      if (before !== undefined) {
        expect(readTree(outside, []), `${flow}, ${place}, operation ${at}`).toEqual(before);
        expectNoSecret(root);
      }
      rmSync(root, { recursive: true, force: true });
      return count();
    };
    let swaps = 0;
    /** The first operation before which the place is there. */
    let there = Number.POSITIVE_INFINITY;
    const last = await run(0);
    expect(last).toBeGreaterThan(STRIDE);
    for (let at = 1; at <= last; at += STRIDE) await run(at);
    // What is there for a few operations only lies between two strides, perhaps.
    for (let at = there; at <= last && swaps === 0; at++) await run(at);
    expect(swaps).toBeGreaterThan(0);
  });
});

/** Swaps folders for links to the outside and back, as fast as it can, until it is killed. */
const SWAPPER = `
import { readdirSync, renameSync, symlinkSync, unlinkSync } from 'node:fs';
const [outside, ...places] = process.argv.slice(2);
process.stdout.write('go');
const attempt = (act) => { try { act(); } catch {} };
for (;;) {
  for (const place of places) {
    const found = place.endsWith('*')
      ? (() => { try { return readdirSync(place.slice(0, -1)).map((name) => place.slice(0, -1) + name + '/deep'); } catch { return []; } })()
      : [place];
    for (const one of found) {
      attempt(() => { renameSync(one, one + '.away'); symlinkSync(outside, one); });
      attempt(() => unlinkSync(one));
      attempt(() => renameSync(one + '.away', one));
    }
  }
}`;

testOnLinux(
  'a process that keeps swapping folders for links gets nothing in, out or deleted (invariant 8)',
  async () => {
    const root = await temporaryFolder();
    const [dir, outside] = [join(root, 'data'), join(root, 'outside')];
    writeTree(dir, FILES);
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
    await backup.backup({ reuse: false });
    decoy(join(dir, 'deep'), outside);
    const before = readTree(outside, []);
    const child = startScript(SWAPPER, [outside, join(dir, 'deep'), join(dir, '.lifecycle/backup/*')]);
    await new Promise((go) => child.stdout.once('data', go));
    const attempts = { done: 0, refused: 0 };
    const attempt = async (work: () => Promise<unknown>) => {
      await work().then(
        () => attempts.done++,
        () => attempts.refused++,
      );
    };
    for (let i = 0; i < 25; i++) {
      await attempt(() => backup.backup({ reuse: false }));
      await attempt(() =>
        new Snapshots({ dataDir: dir }).restore('latest', { into: join(root, `restored-${i}`) }),
      );
      await attempt(() => new Snapshots({ dataDir: dir }).prune({ keep: 1 }));
    }
    child.kill('SIGKILL');
    expect(attempts.refused).toBeGreaterThan(0); // else nothing was swapped at the right moment
    expect(readTree(outside, [])).toEqual(before);
    expectNoSecret(root);
    rmSync(root, { recursive: true, force: true });
  },
);
