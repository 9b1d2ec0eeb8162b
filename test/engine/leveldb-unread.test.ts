import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  BackupCoordinator,
  restoreSnapshot,
  Snapshots,
  verifyAllSnapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { sealBlock } from '../support/leveldb-encoders.ts';
import { type Craft, entry, resealAs, writeCraftedFolder } from '../support/leveldb-table.ts';
import { seeded } from '../support/seeded.ts';
import { temporaryFolder } from '../support/temp.ts';

// What was not looked at does not count as good: it has a verdict and an exit code of its own.

const COUNT = 400;
const entries = Array.from({ length: COUNT }, (_, i) =>
  entry(`key ${String(i).padStart(5, '0')}`, 1, 1, `value ${i} `.repeat(10)),
);
const blocks = Array.from({ length: COUNT / 40 }, (_, i) => entries.slice(40 * i, 40 * (i + 1)));

async function folderWith(craft: Partial<Craft>): Promise<string> {
  const dir = await temporaryFolder();
  await writeCraftedFolder(dir, { table: { blocks, ...craft } });
  return dir;
}

describe.each(['zlib', 'deflate'] as const)(
  'blocks compressed with %s, as Mojang writes them',
  (compression) => {
    const seal = (content: Buffer) => sealBlock(content, compression);

    test('are read, the index too', async () => {
      const { verdict, counts, findings } = await verifySnapshot(await folderWith({ seal, sealOther: seal }));
      expect({ verdict, findings }).toEqual({ verdict: 'faithful', findings: [] });
      expect(counts).toMatchObject({ blocks: blocks.length, entries: COUNT });
    });

    test('are damaged wherever a bit is flipped', async () => {
      const dir = await folderWith({ seal, sealOther: seal });
      const path = join(dir, '000004.ldb');
      const good = await readFile(path);
      const random = seeded(7);
      for (let flip = 0; flip < 60; flip++) {
        const at = Math.floor(random() * good.length);
        const bad = Buffer.from(good);
        bad[at]! ^= 1 << Math.floor(random() * 8);
        await writeFile(path, bad);
        const { verdict, findings } = await verifySnapshot(dir);
        expect([at, verdict]).toEqual([at, 'source-damaged']);
        expect(findings.map(({ path }) => path)).toContain('000004.ldb');
      }
    });

    test('are damaged when their checksum holds and they do not decompress', async () => {
      const type = compression === 'zlib' ? 2 : 4;
      const broken = (content: Buffer, index: number) =>
        index === 3 ? resealAs(Buffer.from('no compressed content'), type) : seal(content);
      expect(await verifySnapshot(await folderWith({ seal: broken }))).toMatchObject({
        verdict: 'source-damaged',
        findings: [{ code: 'LEVELDB_BLOCK_CONTENT' }],
      });
    });
  },
);

const UNREAD: Readonly<Record<string, Partial<Craft>>> = {
  'a data block': { seal: (content, index) => (index === 3 ? resealAs(content, 9) : sealBlock(content)) },
  'every data block': { seal: (content) => resealAs(content, 9) },
  'the index': { sealOther: (content) => resealAs(content, 9) },
};

describe.each(Object.keys(UNREAD))('where %s is in a compression that nobody knows', (name) => {
  test("the verdict is unread, and nothing is published without the caller's word", async () => {
    const dir = await folderWith(UNREAD[name]!);
    expect(await verifySnapshot(dir)).toMatchObject({ ok: false, verdict: 'unread' });
    expect((await stillpoint(['verify', dir])).code).toBe(7);

    const backup = new BackupCoordinator({ dataDir: dir });
    await expect(backup.backup()).rejects.toMatchObject({ code: 'UNREAD', exitCode: 7, path: '000004.ldb' });
    expect((await stillpoint(['snapshot', dir])).code).toBe(7);
    expect(await new Snapshots({ dataDir: dir }).list()).toMatchObject({ latest: null, snapshots: [] });

    const { location, report } = await backup.backup({ allowUnread: true });
    expect(report).toMatchObject({ ok: false, verdict: 'unread' });
    // What it shares with that one is not read for it, and is no better known.
    await expect(backup.backup()).rejects.toMatchObject({ code: 'UNREAD' });
    expect((await stillpoint(['snapshot', dir, '--allow-unread'])).code).toBe(0);

    expect(await verifyAllSnapshots(dir)).toMatchObject({ ok: false, totals: { damaged: 0 } });
    expect((await stillpoint(['verify', dir, '--all'])).code).toBe(7);
    const into = join(await temporaryFolder(), 'restored');
    expect(await restoreSnapshot(location, { into })).toMatchObject({ report: { verdict: 'unread' } });
    expect(await readFile(join(into, '000004.ldb'))).toEqual(await readFile(join(dir, '000004.ldb')));
  });
});

test('a snapshot that was not read in full is not the best one: the one before it stays', async () => {
  const dir = await folderWith({});
  const backup = new BackupCoordinator({ dataDir: dir });
  const proven = await backup.backup();
  await writeCraftedFolder(dir, { table: { blocks, ...UNREAD['a data block'] } });
  const { pruned } = await backup.backup({ allowUnread: true, keep: 1 });
  expect(pruned).toEqual([]);
  expect(await new Snapshots({ dataDir: dir }).list()).toMatchObject({
    latestGood: proven.name,
    snapshots: [
      { state: 'good', level: 'full' },
      { state: 'unread', level: 'files' },
    ],
  });
});

test('more unread blocks than are listed are no error', async () => {
  const many = entries.map((one) => [one]);
  const dir = await folderWith({ blocks: many, seal: (content) => resealAs(content, 9) });
  expect(await verifySnapshot(dir)).toMatchObject({ verdict: 'unread' });
});

test('damage beside what could not be read is damage', async () => {
  const seal = (content: Buffer, index: number) =>
    index === 3 ? resealAs(content, 9) : sealBlock(index === 5 ? Buffer.alloc(3) : content);
  expect(await verifySnapshot(await folderWith({ seal }))).toMatchObject({ verdict: 'source-damaged' });
});

test('an empty metaindex of four zero bytes is valid: the Java engine iq80 writes it', async () => {
  const dir = await folderWith({ filterKeys: null, metaindex: Buffer.alloc(4) });
  expect(await verifySnapshot(dir)).toMatchObject({
    verdict: 'faithful',
    findings: [],
    counts: { entries: COUNT },
  });
});

test('a backup that was not read in full says so when it is made and when it is restored', async () => {
  const dir = await folderWith(UNREAD['a data block']!);
  const repository = join(await temporaryFolder(), 'repository');
  await stillpoint(['repo', 'init', repository]);
  const run = ['backup', 'run', dir, '--to', repository, '--no-local'];
  expect((await stillpoint(run)).code).toBe(7);
  const told = await stillpoint([...run, '--allow-unread']);
  expect(told).toMatchObject({ code: 0, stdout: expect.stringContaining('000004.ldb') });
  const restore = (...where: string[]) =>
    stillpoint(['backup', 'restore', 'latest', '--from', repository, ...where]);
  const shown = await stillpoint(['backup', 'show', 'latest', '--from', repository, '--json']);
  expect(shown.json).toMatchObject({ level: 'files' });
  // One that stood before has no proof of this run.
  await stillpoint(['snapshot', dir, '--allow-unread']);
  await stillpoint(['backup', 'run', dir, '--to', repository, '--snapshot', 'latest']);
  const named = await stillpoint(['backup', 'show', 'latest', '--from', repository, '--json']);
  expect(named.json).toMatchObject({ level: 'files' });
  expect(named.json.backup_id).not.toBe(shown.json.backup_id);
  const place = await temporaryFolder();
  const text = await restore('--into', join(place, 'a'));
  expect(text).toMatchObject({ code: 0, stdout: expect.stringContaining('000004.ldb') });
  expect((await restore('--into', join(place, 'b'), '--json')).json).toMatchObject({ verdict: 'unread' });
  expect((await restore('--in-place', dir, '--json')).json).toMatchObject({ verdict: 'unread' });
});
