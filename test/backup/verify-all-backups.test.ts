import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { verifyAllBackups } from '../../src/backup/verify-all-backups.ts';
import type { GetOptions } from '../../src/destination/destination.ts';
import { openDestination } from '../../src/destination/open.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { counting } from '../support/counting-destination.ts';
import { entriesBelow, plainDirectory, writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const LARGE = 300_000;

/** Two backups: `kept` is an object that both share, `changed` has one of its own in each, and so has the pack with `small`. */
async function twoBackups() {
  const repository = join(await temporaryFolder(), 'repository');
  await initRepository(repository);
  const dataDir = await plainDirectory({ kept: Buffer.alloc(LARGE, 'kept') });
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  const objectsIn = () =>
    entriesBelow(repository)
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => path.includes('/objects/'));
  const run = async (content: string) => {
    writeTree(dataDir, { changed: Buffer.alloc(LARGE, content), small: content });
    return (await backUp(dataDir, { to: repository, coordinator, compress: false })).backupId;
  };
  const first = await run('first');
  const second = await run('second');
  /** The object with this content. */
  const objectOf = (content: string) =>
    objectsIn().find((path) => readFileSync(path).subarray(0, content.length).equals(Buffer.from(content)))!;
  return { repository, dataDir, first, second, run, objectOf };
}

function flip(path: string): void {
  const content = readFileSync(path);
  content[100]! ^= 1;
  writeFileSync(path, content);
}

test('all backups are verified, and what they share is read once', async () => {
  const { repository, first, second } = await twoBackups();
  const { destination, calls } = counting(await openDestination(repository));
  const report = await verifyAllBackups({ from: destination });
  expect(report).toMatchObject({
    ok: true,
    level: 'data',
    unrecorded: null,
    backups: [first, second].map((backupId) => ({ backupId, ok: true, verdict: 'faithful', findings: [] })),
    totals: { backups: 2, damaged: 0, objects: 5, readBytes: 3 * LARGE + 'first'.length + 'second'.length },
  });
  expect(calls.head).toBe(5);
  const [store] = (await listBackups({ from: repository })).stores;
  for (const { verifiedAtMs } of store!.backups) expect(verifiedAtMs).toBeGreaterThan(0);
});

test('damage is told of each backup that has it, and is on record', async () => {
  const { repository, first, second, run, objectOf } = await twoBackups();
  rmSync(objectOf('first'));
  flip(objectOf('second')); // another content under the same name
  flip(objectOf('kept'));
  const report = await verifyAllBackups({ from: repository });
  const missing = { path: 'changed', code: 'OBJECT_MISSING' };
  const damaged = (path: string) => ({ path, code: 'OBJECT_DAMAGED', verdict: 'copy-damaged' });
  expect(report).toMatchObject({ ok: false, totals: { backups: 2, damaged: 2 } });
  expect(report.backups.map(({ backupId }) => backupId)).toEqual([first, second]);
  expect(report.backups[0]!.findings).toMatchObject([missing, damaged('kept')]);
  expect(report.backups[1]!.findings).toMatchObject([damaged('changed'), damaged('kept')]);
  const [store] = (await listBackups({ from: repository })).stores;
  expect(store!.backups.map((one) => [one.damaged, one.verifiedAtMs])).toEqual(Array(2).fill([true, null]));
  await run('second');
  expect((await verifyAllBackups({ from: repository })).backups.at(-1)).toMatchObject({ ok: true });
});

test('a manifest that cannot be trusted is a finding of its backup, and the others are verified', async () => {
  const { repository, second } = await twoBackups();
  const manifest = entriesBelow(repository).find((entry) => entry.name === 'manifest')!;
  writeFileSync(join(manifest.parentPath, manifest.name), 'no manifest');
  const { backups, totals } = await verifyAllBackups({ from: repository });
  expect(totals.damaged).toBe(1);
  expect(backups.find(({ ok }) => !ok)).toMatchObject({ findings: [{ code: 'MANIFEST_INVALID' }] });
  expect(backups.map(({ verdict }) => verdict).sort()).toEqual(['copy-damaged', 'faithful']);
  expect(backups.at(-1)!.backupId).toBe(second);
});

test('a manifest that could be read only once the objects had been is not trusted', async () => {
  const { repository, second } = await twoBackups();
  const inner = await openDestination(repository);
  let left = 1;
  const destination = new Proxy(inner, {
    get(target, verb) {
      const method = Reflect.get(target, verb);
      if (verb !== 'get') return typeof method === 'function' ? method.bind(target) : method;
      return async (key: string, options?: GetOptions) =>
        key.includes(second) && left-- > 0
          ? Readable.from([Buffer.from('no manifest')])
          : inner.get(key, options);
    },
  });
  const { backups } = await verifyAllBackups({ from: destination });
  expect(backups.map(({ verdict }) => verdict)).toEqual(['faithful', 'copy-damaged']);
  expect(backups[1]!.findings).toMatchObject([{ code: 'MANIFEST_INVALID' }]);
});

test('no backup at all is NOT_FOUND, and a cancelled verification ends', async () => {
  const empty = join(await temporaryFolder(), 'empty');
  await initRepository(empty);
  await expect(verifyAllBackups({ from: empty })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const { repository } = await twoBackups();
  const signal = AbortSignal.abort();
  await expect(verifyAllBackups({ from: repository, signal })).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('the command tells people and programs, and exits as for one backup', async () => {
  const { repository, first, second, objectOf } = await twoBackups();
  const run = (...args: string[]) => stillpoint(['backup', 'verify', '--from', repository, ...args]);
  const good = await run('--all', '--json');
  expect([good.code, good.json.ok, good.json.totals.read_bytes]).toEqual([0, true, 3 * LARGE + 11]);
  expect(await run('--all', '--level', 'manifest')).toMatchObject({ code: 7 });
  flip(objectOf('second'));
  const bad = await run('--all');
  expect(bad.code).toBe(3);
  const lines = bad.stdout.split('\n');
  expect(lines).toContain(`${first}: faithful`);
  expect(lines).toContain(`${second}: copy-damaged`);
  expect(bad.stdout).toMatch(/changed OBJECT_DAMAGED .*does not hold/);
  expect(bad.stdout).toContain('2 backups, 1 of them damaged  (level data)\n  5 objects, 879 KiB read\n');
  for (const [args, message] of [
    [[], 'the backup is missing'],
    [['latest', '--all'], 'latest and --all exclude each other'],
    [['--all', '--level', 'full'], 'no --level full'],
    [['--all', '--data-dir', '.'], 'cannot be used with'],
  ] as const) {
    const { code, stderr } = await run(...args);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  }
});
