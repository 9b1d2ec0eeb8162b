import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { crc32 } from '../../src/format/crc32.ts';
import {
  BackupCoordinator,
  type BackupCoordinatorOptions,
  Lifecycle,
  Snapshots,
  type StillpointError,
  verifySnapshot,
} from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { PLAIN_FILES, plainDirectory, readTree, statsOf } from '../support/folders.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

const filesOf = (dir: string, options: Partial<BackupCoordinatorOptions> = {}) =>
  new BackupCoordinator({ dataDir: dir, engine: 'files', ...options });

const backupFolder = (dir: string) => join(dir, '.lifecycle/backup');
const latestOf = (dir: string) => readFileSync(join(backupFolder(dir), 'latest'), 'utf8');

/** What stands in the backup folder that no finished run leaves. */
const leftOvers = (dir: string) =>
  existsSync(backupFolder(dir)) ? readdirSync(backupFolder(dir)).filter((name) => name.startsWith('.')) : [];

describe('a snapshot of plain files', () => {
  test('holds every file, with size and CRC, and nothing else (invariant 6)', async () => {
    const dir = await plainDirectory();
    const result = await filesOf(dir).backup();
    const manifest = JSON.parse(readFileSync(join(result.location, 'snapshot.manifest'), 'utf8'));
    expect(manifest.version).toBe(1);
    const expected = Object.entries(PLAIN_FILES)
      .map(([path, content]) => ({
        path,
        size: Buffer.from(content).length,
        crc32: crc32(Buffer.from(content)),
      }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
    expect(manifest.entries).toMatchObject(expected);
    expect(readTree(result.location, ['snapshot.manifest'])).toEqual(readTree(dir));
    expect(result).toMatchObject({
      entries: expected.length,
      engine: 'files',
      state: { status: 'completed', code: null, reason: null, progress: { percent: 100 } },
      report: { ok: true, verdict: 'faithful', counts: { files: expected.length } },
    });
    expect(latestOf(dir)).toBe(`${result.name}\n`);
    expect(leftOvers(dir)).toEqual([]);
  });

  test('leaves the database as it was, and long zeros as holes (invariant 4)', async () => {
    const dir = await plainDirectory();
    const before = [readTree(dir), statsOf(dir, Object.keys(PLAIN_FILES))];
    const { location } = await filesOf(dir).backup();
    expect([readTree(dir), statsOf(dir, Object.keys(PLAIN_FILES))]).toEqual(before);
    expect(statSync(join(location, 'zeros.bin')).blocks * 512).toBeLessThan(200_000);
  });

  test('a sparse file larger than the disk needs no more room than it occupies', async () => {
    const dir = await plainDirectory();
    writeFileSync(join(dir, 'sparse'), 'begin');
    truncateSync(join(dir, 'sparse'), 300 * 2 ** 20);
    const env = systemEnvironment;
    const fs = { ...env.fs, freeBytes: async () => 200 * 2 ** 20 };
    const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...env, fs } });
    const { location } = await filesOf(dir, { lifecycle }).backup({ level: 'files' });
    expect(statSync(join(location, 'sparse'))).toMatchObject({ size: 300 * 2 ** 20 });
    expect(statSync(join(location, 'sparse')).blocks * 512).toBeLessThan(100_000);
  });

  test('two snapshots in one second get different names, and sequence and parent tell their order', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir);
    const first = await backup.backup();
    const second = await backup.backup();
    expect(second.name).not.toBe(first.name);
    const { snapshot } = JSON.parse(readFileSync(join(second.location, 'snapshot.manifest'), 'utf8'));
    expect(snapshot).toMatchObject({ id: second.id, sequence: 2, parent: first.name, engine: 'files' });
    expect((await new Snapshots({ dataDir: dir }).list()).latest).toBe(second.name);
  });

  test('a file that changes in every round is named, and nothing is published', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir);
    // Each plan is reported as a change of state: right between the first look and the last.
    backup.on('state', () => appendFileSync(join(dir, 'a.txt'), 'more'));
    await expect(backup.backup()).rejects.toMatchObject({
      code: 'SOURCE_CHANGING',
      message: expect.stringContaining('a.txt'),
    });
    expect(leftOvers(dir)).toEqual([]);
    expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toEqual([]);
  });

  test('a file that changes once is captured in its later state', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir);
    let rounds = 0;
    backup.on('state', (_id, { filesTotal }) => {
      if (filesTotal !== null && rounds++ === 0) appendFileSync(join(dir, 'a.txt'), ' and second');
    });
    const { location } = await backup.backup();
    expect(readFileSync(join(location, 'a.txt'), 'utf8')).toBe('first and second');
  });

  test('goes to archive or export on request, each with its own latest', async () => {
    const dir = await plainDirectory();
    const { location } = await filesOf(dir).backup({ kind: 'archive' });
    expect(location).toContain('/.lifecycle/archive/ts-');
    expect(readFileSync(join(dir, '.lifecycle/archive/latest'), 'utf8')).toMatch(/^ts-\d+\n$/);
    expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toEqual([]);
  });
});

describe('what cannot be captured', () => {
  const refused = async (dir: string, code: string, options: Partial<BackupCoordinatorOptions> = {}) => {
    await expect(filesOf(dir, options).backup()).rejects.toMatchObject({ name: 'StillpointError', code });
  };

  test('no such folder, not a folder, an empty one, one of no known engine', async () => {
    const root = await temporaryFolder();
    await refused(join(root, 'absent'), 'NOT_FOUND');
    writeFileSync(join(root, 'file'), '');
    await refused(join(root, 'file'), 'NOT_A_FOLDER');
    mkdirSync(join(root, 'empty'));
    await refused(join(root, 'empty'), 'EMPTY_SOURCE');
    await refused(await plainDirectory(), 'ENGINE_MISMATCH', { engine: 'auto' });
    await refused(await plainDirectory(), 'ENGINE_MISMATCH', { engine: 'lsm' });
  });

  test('links and FIFOs are named and not followed', async () => {
    const dir = await plainDirectory();
    symlinkSync('/etc/hostname', join(dir, 'deep/link'));
    await refused(dir, 'UNSUPPORTED_FILE');
    rmSync(join(dir, 'deep/link'));
    execFileSync('mkfifo', [join(dir, 'fifo')]);
    await refused(dir, 'UNSUPPORTED_FILE');
    expect(leftOvers(dir)).toEqual([]);
  });

  test('a mistake in a call is a TypeError that names the argument', async () => {
    const dir = await plainDirectory();
    expect(() => new BackupCoordinator({} as never)).toThrow(/dataDir/);
    expect(() => new BackupCoordinator({ dataDir: dir, engine: 'oracle' as never })).toThrow(/engine/);
    expect(() => new BackupCoordinator({ dataDir: dir, checkpoint: 7 as never })).toThrow(/checkpoint/);
    await expect(filesOf(dir).backup({ level: 'half' as never })).rejects.toThrow(/level/);
    await expect(filesOf(dir).backup({ keep: 0 })).rejects.toThrow(/keep/);
    await expect(filesOf(dir).backup({ kep: 3 } as never)).rejects.toThrow(/kep/);
    const lifecycle = new Lifecycle({ dataDir: `${dir}-other` });
    expect(() => new BackupCoordinator({ dataDir: dir, lifecycle })).toThrow(/lifecycle is that of/);
    await expect(verifySnapshot(3 as never)).rejects.toThrow(TypeError);
    await expect(filesOf(dir).backup({ mode: 'link' })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

describe('the checkpoint hook', () => {
  const fails = async (
    checkpoint: unknown,
    code: string,
    options: Partial<BackupCoordinatorOptions> = {},
  ) => {
    const dir = await plainDirectory();
    const { name } = await filesOf(dir).backup();
    const backup = filesOf(dir, { checkpoint: checkpoint as never, ...options });
    const { id } = await backup.startBackup();
    await expect(backup.finished(id)).rejects.toMatchObject({ code });
    expect(await backup.status(id)).toMatchObject({ status: 'failed', code, phase: 'checkpoint' });
    expect(latestOf(dir)).toBe(`${name}\n`);
    expect(leftOvers(dir)).toEqual([]);
    // Nothing stays locked.
    await filesOf(dir).backup();
  };

  test('that throws fails the run and keeps its cause', async () => {
    const cause = new Error('disk on fire');
    await fails(() => Promise.reject(cause), 'HOOK_FAILED');
    const dir = await plainDirectory();
    const backup = filesOf(dir, { checkpoint: () => Promise.reject(cause) });
    await expect(backup.backup()).rejects.toMatchObject({
      cause,
      message: expect.stringContaining('disk on fire'),
    });
  });

  test('that hangs is abandoned; a hold that comes late is released', async () => {
    let signal: AbortSignal | undefined;
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const checkpoint = (context: { signal: AbortSignal }) => {
      signal = context.signal;
      return new Promise<{ release(): void }>((resolve) =>
        signal!.addEventListener('abort', () => resolve({ release })),
      );
    };
    await fails(checkpoint, 'HOOK_TIMEOUT', { checkpointTimeoutMs: 20 });
    expect(signal?.aborted).toBe(true);
    await released;
    const backup = filesOf(await plainDirectory(), { checkpoint, checkpointTimeoutMs: 20 });
    await expect(backup.backup()).rejects.toMatchObject({
      message: expect.stringContaining('longer than 20 ms'),
      hint: expect.stringContaining('`checkpointTimeoutMs`'),
    });
  });

  test('that returns an invalid hold fails the run with a clear error', async () => {
    await fails(() => 'done', 'HOOK_INVALID');
    await fails(() => ({ plan: { items: [] } }), 'HOOK_INVALID');
    await fails(() => ({ release() {}, plan: { items: [{ kind: 'whole', path: 'a' }] } }), 'HOOK_INVALID');
  });

  test('holds until the last byte is captured and not longer, whatever happens', async () => {
    const dir = await plainDirectory();
    let held = 0;
    const hold = () => {
      held++;
      return { release: () => void held-- };
    };
    const seen: Record<string, number> = {};
    const good = filesOf(dir, { checkpoint: hold });
    good.on('state', (_id, { phase }) => {
      seen[phase!] ??= held;
    });
    await good.backup();
    expect(seen).toMatchObject({ capture: 1, prove: 0, seal: 0 });
    symlinkSync('nowhere', join(dir, 'link'));
    await expect(filesOf(dir, { checkpoint: hold }).backup()).rejects.toMatchObject({
      code: 'UNSUPPORTED_FILE',
    });
    expect(held).toBe(0);
  });

  test('may say itself which files make up the state', async () => {
    const dir = await plainDirectory();
    const plan = {
      items: [
        { kind: 'immutable' as const, path: 'deep/er/b.bin' },
        { kind: 'bytes' as const, path: 'note', bytes: Buffer.from('from the plan') },
        {
          kind: 'image' as const,
          path: 'a.txt',
          sizeBytes: 200_000,
          extents: [{ offset: 0, length: 3 }],
          patches: [{ offset: 199_999, bytes: Buffer.from('!') }],
        },
      ],
      checkpoint: { lsn: '42' },
    };
    const { location } = await filesOf(dir, { checkpoint: () => ({ plan, release() {} }) }).backup();
    expect(Object.keys(readTree(location)).sort()).toEqual([
      'a.txt',
      'deep/er/b.bin',
      'note',
      'snapshot.manifest',
    ]);
    const image = readFileSync(join(location, 'a.txt'));
    expect(image.equals(Buffer.concat([Buffer.from('fir'), Buffer.alloc(199_996), Buffer.from('!')]))).toBe(
      true,
    );
  });

  test('a plan that leads outside, names a file twice, or one that is gone, fails the run', async () => {
    const dir = await plainDirectory();
    const planned = (...paths: string[]) => {
      const items = paths.map((path) => ({ kind: 'immutable' as const, path }));
      return filesOf(dir, { checkpoint: () => ({ plan: { items }, release() {} }) });
    };
    await expect(planned('a.txt', 'empty', 'a.txt').backup()).rejects.toMatchObject({
      code: 'UNSUPPORTED_FILE',
      message: expect.stringContaining('"a.txt" cannot be captured: it is planned twice'),
    });
    await expect(planned('../outside').backup()).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE' });
    await expect(planned('gone').backup()).rejects.toMatchObject({
      code: 'SOURCE_CHANGING',
      message: expect.stringContaining('gone'),
    });
  });
});

describe('one at a time', () => {
  test('a second start in the process is refused and disturbs nothing', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir);
    const { id } = await backup.startBackup();
    await expect(backup.startBackup()).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringContaining('backup already running'),
    });
    await expect(filesOf(dir).startBackup()).rejects.toMatchObject({ code: 'CONFLICT' });
    expect((await backup.finished(id)).state.status).toBe('completed');
  });

  test('another process is refused too; its death frees the place and its run reads as interrupted', async () => {
    const dir = await plainDirectory();
    const { name } = await filesOf(dir).backup();
    const child = startScript(
      `import { BackupCoordinator } from 'stillpoint';
       const backup = new BackupCoordinator({ dataDir: process.argv[2], engine: 'files' });
       backup.on('state', (id, { phase }) => {
         if (phase !== 'prove') return;
         process.stdout.write(id + '\\n');
         for (;;) {} // hang with the copy complete and not published
       });
       await backup.backup();`,
      [dir],
    );
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const id = line.toString().trim();
    await expect(filesOf(dir).startBackup()).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(leftOvers(dir)).not.toEqual([]);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const lifecycle = new Lifecycle({ dataDir: dir });
    expect(await lifecycle.recover()).toMatchObject({ interrupted: [id], restore: null });
    expect(leftOvers(dir)).toEqual([]);
    expect(latestOf(dir)).toBe(`${name}\n`);
    const backup = filesOf(dir, { lifecycle });
    expect(await backup.status(id)).toMatchObject({ status: 'failed', code: 'INTERRUPTED' });
    expect((await backup.status(id)).startedAtMs).toBeGreaterThan(0);
    await backup.backup();
  });
});

describe('cancelling', () => {
  test.each(['admit', 'checkpoint', 'capture', 'seal', 'prove'])(
    'in %s leaves nothing and moves nothing',
    async (at) => {
      const dir = await plainDirectory();
      const { name } = await filesOf(dir).backup();
      const backup = filesOf(dir, { checkpoint: () => undefined });
      const controller = new AbortController();
      if (at === 'admit') controller.abort();
      backup.on('state', (_id, { phase }) => {
        if (phase === at) controller.abort();
      });
      const { id } = await backup.startBackup({ signal: controller.signal });
      await expect(backup.finished(id)).rejects.toMatchObject({ code: 'CANCELLED' });
      expect(await backup.status(id)).toMatchObject({ status: 'cancelled', code: 'CANCELLED' });
      expect(backup.cancel(id)).toBe(false);
      expect(leftOvers(dir)).toEqual([]);
      expect(latestOf(dir)).toBe(`${name}\n`);
      expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toHaveLength(1);
    },
  );

  test('works until right before publishing', async () => {
    const dir = await plainDirectory();
    let cancel = () => {};
    // The clone that the probe was given is the last thing to go.
    const fs: FileSystem = {
      ...systemEnvironment.fs,
      async removeFolder(path) {
        await systemEnvironment.fs.removeFolder(path);
        if (/\.partial-probe-[^/]*$/.test(path)) cancel();
      },
    };
    const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...systemEnvironment, fs } });
    const backup = filesOf(dir, { lifecycle });
    const probed: string[] = [];
    const { id } = await backup.startBackup({ probe: async (clone) => probed.push(clone) });
    cancel = () => backup.cancel(id);
    await expect(backup.finished(id)).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(probed).toHaveLength(1);
    expect(leftOvers(dir)).toEqual([]);
    expect(await new Snapshots({ dataDir: dir }).list()).toMatchObject({ latest: null, snapshots: [] });
  });

  test('works while a hook hangs', async () => {
    const backup = filesOf(await plainDirectory(), { checkpoint: () => new Promise(() => {}) });
    const { id } = await backup.startBackup();
    expect(backup.cancel(id)).toBe(true);
    await expect(backup.finished(id)).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

describe('records and events', () => {
  test('a run is known to the next process, and a state has every key', async () => {
    const dir = await plainDirectory();
    const backup = filesOf(dir);
    const states: string[] = [];
    backup.on('state', (_id, { status, phase }) => states.push(`${status} ${phase}`));
    const { id, state, location } = await backup.backup();
    const phases = states.filter((state, i) => state !== states[i - 1]);
    expect(phases).toEqual([
      'running checkpoint',
      'running capture',
      'running copy',
      'running prove',
      'running seal',
      'running prove',
      'running publish',
      'running mark',
      'completed mark',
    ]);
    expect(Object.keys(state)).toEqual([
      'status',
      'startedAtMs',
      'finishedAtMs',
      'progress',
      'reason',
      'code',
      'hint',
      'phase',
      'filesProcessed',
      'filesTotal',
    ]);
    const later = filesOf(dir);
    expect(await later.status(id)).toEqual(state);
    expect(await later.location(id)).toBe(location);
    expect(await later.latestLocation()).toBe(location);
    await expect(later.status('0000')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('a listener that throws does not affect the run', async () => {
    const backup = filesOf(await plainDirectory());
    const warned = once(process, 'warning');
    for (const event of ['state', 'completed'] as const) {
      backup.on(event, () => {
        throw new Error('listener');
      });
    }
    expect((await backup.backup()).state.status).toBe('completed');
    expect(await warned).toMatchObject([{ message: 'listener' }]);
  });

  test('a torn last line of the records is ignored', async () => {
    const dir = await plainDirectory();
    const { id } = await filesOf(dir).backup();
    appendFileSync(join(backupFolder(dir), 'records.jsonl'), '\n{"id":"cut');
    const second = await filesOf(dir).backup();
    expect((await filesOf(dir).status(id)).status).toBe('completed');
    expect((await filesOf(dir).status(second.id)).status).toBe('completed');
  });
});

describe('a probe', () => {
  test('gets a clone that is removed afterwards; what it writes there never reaches the snapshot (invariant 3)', async () => {
    const dir = await plainDirectory();
    let clone = '';
    const { location } = await filesOf(dir).backup({
      probe: async (folder) => {
        clone = folder;
        expect(readTree(folder)).toEqual(readTree(dir));
        writeFileSync(join(folder, 'a.txt'), 'the engine wrote here');
      },
    });
    expect(existsSync(clone)).toBe(false);
    expect(readFileSync(join(location, 'a.txt'), 'utf8')).toBe('first');
  });

  test('that refuses keeps the snapshot from being published', async () => {
    const dir = await plainDirectory();
    const refusal = filesOf(dir).backup({ probe: () => Promise.reject(new Error('no users table')) });
    await expect(refusal).rejects.toMatchObject({
      code: 'HOOK_FAILED',
      message: expect.stringContaining('no users'),
    });
    expect(leftOvers(dir)).toEqual([]);
    expect((await new Snapshots({ dataDir: dir }).list()).latest).toBeNull();
  });
});

test('a disk that stores other bytes than it was given is found out (invariant 1)', async () => {
  const dir = await plainDirectory();
  const env = systemEnvironment;
  const lying: FileSystem = {
    ...blockingFileSystem,
    async open(path, how) {
      const file = await blockingFileSystem.open(path, how);
      if (how !== 'create' || !path.endsWith('b.bin')) return file;
      return {
        ...file,
        write(source, position) {
          const bytes = Buffer.from(source);
          bytes[1234]! ^= 1;
          return file.write(bytes, position);
        },
      };
    },
  };
  const environment = { ...env, pool: inlinePool(TASKS, lying) };
  const lifecycle = new Lifecycle({ dataDir: dir, environment });
  const failure = (await filesOf(dir, { lifecycle })
    .backup()
    .catch((error) => error)) as StillpointError;
  expect(failure).toMatchObject({ code: 'COPY_DAMAGED', path: 'deep/er/b.bin' });
  expect(failure.data).toMatchObject({ verdict: 'copy-damaged', findings: [{ code: 'FILE_CRC' }] });
  expect(leftOvers(dir)).toEqual([]);
  expect((await new Snapshots({ dataDir: dir }).list()).latest).toBeNull();
});

test('a data directory without anything to compare its files with is reported as such', async () => {
  const dir = await plainDirectory();
  await expect(verifySnapshot(dir, { engine: 'lsm' })).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' });
  expect((await verifySnapshot(dir, { engine: 'files' })).findings).toMatchObject([
    { code: 'NOTHING_TO_COMPARE' },
  ]);
  expect(await new Lifecycle({ dataDir: join(dir, 'first/start') }).recover()).toMatchObject({
    restore: null,
  });
});

test('a latest marker of another tool is understood, and leads to no other folder', async () => {
  const dir = await plainDirectory();
  const { name, location } = await filesOf(dir).backup();
  const marker = join(backupFolder(dir), 'latest');
  for (const text of [location, `./some/where/${name}`, `  ${name}  \n`, `C:\\data\\${name}`]) {
    writeFileSync(marker, text);
    expect((await new Snapshots({ dataDir: dir }).list()).latest, text).toBe(name);
  }
  for (const text of ['', '..', '../../..', '/etc', 'ts-1', '\0', 'x'.repeat(9_999)]) {
    writeFileSync(marker, text);
    expect((await new Snapshots({ dataDir: dir }).list()).latest, JSON.stringify(text)).toBeNull();
  }
});

test('a clock that was set back does not make an older snapshot the latest', async () => {
  const dir = await plainDirectory();
  const backup = filesOf(dir);
  const first = await backup.backup();
  const env = systemEnvironment;
  const clock = { ...env.clock, nowMs: () => 1_000_000 };
  const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...env, clock } });
  const second = await filesOf(dir, { lifecycle }).backup();
  expect(second.name).toBe('ts-1000');
  const { latest, snapshots } = await new Snapshots({ dataDir: dir }).list();
  expect(latest).toBe('ts-1000');
  expect(snapshots.find(({ name }) => name === first.name)?.sequence).toBe(1);
  const kept = await filesOf(dir, { lifecycle }).backup({ keep: 1 });
  expect(kept.pruned).toEqual([first.name, second.name]);
});

test('a snapshot that somebody tampered with is not shared with the next one', async () => {
  const dir = await plainDirectory();
  const plan = { items: [{ kind: 'immutable' as const, path: 'deep/er/b.bin' }] };
  const backup = filesOf(dir, { checkpoint: () => ({ plan, release() {} }) });
  const first = await backup.backup();
  const second = await backup.backup();
  expect([first.reusedBytes, second.reusedBytes]).toEqual([0, 300_000]);
  const inode = (location: string) => statSync(join(location, 'deep/er/b.bin')).ino;
  expect(inode(second.location)).toBe(inode(first.location));
  const entry = JSON.parse(readFileSync(join(second.location, 'snapshot.manifest'), 'utf8')).entries[0];
  expect(entry.proven_at_ms).toBeGreaterThan(0);
  expect((await verifySnapshot(second.location)).ok).toBe(true);
  // Not shared: on request, when the source was changed, and when the copy is another file than the proven one.
  expect((await backup.backup({ reuse: false })).copiedBytes).toBe(300_000);
  writeFileSync(join(dir, 'deep/er/b.bin'), Buffer.alloc(300_000, 9));
  const third = await backup.backup();
  expect(third.reusedBytes).toBe(0);
  const file = join(third.location, 'deep/er/b.bin');
  const copy = `${file}.copy`;
  writeFileSync(copy, readFileSync(file));
  rmSync(file);
  linkSync(copy, file);
  rmSync(copy);
  expect((await backup.backup()).reusedBytes).toBe(0);
});
