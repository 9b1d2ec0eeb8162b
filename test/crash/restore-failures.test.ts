import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { BackupCoordinator, Lifecycle, RestoreCoordinator } from '../../src/index.ts';
import { expectNoPromiseBroken } from '../support/crash-faults.ts';
import { systemError } from '../support/crash-file-system.ts';
import { restoreFlow, restoreIntoFlow } from '../support/crash-flows.ts';
import { DATA, files, leveldb, lsm, stageOf } from '../support/crash-subjects.ts';
import { type World, worldOn } from '../support/crash-world.ts';
import { plainDirectory, readTree } from '../support/folders.ts';

const SUBJECTS = { files: async () => files, lsm: async () => lsm, leveldb };

// What goes wrong after a run has done its work is a warning of the process; here they would be thousands.
beforeAll(() => void process.removeAllListeners('warning'));

test.each([
  ['files', 'restore in place', restoreFlow],
  ['lsm', 'restore in place', restoreFlow],
  ['leveldb', 'restore in place', restoreFlow],
  ['lsm', 'restore into', restoreIntoFlow],
] as const)(
  'of %s: a %s loses nothing when any operation fails, and the next run succeeds',
  async (engine, _kind, flowOf) => {
    const stage = await stageOf(await SUBJECTS[engine]());
    await expectNoPromiseBroken(await flowOf(stage));
  },
);

describe('found by letting operations fail', () => {
  test('a failure before a run is admitted is a StillpointError', async () => {
    const world = worldOn((await stageOf(files)).disk.after('none'), 1);
    const lifecycle = new Lifecycle({ dataDir: DATA, environment: world.environment });
    failAt(world, 'list');
    const refused = { name: 'StillpointError', code: 'IO_ERROR' };
    await expect(lifecycle.recover()).rejects.toMatchObject(refused);
    await expect(new BackupCoordinator({ dataDir: DATA, lifecycle }).startBackup()).rejects.toMatchObject(
      refused,
    );
  });

  test('a restore that cannot be recorded lets go of the snapshot', async () => {
    const world = worldOn((await stageOf(files)).disk.after('none'), 1);
    const lifecycle = new Lifecycle({ dataDir: DATA, environment: world.environment });
    failAt(world, 'sync');
    await expect(new RestoreCoordinator({ dataDir: DATA, lifecycle }).startRestore()).rejects.toMatchObject({
      code: 'IO_ERROR',
    });
    expect(world.leaks()).toEqual([]);
  });

  test('staged files that vanish count as a failure: the old state comes back', async () => {
    const dir = await plainDirectory();
    const { name } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
    const before = readTree(dir);
    const staged = join(dir, '.lifecycle/restore');
    const restore = new RestoreCoordinator({
      dataDir: dir,
      engine: 'files',
      close: () => rmSync(staged, { recursive: true }),
    });
    await expect(restore.restore({ source: name })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(readTree(dir)).toEqual(before);
  });
});

function failAt({ fs }: World, operation: string): void {
  fs.onOperation = ({ name, path }) => {
    if (name === operation) throw systemError('EIO', path);
  };
}
