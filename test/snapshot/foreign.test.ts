import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { crc32 } from '../../src/format/crc32.ts';
import { Lifecycle, RestoreCoordinator, Snapshots, verifySnapshot } from '../../src/index.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { readTree, writeTree } from '../support/folders.ts';
import { EVIL, environment, inTime, SECRET, stage } from '../support/hostile-stage.ts';
import { MANIFEST } from '../support/manifest-edits.ts';
import { temporaryFolder } from '../support/temp.ts';

// What others left in a lifecycle folder: markers and journals that lie, and an honest snapshot of the original server.

describe('a hostile marker', () => {
  test('that is no small regular file names nothing, and latest is a good snapshot beside it', async () => {
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
      const store = new Snapshots({ dataDir: dir, environment });
      const shown = await inTime(`show, ${what}`, store.get('latest'));
      expect(dirname(shown.location), what).toBe(at.backup);
      const report = await inTime(`verify, ${what}`, store.verify('latest'));
      expect(report.ok, what).toBe(true);
      const restored = await inTime(`restore, ${what}`, store.restore('latest', { into }));
      expect(restored.from, what).toBe(shown.location);
      expect(JSON.stringify([shown, report, restored, readTree(into)]), what).not.toContain(SECRET);
      rmSync(into, { recursive: true });
      const listed = await inTime(`list, ${what}`, new Snapshots({ dataDir: dir, environment }).list());
      expect(listed.latest, what).toBeNull();
      expect(JSON.stringify(listed), what).not.toContain(SECRET);
      // By its name the snapshot is reached all the same.
      expect((await new Snapshots({ dataDir: dir, environment }).get(at.good.name)).problem).toBeNull();
      expect(seen(), what).toEqual(before);
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
      expect((await new Snapshots({ dataDir: at.dir, environment }).list()).latest, text).toBeNull();
      const restored = new Snapshots({ dataDir: at.dir, environment }).restore('latest', { into: at.into });
      expect(dirname((await restored).from), text).toBe(at.backup);
      rmSync(at.into, { recursive: true });
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

  const { latest, snapshots } = await new Snapshots({ dataDir: dir, environment }).list();
  expect(latest).toBe('ts-1763625600');
  expect(snapshots).toMatchObject([
    {
      name: 'ts-1763625600',
      id: null,
      createdAtMs: 1763625600_000,
      engine: 'lsm',
      entries: 3,
      problem: null,
    },
  ]);
  const report = await new Snapshots({ dataDir: dir, environment }).verify('latest');
  expect(report).toMatchObject({
    ok: true,
    verdict: 'faithful',
    engine: 'lsm',
    counts: { tables: 1, walEntries: 1 },
    findings: [{ path: MANIFEST, code: 'MANIFEST_UNSEALED', severity: 'warning' }],
  });

  const into = join(await temporaryFolder(), 'new');
  await new Snapshots({ dataDir: dir, environment }).restore('latest', { into });
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
});
