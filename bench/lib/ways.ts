import { join } from 'node:path';
import {
  BackupCoordinator,
  type EngineName,
  type Mode,
  restoreSnapshot,
  verifySnapshot,
} from '../../src/index.ts';
import { quoted, run, shell } from './command.ts';
import { allocatedBytes, plainCopy, plainRead } from './folders.ts';
import type { Way } from './measure.ts';

/** Ours and theirs, each including what makes the copy durable. */

export const lifecycleOf = (folder: string): string => join(folder, '.lifecycle');

export interface SnapshotChoice {
  readonly name?: string;
  readonly mode?: Mode;
}

/** The first snapshot of a folder: nothing is known, nothing is shared. */
export function firstSnapshot(engine: EngineName, folder: string, choice: SnapshotChoice = {}): Way {
  const { name = `snapshot, proven: ${engine}`, mode = 'copy' } = choice;
  return {
    name,
    bytes: allocatedBytes(folder),
    leaves: [lifecycleOf(folder)],
    work: () => snapshot(engine, folder, mode),
  };
}

export const snapshot = (engine: EngineName, dataDir: string, mode: Mode = 'copy') =>
  new BackupCoordinator({ dataDir, engine }).backup({ mode });

export const verify = (name: string, engine: EngineName, folder: string): Way => ({
  name,
  bytes: allocatedBytes(folder),
  async work() {
    const { ok, findings } = await verifySnapshot(folder, { level: 'full', engine });
    if (!ok) throw new Error(`${folder} does not verify: ${JSON.stringify(findings[0])}`);
  },
});

export const restore = (name: string, location: string, into: string): Way => ({
  name,
  bytes: allocatedBytes(location),
  leaves: [into],
  work: () => restoreSnapshot(location, { into }),
});

const copying = (
  name: string,
  folder: string,
  target: string,
  script: string,
  env?: Record<string, string>,
): Way => ({
  name,
  bytes: allocatedBytes(folder),
  leaves: [target],
  work: () => shell(`${script}; sync -f ${quoted(target)}`, env),
});

export const CP = 'cp -a + sync';
export const cp = (folder: string, target: string, name = CP): Way =>
  copying(name, folder, target, `cp -a ${quoted(folder)} ${quoted(target)}`);

export const rsync = (folder: string, target: string): Way =>
  copying('rsync -a + sync', folder, target, `rsync -a ${quoted(folder)}/ ${quoted(target)}`);

export const LDB_BACKUP = 'ldb backup + sync';
export const ldbBackup = (folder: string, target: string): Way =>
  copying(LDB_BACKUP, folder, target, `ldb --db=${quoted(folder)} backup --backup_dir=${quoted(target)}`);

export const ldbCheckpoint = (name: string, folder: string, target: string): Way =>
  copying(name, folder, target, `ldb --db=${quoted(folder)} checkpoint --checkpoint_dir=${quoted(target)}`);

export const restic = (folder: string, target: string): Way => {
  const repository = `restic -q -r ${quoted(target)} --no-cache`;
  const script = `${repository} init; ${repository} backup ${quoted(folder)}`;
  return copying('restic backup + sync', folder, target, script, { RESTIC_PASSWORD: 'bench' });
};

export const sstDump = (name: string, folder: string, ...flags: string[]): Way => ({
  name,
  bytes: allocatedBytes(folder),
  work: () => run('sst_dump', [`--file=${folder}`, '--command=verify', ...flags]),
});

/** The physical limits: what everybody has to do at least, by one thread. */
export const reading = (folder: string, name = 'plain read'): Way => ({
  name,
  bytes: allocatedBytes(folder),
  work: async () => plainRead(folder),
});

export const PLAIN = 'plain read, write and sync';
export const copyingPlainly = (folder: string, target: string, name = PLAIN): Way => ({
  name,
  bytes: allocatedBytes(folder),
  leaves: [target],
  work: () => plainCopy(folder, target),
});
