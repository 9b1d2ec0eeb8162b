import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openLsm } from '../../src/engine/lsm/database/database.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { crc32 } from '../../src/format/crc32.ts';
import {
  BackupCoordinator,
  Lifecycle,
  listSnapshots,
  RestoreCoordinator,
  restoreSnapshot,
  showSnapshot,
  verifySnapshot,
} from '../../src/index.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { MANIFEST, sealed, textOf } from '../support/manifest-edits.ts';
import { temporaryFolder } from '../support/temp.ts';

// Manifests, markers and journals are input from outside: whatever they say, nothing is read or written elsewhere, and
// nobody waits for ever.

/** Asynchronous calls only: what hangs must not stop the clock that finds it out. */
const environment: Environment = { ...systemEnvironment, pool: inlinePool(TASKS, nodeFileSystem) };

const PATIENCE_MS = 60_000;

/** Fails when it takes for ever, which opening a FIFO or reading a device would. */
async function inTime<T>(what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} hangs`)), PATIENCE_MS);
  });
  return Promise.race([work, tooLate]).finally(() => clearTimeout(timer));
}

const SECRET = 'nobody may read this';
const EVIL = 'ts-9000000000';

/** A data directory with a good snapshot and one that `latest` names and that hostile things are done to. */
async function stage() {
  const root = await temporaryFolder();
  const dir = await plainDirectory({ 'a.txt': 'present', 'b/c': 'more' });
  const lifecycle = new Lifecycle({ dataDir: dir, environment });
  const good = await new BackupCoordinator({ dataDir: dir, engine: 'files', lifecycle }).backup();
  const backup = join(dir, '.lifecycle/backup');
  const evil = join(backup, EVIL);
  await cp(good.location, evil, { recursive: true });
  writeFileSync(join(backup, 'latest'), `${EVIL}\n`);
  // Where a path out of the snapshot, of the data directory or of the restored folder would lead.
  for (const place of [backup, dir, join(dir, '..'), root]) writeFileSync(join(place, 'canary'), SECRET);
  writeFileSync(join(root, 'passwd'), SECRET);
  const seen = () => ({
    data: readTree(dir),
    above: readTree(join(dir, '..'), ['data']),
    backup: readTree(backup, [EVIL, 'records.jsonl', 'latest']),
    outside: readTree(root, []),
  });
  return { root, dir, backup, evil, good, into: join(root, 'into'), seen, before: seen() };
}

type Stage = Awaited<ReturnType<typeof stage>>;

/** What every face of the library has to say to a snapshot whose manifest is hostile. */
async function expectRefused(at: Stage, what: string, reason: RegExp): Promise<void> {
  const { dir, evil, good, into, seen, before } = at;
  const { snapshots, latest } = await inTime(`list, ${what}`, listSnapshots(dir, { environment }));
  expect(latest, what).toBe(EVIL);
  expect(
    snapshots.map(({ name, problem }) => [name, problem === null]),
    what,
  ).toEqual([
    [good.name, true],
    [EVIL, false],
  ]);
  expect(snapshots[1]!.problem, what).toMatch(reason);
  const shown = await inTime(`show, ${what}`, showSnapshot('latest', { dataDir: dir, environment }));
  expect(shown.problem, what).toMatch(reason);

  const report = await inTime(`verify, ${what}`, verifySnapshot(evil, { environment }));
  expect(report, what).toMatchObject({ ok: false, verdict: 'copy-damaged' });
  expect(report.findings, what).toMatchObject([
    { path: MANIFEST, code: 'MANIFEST_INVALID', severity: 'error', message: expect.stringMatching(reason) },
  ]);

  const refusal = { name: 'StillpointError', code: 'RESTORE_INTEGRITY_MISMATCH' };
  const restored = restoreSnapshot('latest', { into, dataDir: dir, environment });
  await expect(inTime(`restore, ${what}`, restored), what).rejects.toMatchObject(refusal);
  const lifecycle = new Lifecycle({ dataDir: dir, environment });
  const inPlace = new RestoreCoordinator({ dataDir: dir, engine: 'files', lifecycle }).restore();
  await expect(inTime(`restore in place, ${what}`, inPlace), what).rejects.toMatchObject(refusal);
  expect(lifecycle.mode, what).toBe('normal');
  expect(seen(), what).toEqual(before);
  expect(existsSync(into), what).toBe(false);
}

const secret = { size: SECRET.length, crc32: crc32(Buffer.from(SECRET)) };
const file = (path: unknown, more: object = {}) => ({ path, ...secret, ...more });
const ABOUT = { id: 'x', sequence: 1, created_at_ms: 1, engine: 'files', tool: 't', total_bytes: 1 };
/** Sealed as it should be: so that it is the content that is refused. */
const of = (...entries: unknown[]) => textOf(sealed({ version: 1, entries, snapshot: ABOUT }));
const plainly = (json: string) => `{"version":1,"entries":[{"path":"a.txt","size":7,"crc32":${json}}]}`;

const PATHS: Readonly<Record<string, readonly [RegExp, ...unknown[]]>> = {
  absolute: [/is absolute/, '/etc/passwd'],
  'absolute elsewhere': [/is absolute/, 'C:/windows'],
  'out of the snapshot': [/"\.\." part/, '../canary'],
  'far out': [/"\.\." part/, '../../../canary'],
  'out and in again': [/"\.\." part/, 'b/../../canary'],
  'out at the end': [/"\.\." part/, 'b/..'],
  'the folder itself': [/"\." or/, '.'],
  'by way of itself': [/"\." or/, './a.txt'],
  'an empty part': [/an empty/, 'b//c'],
  'a slash at the end': [/an empty/, 'b/'],
  'no path': [/path/, ''],
  backslashes: [/every system/, '..\\canary'],
  'a NUL': [/every system/, 'a.txt\0.png'],
  'half a character': [/every system/, 'a\ud800'],
  'too long': [/too long/, `${'x'.repeat(200)}/`.repeat(21).slice(0, -1)],
  'the manifest itself': [/the manifest itself/, MANIFEST],
  'below the manifest': [/the manifest itself/, `${MANIFEST}/x`],
  'the manifest, in capitals': [/the manifest itself/, MANIFEST.toUpperCase()],
  'the lifecycle folder': [/lies in \.lifecycle/, '.lifecycle/backup/latest'],
  'the lifecycle folder, in capitals': [/lies in \.lifecycle/, '.LifeCycle/backup/latest'],
  'the same twice': [/stands there twice/, 'a.txt', 'a.txt'],
  'the same but for case': [/only in case/, 'A.txt', 'a.txt'],
  'a file and a folder': [/a file and a folder/, 'b', 'b/c'],
  'a number': [/path/, 7],
  nothing: [/path/, null],
  'a list': [/path/, ['a.txt']],
};

const NUMBERS = ['-1', '1.5', '1e400', '"7"', '4294967296', '9007199254740993', 'null', '[]', '{}'];

const TEXTS: Readonly<Record<string, readonly [RegExp, string | Buffer]>> = {
  'an empty file': [/not JSON/, ''],
  'not JSON': [/not JSON/, 'PK\u0003\u0004'],
  'half of it': [/not JSON/, plainly('0').slice(0, -3)],
  'something behind it': [/not JSON/, `${plainly('0')}{}`],
  'invalid UTF-8': [/not JSON/, Buffer.from('{"version":1,"entries":[],"x":"\xff"}', 'latin1')],
  'a byte order mark': [/not JSON/, `\ufeff${plainly('0')}`],
  'a number': [/expected object/, '7'],
  nothing: [/expected object/, 'null'],
  'a list': [/expected object/, '[]'],
  'no version': [/version/, '{"entries":[]}'],
  'a later version': [/version 2/, '{"version":2,"entries":[]}'],
  'a version in words': [/version/, '{"version":"1","entries":[]}'],
  'entries that are no list': [/entries/, '{"version":1,"entries":{"0":{"path":"a.txt"}}}'],
  'an entry that is none': [/entry 0/, '{"version":1,"entries":[null]}'],
  'a name twice': [/twice/, `${plainly('0').slice(0, -1)},"entries":[]}`],
  'a name twice in an entry': [/twice/, plainly('0,"path":"b/c"')],
  'a prototype with entries': [/entries/, `{"version":1,"__proto__":${plainly('0')}}`],
  'a prototype with a path': [
    /path/,
    '{"version":1,"entries":[{"__proto__":{"path":"a.txt"},"size":7,"crc32":0}]}',
  ],
  'a seal that is gone': [/lost its checksum/, JSON.stringify({ version: 1, entries: [], snapshot: ABOUT })],
  'a seal that does not fit': [/its own checksum/, '{"version":1,"entries":[],"manifest_crc32":1}'],
  'entries out of order': [/not sorted/, of(file('b/c'), file('a.txt'))],
  'lists, 100,000 deep': [/depth/, `{"version":1,"entries":${'['.repeat(1e5)}${']'.repeat(1e5)}}`],
  'objects, 100,000 deep, where nobody looks': [
    /depth/,
    `{"version":1,"entries":[],"x":${'{"x":'.repeat(1e5)}0${'}'.repeat(1e5)}}`,
  ],
};

describe('a hostile manifest is told and obeyed in nothing', () => {
  test('paths that lead elsewhere, clash or are none', async () => {
    const at = await stage();
    for (const [what, [reason, ...paths]] of Object.entries(PATHS)) {
      writeFileSync(join(at.evil, MANIFEST), of(...paths.map((path) => file(path))));
      await expectRefused(at, what, reason);
    }
  });

  test('numbers that are none', async () => {
    const at = await stage();
    for (const number of NUMBERS) {
      writeFileSync(join(at.evil, MANIFEST), plainly(number));
      await expectRefused(at, `crc32 ${number}`, /crc32/);
      if (number === '4294967296') continue; // a good size
      const sized = plainly('0').replace('"size":7', `"size":${number}`);
      writeFileSync(join(at.evil, MANIFEST), sized);
      await expectRefused(at, `size ${number}`, /size/);
    }
  });

  test('texts that are no manifest', async () => {
    const at = await stage();
    for (const [what, [reason, text]] of Object.entries(TEXTS)) {
      writeFileSync(join(at.evil, MANIFEST), text);
      await expectRefused(at, what, reason);
    }
  });

  test('texts that would take far more memory than they are long', async () => {
    const at = await stage();
    for (const [what, part] of [
      ['containers', '{},'],
      ['depth', '['],
      ['values', '0,'],
    ] as const) {
      const text = Buffer.alloc(24 * 1024 * 1024, part);
      writeFileSync(join(at.evil, MANIFEST), Buffer.concat([Buffer.from('{"version":1,"entries":['), text]));
      const report = await verifySnapshot(at.evil, { environment });
      expect(report.findings, what).toMatchObject([
        { path: MANIFEST, code: 'MANIFEST_INVALID', message: expect.stringContaining(`it has ${what} `) },
      ]);
    }
  });

  test('a gigabyte of nothing', async () => {
    const at = await stage();
    truncateSync(join(at.evil, MANIFEST), 2 ** 30);
    await expectRefused(at, 'a gigabyte', /1073741824 bytes, more than any manifest/);
  });

  test('a million files that are not there', async () => {
    const at = await stage();
    const entries = Array.from({ length: 1e6 }, (_, i) => `{"path":"f${i}","size":0,"crc32":0}`);
    writeFileSync(join(at.evil, MANIFEST), `{"version":1,"entries":[${entries}]}`);
    const report = await inTime('verify', verifySnapshot(at.evil, { environment }));
    expect(report).toMatchObject({ ok: false, verdict: 'copy-damaged', counts: { files: 0 } });
    expect(report.findings.length).toBeLessThan(20_000);
    expect(report.findings).toContainEqual(expect.objectContaining({ path: 'f1', code: 'FILE_MISSING' }));
    expect(
      report.findings.filter(({ severity }) => severity === 'warning').map(({ code }) => code),
    ).toContain('FINDINGS_LIMIT');
    const restored = restoreSnapshot(at.evil, { into: at.into, environment });
    await expect(inTime('restore', restored)).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
    expect(at.seen()).toEqual(at.before);
  });

  test('one that names no file, and one of an engine that nobody knows', async () => {
    const at = await stage();
    const refused = async () => {
      const restored = restoreSnapshot(at.evil, { into: at.into, environment });
      await expect(restored).rejects.toMatchObject({ name: 'StillpointError' });
      expect(at.seen()).toEqual(at.before);
    };
    for (const name of ['a.txt', 'b']) rmSync(join(at.evil, name), { recursive: true });
    for (const text of [of(), '{"version":1,"entries":[]}']) {
      writeFileSync(join(at.evil, MANIFEST), text);
      const { ok, findings } = await verifySnapshot(at.evil, { environment });
      expect([ok, findings.filter(({ severity }) => severity === 'error')]).toMatchObject([
        false,
        [{ path: MANIFEST, code: 'MANIFEST_EMPTY' }],
      ]);
      await refused();
    }
    const strange = { ...ABOUT, engine: '__proto__' };
    writeFileSync(join(at.evil, MANIFEST), textOf(sealed({ version: 1, entries: [], snapshot: strange })));
    await expect(verifySnapshot(at.evil, { environment })).rejects.toMatchObject({ name: 'StillpointError' });
    await refused();
  });

  test('what is no regular file is not followed, and nobody waits for it', async () => {
    const at = await stage();
    const place = join(at.evil, MANIFEST);
    const elsewhere = join(at.root, 'manifest');
    writeFileSync(elsewhere, readFileSync(place));
    const before = { ...at, before: at.seen() };
    const puts: Readonly<Record<string, () => void>> = {
      'a link to a good one': () => symlinkSync(elsewhere, place),
      'a link to nothing': () => symlinkSync(join(at.root, 'nothing'), place),
      'a link to itself': () => symlinkSync(place, place),
      'a device': () => symlinkSync('/dev/zero', place),
      'a FIFO': () => execFileSync('mkfifo', [place]),
      'a folder': () => mkdirSync(place),
    };
    for (const [what, put] of Object.entries(puts)) {
      rmSync(place, { recursive: true, force: true });
      put();
      await expectRefused(before, what, /is not a regular file/);
    }
  });

  test('nor in the place of a file that it names', async () => {
    const at = await stage();
    const place = join(at.evil, 'a.txt');
    const twin = join(at.root, 'twin');
    writeFileSync(twin, readFileSync(place));
    const before = at.seen();
    for (const put of [() => execFileSync('mkfifo', [place]), () => symlinkSync(twin, place)]) {
      rmSync(place);
      put();
      const report = await inTime('verify', verifySnapshot(at.evil, { environment }));
      expect(report.findings).toMatchObject([{ path: 'a.txt', code: 'NOT_A_FILE' }]);
      const restored = restoreSnapshot(at.evil, { into: at.into, environment });
      await expect(inTime('restore', restored)).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
      expect(at.seen()).toEqual(before);
    }
  });
});

describe('a hostile marker', () => {
  test('that is no small regular file is an error with a code, for whoever asks', async () => {
    const at = await stage();
    const { dir, into, seen, before } = at;
    const marker = join(at.backup, 'latest');
    const puts: Readonly<Record<string, () => void>> = {
      'a link to a password file': () => symlinkSync(join(at.root, 'passwd'), marker),
      'a link to nothing': () => symlinkSync(join(at.root, 'nothing'), marker),
      'a FIFO': () => execFileSync('mkfifo', [marker]),
      'a folder': () => mkdirSync(marker),
      'a gigabyte': () => {
        writeFileSync(marker, '');
        truncateSync(marker, 2 ** 30);
      },
    };
    for (const [what, put] of Object.entries(puts)) {
      rmSync(marker, { recursive: true, force: true });
      put();
      const calls = {
        list: () => listSnapshots(dir, { environment }),
        show: () => showSnapshot('latest', { dataDir: dir, environment }),
        verify: () => verifySnapshot('latest', { dataDir: dir, environment }),
        restore: () => restoreSnapshot('latest', { dataDir: dir, into, environment }),
        'restore in place': () =>
          new RestoreCoordinator({
            dataDir: dir,
            engine: 'files',
            lifecycle: new Lifecycle({ dataDir: dir, environment }),
          }).restore(),
      };
      for (const [call, make] of Object.entries(calls)) {
        const failure = await inTime(
          `${call}, ${what}`,
          make().catch((error: unknown) => error),
        );
        expect(failure, `${call}, ${what}`).toMatchObject({ name: 'StillpointError', path: marker });
        expect(JSON.stringify(failure), `${call}, ${what}`).not.toContain(SECRET);
      }
      // By its name the snapshot is reached all the same.
      expect((await showSnapshot(at.good.name, { dataDir: dir, environment })).problem).toBeNull();
      expect(seen(), what).toEqual(before);
      expect(existsSync(into), what).toBe(false);
    }
  });

  test('that names a folder elsewhere leads nowhere', async () => {
    const at = await stage();
    mkdirSync(join(at.root, 'ts-5'));
    symlinkSync(join(at.root, 'ts-5'), join(at.backup, 'ts-6'));
    const before = at.seen();
    for (const text of [
      join(at.root, 'ts-5'),
      '../../../ts-5',
      'ts-6',
      `${EVIL}/../..`,
      '..',
      '\0'.repeat(60_000),
    ]) {
      writeFileSync(join(at.backup, 'latest'), text);
      expect((await listSnapshots(at.dir, { environment })).latest, text).toBeNull();
      const restored = restoreSnapshot('latest', { dataDir: at.dir, into: at.into, environment });
      await expect(restored, text).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
    expect(at.seen()).toEqual(before);
  });
});

test('the journal of a restore moves nothing that lies outside', async () => {
  const good = { id: 'x', phase: 'out', from: 'restore/x/data', undo: 'restore-backup/ts-1', keep: ['LOCK'] };
  for (const bad of [
    { undo: '../../taken' },
    { undo: '/tmp/taken' },
    { from: 'restore/../../..' },
    { from: '.' },
    { id: '../../..' },
    { id: 'a/b' },
    { id: '' },
    { keep: ['../x'] },
  ]) {
    const { dir, seen, before } = await stage();
    writeTree(dir, { '.lifecycle/restore/x/journal.json': JSON.stringify({ ...good, ...bad }) });
    const recovered = new Lifecycle({ dataDir: dir, environment }).recover();
    await expect(recovered, JSON.stringify(bad)).rejects.toMatchObject({ code: 'IO_ERROR' });
    expect(seen()).toEqual(before);
  }
  // The one that they were made from is obeyed.
  const { dir } = await stage();
  writeTree(dir, {
    '.lifecycle/restore/x/journal.json': JSON.stringify(good),
    '.lifecycle/restore/x/data/new': 'new',
  });
  expect(await new Lifecycle({ dataDir: dir, environment }).recover()).toMatchObject({ restore: 'new' });
  expect(Object.keys(readTree(dir))).toEqual(['LOCK', 'new']);
});

test('a snapshot that the original server took is accepted, said to be unsealed, and restored', async () => {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, { walGeometry: { segmentBytes: 4096, segmentCount: 2 } });
  await database.put('in a table', 'value');
  await database.checkpoint();
  await database.put('in the log', 'value');
  await database.close();
  const paths = ['checkpoint.meta', 'lsm.wal', 'sst/1.sst'];
  const location = join(dir, '.lifecycle/backup/ts-1763625600');
  const contents = Object.fromEntries(paths.map((path) => [path, readFileSync(join(dir, path))]));
  // In the order in which it came upon them, two spaces, no newline at the end.
  const entries = ['lsm.wal', 'sst/1.sst', 'checkpoint.meta'].map((path) => ({
    path,
    size: contents[path]!.byteLength,
    crc32: crc32(contents[path]!),
  }));
  writeTree(location, { ...contents, [MANIFEST]: JSON.stringify({ version: 1, entries }, undefined, 2) });
  writeFileSync(join(dir, '.lifecycle/backup/latest'), location);

  const { latest, snapshots } = await listSnapshots(dir, { environment });
  expect(latest).toBe('ts-1763625600');
  expect(snapshots).toMatchObject([
    {
      name: 'ts-1763625600',
      id: null,
      created_at_ms: 1763625600_000,
      engine: 'lsm',
      entries: 3,
      problem: null,
    },
  ]);
  const report = await verifySnapshot('latest', { dataDir: dir, environment });
  expect(report).toMatchObject({
    ok: true,
    verdict: 'faithful',
    engine: 'lsm',
    counts: { tables: 1, wal_entries: 1 },
    findings: [{ path: MANIFEST, code: 'MANIFEST_UNSEALED', severity: 'warning' }],
  });

  const into = join(await temporaryFolder(), 'new');
  await restoreSnapshot('latest', { dataDir: dir, into, environment });
  expect(readTree(into)).toEqual(readTree(location, [MANIFEST]));
  const again = await openLsm(dir);
  await again.put('later', 'value');
  await again.close();
  const lifecycle = new Lifecycle({ dataDir: dir, environment });
  await new RestoreCoordinator({ dataDir: dir, lifecycle }).restore();
  for (const path of paths) expect(readFileSync(join(dir, path)), path).toEqual(contents[path]);
  const back = await openLsm(dir);
  expect(String(await back.get('in the log'))).toBe('value');
  expect(await back.get('later')).toBeUndefined();
  await back.close();

  // Without a seal, what the files are is all there is to go by; and that is enough.
  appendFileSync(join(location, 'lsm.wal'), '\0');
  const damaged = await verifySnapshot(location, { environment });
  expect(damaged.findings).toContainEqual(expect.objectContaining({ path: 'lsm.wal', code: 'FILE_SIZE' }));
  expect(readdirSync(join(dir, '.lifecycle/backup'))).toContain('ts-1763625600');
});
