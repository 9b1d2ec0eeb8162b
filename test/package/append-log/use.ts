import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BackupCoordinator, registerEngine, restoreSnapshot, Snapshots, verifySnapshot } from 'stillpoint';
import { AppendLog, readNumbers } from './database.js';

// A user's program: an engine of one's own, a snapshot, damage, a restore.

const engine = await registerEngine(new URL('./engine.js', import.meta.url));
const folder = await mkdtemp(join(tmpdir(), 'append-log-'));
try {
  const dataDir = await mkdtemp(join(folder, 'data-'));
  const log = new AppendLog(dataDir);
  for (let number = 1; number <= 300; number++)
    await log.append(number, Buffer.from(`record ${number}`.repeat(9)));

  const backups = new BackupCoordinator({ dataDir }); // the engine is found out from the files
  const { id, location } = await backups.startBackup();
  const { report } = await backups.finished(id);
  assert.deepEqual([report.ok, report.verdict, report.engine], [true, 'faithful', engine.name]);
  assert.equal(report.counts.entries, 300);

  const into = join(folder, 'restored');
  await restoreSnapshot(location, { into });
  assert.deepEqual(await readNumbers(into), await readNumbers(dataDir));

  // A snapshot that goes bad is told from a database that went bad.
  const damage = async (path: string) => {
    const bytes = await readFile(path);
    bytes[100]! ^= 1;
    await writeFile(path, bytes);
  };
  await damage(join(location, '000002.seg'));
  const damaged = await verifySnapshot(location);
  assert.deepEqual([damaged.ok, damaged.verdict], [false, 'copy-damaged']);
  assert.ok(damaged.findings.some(({ path, code }) => path === '000002.seg' && code === 'APPEND_LOG_RECORD'));
  await assert.rejects(restoreSnapshot(location, { into: join(folder, 'never') }), {
    code: 'RESTORE_INTEGRITY_MISMATCH',
  });
  await damage(join(dataDir, '000003.seg'));
  const again = await backups.startBackup();
  await assert.rejects(backups.finished(again.id), { code: 'SOURCE_DAMAGED' });
  assert.equal((await new Snapshots({ dataDir }).list()).snapshots.length, 1);
  await log.close();
} finally {
  await rm(folder, { recursive: true });
}
console.log('done');
