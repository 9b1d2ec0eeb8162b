import { writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { BackupCoordinator, Lifecycle } from '../../src/index.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { plainDirectory, readTree } from './folders.ts';
import { temporaryFolder } from './temp.ts';

/** Asynchronous calls only: what hangs must not stop the clock that finds it out. */
export const environment: Environment = { ...systemEnvironment, pool: inlinePool(TASKS, nodeFileSystem) };

const PATIENCE_MS = 60_000;

/** Fails when it takes for ever, which opening a FIFO or reading a device would. */
export async function inTime<T>(what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} hangs`)), PATIENCE_MS);
  });
  return Promise.race([work, tooLate]).finally(() => clearTimeout(timer));
}

export const SECRET = 'nobody may read this';
export const EVIL = 'ts-9000000000';

/** A data directory with a good snapshot and one that `latest` names and that hostile things are done to. */
export async function stage() {
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
    // What verify found out it may put on record: the ledger costs time when it is lost, and counts for nothing else.
    backup: readTree(backup, [EVIL, 'records.jsonl', 'latest', 'proofs']),
    outside: readTree(root, []),
  });
  return { root, dir, backup, evil, good, into: join(root, 'into'), seen, before: seen() };
}

export type Stage = Awaited<ReturnType<typeof stage>>;
