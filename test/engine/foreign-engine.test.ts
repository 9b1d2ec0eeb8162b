import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test, vi } from 'vitest';
import { BackupCoordinator } from '../../src/coordinator/backup.ts';
import { verifySnapshot } from '../../src/coordinator/snapshot-by-path.ts';
import { Snapshots } from '../../src/coordinator/snapshots.ts';
import type { CapturePlan, Engine } from '../../src/engine/engine.ts';
import { filesEngine } from '../../src/engine/files/index.ts';
import { guardEngine } from '../../src/engine/foreign-engine.ts';
import { engineByName, engineNames, registerEngine } from '../../src/engine/index.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { Lifecycle } from '../../src/operation/lifecycle.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

// Engines from outside the package: how they become known, run in worker threads, and what a broken one comes to.

/** A module with an engine for folders that hold a file `mark-<name>`; `changes` replaces members of it. */
async function moduleOf(name: string, changes = ''): Promise<URL> {
  const path = join(await temporaryFolder(), 'engine.mjs');
  writeFileSync(
    path,
    `import { threadId } from 'node:worker_threads';
     import { crc32 } from 'node:zlib';
     const listFiles = async (fs, dir) => {
       const entries = (await fs.list(dir)).filter(({ name, kind }) => kind === 'file' && name !== 'snapshot.manifest');
       return entries.map(({ name }) => name).sort();
     };
     const read = async (file) => {
       const { sizeBytes } = await file.stat();
       const bytes = Buffer.alloc(sizeBytes);
       for (let done = 0; done < sizeBytes; ) done += await file.read(bytes.subarray(done), done);
       return { sizeBytes, crc32: crc32(bytes), findings: [], counts: {} };
     };
     const finding = { path: 'a.txt', offset: null, code: 'TEST_THREAD', severity: 'warning', message: String(threadId) };
     export default {
       name: ${JSON.stringify(name)},
       hasImmutableFiles: true,
       detect: async (fs, dir) => (await fs.list(dir)).some((entry) => entry.name === 'mark-${name}'),
       listFiles,
       plan: async ({ fs, dir }) => ({ items: (await listFiles(fs, dir)).map((path) => ({ kind: 'immutable', path })) }),
       checkFile: async (file, request, run) => {
         const check = await read(file);
         return request.path === 'a.txt' ? { ...check, findings: [finding] } : check;
       },
       checkConsistency: () => ({ findings: [] }),
       ${changes}
     };`,
  );
  return pathToFileURL(path);
}

async function marked(name: string): Promise<string> {
  const dir = await plainDirectory({ 'a.txt': 'first', empty: '', 'b.bin': 'x'.repeat(300_000) });
  writeFileSync(join(dir, `mark-${name}`), '');
  return dir;
}

async function snapshotOf(dir: string, engine: string) {
  const backups = new BackupCoordinator({ dataDir: dir, engine });
  return backups.finished((await backups.startBackup()).id);
}

test('a registered engine detects its folders, checks files in worker threads, and reads its snapshots', async () => {
  const module = await moduleOf('marked');
  const engine = await registerEngine(module);
  expect(await registerEngine(module)).toBe(engine);
  expect(engineNames()).toEqual(['lsm', 'leveldb', 'parts', 'files', 'marked']);
  const dir = await marked('marked');
  const { location, report } = await snapshotOf(dir, 'auto');
  expect(report).toMatchObject({ ok: true, engine: 'marked', findings: [{ code: 'TEST_THREAD' }] });
  expect(Number(report.findings[0]!.message)).toBeGreaterThan(0); // the main thread is 0
  expect(await verifySnapshot(location)).toMatchObject({ ok: true, engine: 'marked' });
  expect(await verifySnapshot(dir, { engine: 'marked' })).toMatchObject({ ok: true });
});

test('a snapshot of an engine that nobody registered is refused with a hint', async () => {
  await registerEngine(await moduleOf('gone-later'));
  const { location } = await snapshotOf(await marked('gone-later'), 'gone-later');
  const { resetModules } = (await import('vitest')).vi;
  resetModules();
  const anew = await import('../../src/coordinator/snapshot-by-path.ts');
  await expect(anew.verifySnapshot(location)).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
    message: expect.stringContaining('"gone-later"'),
    hint: expect.stringContaining('registerEngine'),
  });
});

test('an unknown name is a mistake in the call', async () => {
  const dir = await plainDirectory();
  expect(() => new BackupCoordinator({ dataDir: dir, engine: 'nobodys' })).toThrow(
    /lsm, leveldb, parts, files/,
  );
  await expect(verifySnapshot(dir, { engine: 'nobodys' })).rejects.toThrow(TypeError);
  expect(() => engineByName('nobodys')).toThrow(expect.objectContaining({ code: 'ENGINE_MISMATCH' }));
});

describe('a module that holds no engine', () => {
  test.each([
    ['of another engine', 'lsm', '', /another engine "lsm"/],
    ['with a reserved name', 'auto', '', /the name "auto"/],
    ['with a name that is none', 'My Engine', '', /the name "My Engine"/],
    ['without a method', 'partly', 'plan: undefined,', /has no plan/],
    [
      'that does not say whether files are immutable',
      'silent',
      'hasImmutableFiles: undefined,',
      /hasImmutableFiles/,
    ],
    ['with parts that nobody joins', 'parted', 'isDivisible: () => true,', /joinParts/],
  ])('an engine %s is refused', async (_, name, changes, message) => {
    await expect(registerEngine(await moduleOf(name, changes))).rejects.toMatchObject({
      code: 'ENGINE_INVALID',
      message: expect.stringMatching(message),
    });
  });

  test('a module that does not exist or fails to load is refused', async () => {
    const missing = pathToFileURL(join(await temporaryFolder(), 'missing.mjs'));
    await expect(registerEngine(missing)).rejects.toMatchObject({ code: 'ENGINE_MISSING' });
    const broken = join(await temporaryFolder(), 'broken.mjs');
    writeFileSync(broken, 'export default {');
    await expect(registerEngine(pathToFileURL(broken))).rejects.toMatchObject({ code: 'ENGINE_MISSING' });
    await expect(registerEngine('engine.js' as never)).rejects.toThrow(TypeError);
  });
});

describe('an engine that breaks its contract publishes nothing', () => {
  test.each([
    ['in-thread', `checkFile: threadId > 0 ? undefined : () => {},`, 'ENGINE_INVALID'],
    ['no-check', 'checkFile: async () => undefined,', 'ENGINE_INVALID'],
    ['no-sums', 'checkFile: async () => ({ findings: [], counts: {} }),', 'ENGINE_INVALID'],
    ['throws', `checkFile: async () => { throw new RangeError('a defect'); },`, 'ENGINE_INVALID'],
    [
      'bad-severity',
      `checkConsistency: () => ({ findings: [{ ...finding, severity: 'fatal' }] }),`,
      'ENGINE_INVALID',
    ],
    [
      'own-verdict',
      `checkConsistency: () => ({ findings: [{ ...finding, severity: 'error', verdict: 'faithful' }] }),`,
      'ENGINE_INVALID',
    ],
    [
      'no-counts',
      'checkFile: async (file) => ({ ...(await read(file)), counts: undefined }),',
      'ENGINE_INVALID',
    ],
    ...[
      ['text', `{ entries: '7' }`],
      ['negative', '{ tables: -3 }'],
      ['no-number', '{ blocks: NaN }'],
      ['half', '{ walEntries: 0.5 }'],
      ['nothing', '{ entries: undefined }'],
      ['lsn-number', '{ walLastLsn: 7 }'],
      ['lsn-text', `{ walLastLsn: 'seven' }`],
      ['unknown', '{ rows: 7 }'],
    ].flatMap(([name, counts]) => [
      [
        `counts-${name}`,
        `checkFile: async (file) => ({ ...(await read(file)), counts: ${counts} }),`,
        'ENGINE_INVALID',
      ],
      [`sum-${name}`, `checkConsistency: () => ({ findings: [], counts: ${counts} }),`, 'ENGINE_INVALID'],
    ]),
    ['facts', 'checkFile: async (file) => ({ ...(await read(file)), facts: () => {} }),', 'ENGINE_INVALID'],
    ['no-items', 'plan: async () => ({}),', 'ENGINE_INVALID'],
    [
      'short',
      'checkFile: async () => ({ sizeBytes: 0, crc32: 0, findings: [], counts: {} }),',
      'COPY_DAMAGED',
    ],
    ['leaves-out', `plan: async ({ pin }) => { await pin('a.txt'); return { items: [] }; },`, 'EMPTY_SOURCE'],
  ])('%s', async (name, changes, code) => {
    await registerEngine(await moduleOf(name, changes));
    const dir = await marked(name);
    await expect(snapshotOf(dir, name)).rejects.toMatchObject({ code });
    expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toEqual([]);
  });

  test('a module that is gone when a thread needs it', async () => {
    // The engine is known here; a thread that starts later finds something else in its place.
    const module = await moduleOf(
      'vanishes',
      `plan: async (context) => ({ items: (rm(), await all(context)) }),`,
    );
    const path = new URL(module);
    const text = `import { rmSync } from 'node:fs';
      const rm = () => rmSync(new URL(import.meta.url));
      const all = async ({ fs, dir }) => (await listFiles(fs, dir)).map((path) => ({ kind: 'immutable', path }));\n`;
    const { readFileSync } = await import('node:fs');
    writeFileSync(path, text + readFileSync(path, 'utf8'));
    await registerEngine(module);
    const dir = await marked('vanishes');
    await expect(snapshotOf(dir, 'vanishes')).rejects.toMatchObject({ code: 'ENGINE_MISSING' });
    expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toEqual([]);
  });
});

test('system errors and coded errors of the engine pass the guard unchanged', async () => {
  const failing: Engine = {
    ...filesEngine,
    listFiles: async () => Promise.reject(Object.assign(new Error('no such file'), { code: 'ENOENT' })),
  };
  await expect(guardEngine(failing).listFiles(nodeFileSystem, '/')).rejects.toMatchObject({ code: 'ENOENT' });
});

test('where what is surely captured does not fit, the database is asked for no checkpoint', async () => {
  await registerEngine(await moduleOf('sure', `isSurelyCaptured: (path) => path === 'large',`));
  const dir = await marked('sure');
  writeFileSync(join(dir, 'large'), 'x'.repeat(300_000));
  let isAsked = false;
  const checkpoint = () => {
    isAsked = true;
  };
  const fs = { ...nodeFileSystem, freeBytes: async () => 200_000 };
  const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...systemEnvironment, fs } });
  const backup = new BackupCoordinator({ dataDir: dir, lifecycle, engine: 'sure', checkpoint });
  await expect(backup.backup()).rejects.toMatchObject({ code: 'NO_SPACE' });
  expect(isAsked).toBe(false);
});

test('a file of another size than the engine has on record is damage of the source', async () => {
  const changes = `plan: async ({ fs, dir }) => ({ items: (await listFiles(fs, dir)).map((path) => ({ kind: 'immutable', path, sizeBytes: path === 'a.txt' ? 6 : undefined })) }),`;
  await registerEngine(await moduleOf('sized', changes));
  const dir = await marked('sized');
  await expect(snapshotOf(dir, 'sized')).rejects.toMatchObject({
    code: 'SOURCE_DAMAGED',
    data: {
      verdict: 'source-damaged',
      findings: [
        { path: 'a.txt', offset: 5, code: 'SOURCE_SIZE', message: expect.stringContaining('6 on record') },
      ],
    },
  });
  expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toEqual([]);
  writeFileSync(join(dir, 'a.txt'), 'firsts');
  mkdirSync(join(dir, 'new'));
  expect(await snapshotOf(dir, 'sized')).toMatchObject({ report: { ok: true } });
});

test('a malformed plan is refused', async () => {
  const image = { kind: 'image', path: 'a', sizeBytes: 5, extents: [], patches: [] };
  const planned = (plan: object) =>
    guardEngine({ ...filesEngine, plan: async () => plan as CapturePlan }).plan({} as never);
  for (const items of [
    [{ path: 'a' }],
    [{ kind: 'image', path: 'a' }],
    [{ kind: 'bytes', path: 'a', bytes: 'text' }],
    [{ kind: 'immutable', path: 'a', sizeBytes: '5' }],
    [{ ...image, sizeBytes: '5' }],
    [{ ...image, allocatedBytes: -1 }],
    [{ ...image, extents: [{ offset: '0', length: 1 }] }],
    [{ ...image, extents: [{ offset: 0, length: -1 }] }],
    [{ ...image, extents: [null] }],
    [{ ...image, patches: [{ offset: 0 }] }],
    [{ ...image, patches: [undefined] }],
  ]) {
    await expect(planned({ items })).rejects.toMatchObject({ code: 'ENGINE_INVALID' });
  }
  for (const checkpoint of [null, {}, { lsn: 5 }, { lsn: 'DROP' }, { lsn: '-1' }, { lsn: '9'.repeat(21) }])
    await expect(planned({ items: [image], checkpoint })).rejects.toMatchObject({ code: 'ENGINE_INVALID' });
  const items = [
    { ...image, extents: [{ offset: 0, length: 5 }], patches: [{ offset: 0, bytes: Buffer.from('x') }] },
  ];
  expect(await planned({ items, checkpoint: { lsn: '18446744073709551615' } })).toMatchObject({ items });
});

describe('an engine that hangs', () => {
  /** Writes a file beside the module first. */
  const hanging = (what: string) =>
    `${what} { const { writeFileSync } = await import('node:fs'); writeFileSync(new URL('hangs', import.meta.url), '');`;

  test.each([
    ['in-plan', `${hanging('plan: async () =>')} await new Promise(() => {}); },`],
    ['in-detect', `${hanging('detect: async () =>')} await new Promise(() => {}); },`],
    ['in-check', `${hanging('checkFile: async () =>')} await new Promise(() => {}); },`],
    ['in-a-loop', `${hanging('checkFile: async () =>')} for (;;); },`],
  ])('%s is cancelled, leaves nothing, and keeps no other directory waiting', async (name, changes) => {
    const module = await moduleOf(name, changes);
    await registerEngine(module);
    const dir = await marked(name);
    const abort = new AbortController();
    const lifecycle = new Lifecycle({ dataDir: dir });
    const backups = new BackupCoordinator({ dataDir: dir, engine: name, lifecycle });
    const backup = backups.backup({ signal: abort.signal });
    backup.catch(() => undefined);
    await vi.waitUntil(() => existsSync(new URL('hangs', module)), { timeout: 60_000 });
    if (name !== 'in-detect') {
      const other = new BackupCoordinator({ dataDir: await plainDirectory(), engine: 'files' });
      expect(await other.backup()).toMatchObject({ report: { ok: true } });
    }
    abort.abort();
    await expect(backup).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(lifecycle.running).toBeUndefined();
    const { backup: folder } = layoutOf(dir);
    const left = existsSync(folder) ? readdirSync(folder) : [];
    expect(left.filter((one) => one !== 'records.jsonl')).toEqual([]);
  });
});
