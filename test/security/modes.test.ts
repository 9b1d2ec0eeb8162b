import { execFileSync } from 'node:child_process';
import { chmodSync, lstatSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { COMMAND } from '../support/command.ts';
import { entriesBelow } from '../support/folders.ts';
import { fill, writeFolder } from '../support/leveldb-folders.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

// Whatever stillpoint makes is for its owner alone: folders 0700, files 0600, under any umask.

const EVERYTHING = `
import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync } from 'node:fs';
import { BackupCoordinator, Lifecycle, openLsm, RestoreCoordinator, Snapshots } from 'stillpoint';
const [dir, into, umask] = process.argv.slice(2);
process.umask(Number.parseInt(umask, 8));
let db = await openLsm(dir, { walGeometry: { segmentBytes: 65536, segmentCount: 4 } });
for (let i = 0; i < 50; i++) await db.put('key' + i, 'value'.repeat(100));
await db.checkpoint();
for (const name of readdirSync(dir + '/sst')) chmodSync(dir + '/sst/' + name, 0o644);
const lifecycle = new Lifecycle({ dataDir: dir });
const backup = new BackupCoordinator({ dataDir: dir, lifecycle, checkpoint: () => db.hold() });
await backup.backup();
await backup.backup();
await backup.backup({ kind: 'archive' });
const linked = await backup.backup({ mode: 'link' });
console.log('linked', linked.linkedBytes > 0);
const restore = new RestoreCoordinator({ dataDir: dir, lifecycle, close: () => db.close(), open: async () => { db = await openLsm(dir); } });
await restore.restore();
await new Snapshots({ dataDir: dir }).restore('latest', { into });
await db.close();
`;

test.each(['000', '077', '022', '277', '777'])(
  'under umask %s all that is made is private, and shared files keep their modes (invariant 4)',
  async (umask) => {
    const root = await temporaryFolder();
    const [dir, into] = [join(root, 'data'), join(root, 'made/into')];
    expect(await text(startScript(EVERYTHING, [dir, into, umask]).stdout)).toBe('linked true\n');
    const files: string[] = [];
    for (const top of [dir, join(root, 'made')]) {
      expect(statSync(top).mode & 0o777).toBe(0o700);
      for (const entry of entriesBelow(top)) {
        const path = join(entry.parentPath, entry.name);
        const { mode, nlink } = lstatSync(path);
        const given = (mode & 0o777).toString(8);
        // The tables of the link snapshot are the database's own: they keep the mode that somebody gave them.
        const isShared = nlink > 1 || path.includes('/restore-backup/');
        if (entry.isDirectory()) expect(given, path).toBe('700');
        else if (isShared && path.includes('/sst/')) expect(['600', '644'], path).toContain(given);
        else expect(given, path).toBe('600');
        files.push(path);
      }
    }
    const undone = files.filter((path) => /restore-backup\/.*\.sst$/.test(path));
    expect(undone.length).toBeGreaterThan(0);
    for (const path of undone) expect(lstatSync(path).mode & 0o777).toBe(0o644);
    for (const name of [
      'lock',
      'records.jsonl',
      'latest',
      'proofs/',
      'archive/',
      'snapshot.manifest',
      'made/into/lsm.wal',
    ])
      expect(
        files.some((path) => path.includes(name)),
        name,
      ).toBe(true);
    chmodSync(root, 0o700);
  },
);

const SALVAGE = `
import { readdirSync } from 'node:fs';
import { salvageDatabase } from 'stillpoint';
const [dir, into, parent] = process.argv.slice(2);
process.umask(0o277);
const error = await salvageDatabase(dir, { into }).catch((error) => error);
console.log(error.code, error.message.includes('umask 277'), error.hint.includes('077'), readdirSync(parent).join());
`;

test('under a umask that takes the owner his rights, salvaging is refused before LevelDB makes a file that nobody can open', async () => {
  const root = await temporaryFolder();
  const dir = await writeFolder(join(root, 'db'), (db) => fill(db, 10));
  const { stdout } = startScript(SALVAGE, [dir, join(root, 'into'), root]);
  expect(await text(stdout)).toBe('ACCESS_DENIED true true db\n');
});

test('the command line keeps the rights of the owner, whatever the umask: also to what LevelDB makes', async () => {
  const root = await temporaryFolder();
  const dir = await writeFolder(join(root, 'db'), (db) => fill(db, 10));
  const into = join(root, 'into');
  execFileSync('sh', ['-c', 'umask 777; exec "$@"', 'sh', ...COMMAND, 'salvage', dir, '--into', into]);
  const made = entriesBelow(into);
  expect(made.map(({ name }) => name)).toContain('CURRENT');
  for (const entry of made) {
    const { mode } = lstatSync(join(entry.parentPath, entry.name));
    expect(mode & 0o700, entry.name).toBe(entry.isDirectory() ? 0o700 : 0o600);
  }
});
