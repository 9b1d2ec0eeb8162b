import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { ClassicLevel } from 'classic-level';
import { describe, expect, test } from 'vitest';
import { inspectLeveldbFile } from '../../src/engine/leveldb/inspect.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import {
  BackupCoordinator,
  openLsm,
  RestoreCoordinator,
  restoreSnapshot,
  verifySnapshot,
} from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { readAll } from '../support/leveldb.ts';
import { lengthenManifest } from '../support/long-manifest.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const MB = 1024 * 1024;

/** Tables on several levels, deleted keys, and a log that the MANIFEST does not name yet. */
async function databaseWith(manifestBytes: number): Promise<string> {
  const dir = join(await temporaryFolder(), 'data');
  for (const round of [0, 1]) {
    const db = new ClassicLevel(dir, { writeBufferSize: 64 * 1024 });
    for (let i = 0; i < 40; i++) {
      const batch = Array.from({ length: 100 }, (_, j) => {
        const key = `key ${(i * 100 + j * 37) % 3000}`;
        return j % 9 === round
          ? ({ type: 'del', key } as const)
          : ({ type: 'put', key, value: `${key} in ${round} ${'x'.repeat(50)}` } as const);
      });
      await db.batch(batch);
    }
    await db.close();
  }
  lengthenManifest(dir, manifestBytes);
  return dir;
}

const manifestsOf = (dir: string) => readdirSync(dir).filter((name) => name.startsWith('MANIFEST'));

// biome-ignore lint/suspicious/noExplicitAny: a description is JSON of any shape
async function stateOf(dir: string): Promise<any> {
  const name = readFileSync(join(dir, 'CURRENT'), 'utf8').trim();
  const { state, edits_total, problems } = (await inspectLeveldbFile(nodeFileSystem, join(dir, name), {
    limit: 10_000,
  })) as never;
  return { state, edits: edits_total, problems };
}

describe('a restore with a new MANIFEST', () => {
  test('into a folder: it says the same in one edit, to our reader and to LevelDB', async () => {
    const dir = await databaseWith(MB / 4);
    const { location } = await new BackupCoordinator({ dataDir: dir }).backup();
    const parent = await temporaryFolder();
    const [plain, short] = [join(parent, 'plain'), join(parent, 'short')];
    await restoreSnapshot(location, { into: plain });
    const { report } = await restoreSnapshot(location, { into: short, rewriteManifest: true });
    expect(report).toMatchObject({ ok: true, verdict: 'faithful' });

    expect(manifestsOf(plain)).toEqual(manifestsOf(location));
    expect(manifestsOf(short)).toHaveLength(1);
    expect(manifestsOf(short)).not.toEqual(manifestsOf(plain));
    expect(statSync(join(short, manifestsOf(short)[0]!)).size).toBeLessThan(64 * 1024);
    const [before, after] = [await stateOf(plain), await stateOf(short)];
    expect(after).toEqual({
      state: {
        ...before.state,
        next_file: Number(manifestsOf(short)[0]!.split('-')[1]) + 1,
        tables: expect.arrayContaining(before.state.tables),
      },
      edits: 1,
      problems: [],
    });
    expect(before.edits).toBeGreaterThan(1000);
    expect(await verifySnapshot(short)).toMatchObject({ ok: true, findings: [] });
    const rows = await readAll(short);
    expect(rows).toEqual(await readAll(plain));
    expect(rows.size).toBeGreaterThan(1000);
    // The snapshot is as it was.
    expect(await verifySnapshot(location)).toMatchObject({ ok: true });

    // The new one is a MANIFEST like any other: written to, opened again, captured.
    const db = new ClassicLevel(short, { createIfMissing: false });
    await db.put('new', 'row');
    await db.compactRange('', '\xff');
    await db.close();
    expect(await readAll(short)).toEqual(new Map([...rows, ['new', 'row']]));
    expect(await verifySnapshot(short)).toMatchObject({ ok: true });
  });

  test('in place, and back', async () => {
    const dir = await databaseWith(MB / 4);
    const [rows, name] = [await readAll(dir), manifestsOf(dir)];
    await new BackupCoordinator({ dataDir: dir }).backup();
    const { code } = await stillpoint([
      ...['restore', 'latest', '--data-dir', dir, '--in-place', '--rewrite-manifest'],
    ]);
    expect(code).toBe(0);
    expect(manifestsOf(dir)).not.toEqual(name);
    expect(await readAll(dir)).toEqual(rows);
    await new RestoreCoordinator({ dataDir: dir }).undo();
    expect(manifestsOf(dir)).toEqual(name);
    expect(await readAll(dir)).toEqual(rows);
  });

  test('from a repository, into a folder and in place', async () => {
    const dir = await databaseWith(MB / 4);
    const [rows, name] = [await readAll(dir), manifestsOf(dir)];
    const root = await temporaryFolder();
    const [repository, into] = [join(root, 'repository'), join(root, 'new')];
    expect((await stillpoint(['repo', 'init', repository])).code).toBe(0);
    expect((await stillpoint(['backup', 'run', dir, '--to', repository])).code).toBe(0);
    const restore = ['backup', 'restore', 'latest', '--from', repository, '--rewrite-manifest'];
    for (const [where, folder] of [
      ['--into', into],
      ['--in-place', dir],
    ] as const) {
      expect((await stillpoint([...restore, where, folder])).code).toBe(0);
      expect(manifestsOf(folder)).not.toEqual(name);
      expect((await stateOf(folder)).edits).toBe(1);
      expect(await readAll(folder)).toEqual(rows);
    }
  });

  test('of another engine is refused before anything is written', async () => {
    const dir = join(await temporaryFolder(), 'data');
    const db = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
    await db.put(Buffer.from('a'), Buffer.from('b'));
    await db.close();
    const { location } = await new BackupCoordinator({ dataDir: dir }).backup();
    const into = join(await temporaryFolder(), 'new');
    const refusal = { code: 'INVALID_REQUEST', message: `${location} is of lsm, which has no MANIFEST` };
    await expect(restoreSnapshot(location, { into, rewriteManifest: true })).rejects.toMatchObject(refusal);
    expect(existsSync(into)).toBe(false);
    const coordinator = new RestoreCoordinator({ dataDir: dir });
    await expect(coordinator.startRestore({ rewriteManifest: true })).rejects.toMatchObject(refusal);
    expect(existsSync(join(dir, '.lifecycle/restore-backup'))).toBe(false);
  });
});

describe('memory does not grow with the MANIFEST (invariant 10)', () => {
  const CASES = perTier(['salvage'], ['verify', 'snapshot', 'salvage', 'rewrite']);
  const MANIFEST = perTier(16, 1024) * MB;
  // Half of it is the code and the buffers of the threads.
  const MOST = perTier(120, 200) * MB;

  test(`${CASES.join(', ')}: ${MOST / MB} MB at most for one of ${MANIFEST / MB} MB`, async () => {
    const dir = await databaseWith(MANIFEST);
    for (const what of CASES) {
      const into = join(await temporaryFolder(), 'new');
      const measured = JSON.parse(await text(startScript(MEASURED, [what, dir, into]).stdout));
      console.log(`${what}: ${Math.round(measured.bytes / MB)} MB over idle, ${measured.ms} ms`);
      expect(measured, what).toMatchObject({ ok: true });
      expect(measured.bytes, what).toBeLessThan(MOST);
    }
  });
});

const MEASURED = `
import { readFileSync, writeFileSync } from 'node:fs';
import { BackupCoordinator, restoreSnapshot, salvageDatabase, verifySnapshot } from 'stillpoint';
const [what, dir, into] = process.argv.slice(2);
const status = (field) => 1024 * Number(new RegExp(field + ':\\\\s+(\\\\d+)').exec(readFileSync('/proc/self/status', 'utf8'))[1]);
const latest = dir + '/.lifecycle/backup/latest';
const works = {
  verify: async () => (await verifySnapshot(dir)).ok,
  snapshot: async () => (await new BackupCoordinator({ dataDir: dir }).backup()).report.ok,
  salvage: async () => (await salvageDatabase(dir, { into })).complete,
  rewrite: async () => (await restoreSnapshot(latest, { into, rewriteManifest: true })).report.ok,
};
writeFileSync('/proc/self/clear_refs', '5');
const [idle, began] = [status('VmRSS'), Date.now()];
const ok = await works[what]();
process.stdout.write(JSON.stringify({ ok, bytes: status('VmHWM') - idle, ms: Date.now() - began }));
`;
