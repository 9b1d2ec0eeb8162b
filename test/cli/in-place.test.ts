import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { inspectLsmFile } from '../../src/engine/lsm/inspect.ts';
import { kernelLocks } from '../../src/env/lock.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { stillpoint, stillpointProcess } from '../support/command.ts';
import { copyFixture, describeWithFixtures } from '../support/fixtures.ts';
import { temporaryFolder } from '../support/temp.ts';

const namesIn = async (dir: string) => (await readdir(dir)).filter((name) => name !== '.lifecycle').sort();

/** What a log replays: a snapshot leaves out the dead bytes of the ring. */
const entriesOf = (path: string) => inspectLsmFile(nodeFileSystem, path);

/** Whoever opened the database, or works on the directory, holds such a lock. */
async function whileLocked<T>(path: string, work: () => Promise<T>): Promise<T> {
  const lock = await kernelLocks.tryAcquire(nodeFileSystem, path, 'exclusive');
  try {
    return await work();
  } finally {
    await lock!.release();
  }
}

describeWithFixtures('lsm', 'restoring in place from the command line', () => {
  it('replaces the files, names the undo folder, and can be undone', async () => {
    const data = await copyFixture('lsm/wrapped');
    const log = await entriesOf(join(data, 'lsm.wal'));
    const { location } = (await stillpoint(['snapshot', data, '--json'])).json;
    await rm(join(data, 'sst'), { recursive: true });
    await writeFile(join(data, 'lsm.wal'), 'destroyed');

    const restored = await stillpointProcess([
      'restore',
      join(data, '.lifecycle/backup/latest'),
      '--in-place',
      '--json',
    ]);
    expect(restored).toMatchObject({ code: 0, stderr: '' });
    const { from, into, files, bytes, undo } = restored.json;
    const nothing = { cloned_bytes: 0, left_in_place: [], moved_along: [], verdict: 'faithful' };
    expect(restored.json).toEqual({ from, into, files, bytes, undo, ...nothing }); // these and no others
    expect(restored.json).toMatchObject({ from: location, into: data, files: 5 });
    expect(undo).toMatch(/\/\.lifecycle\/restore-backup\/ts-\d+$/);
    expect(await readFile(join(undo, 'lsm.wal'), 'utf8')).toBe('destroyed');
    expect(await entriesOf(join(data, 'lsm.wal'))).toEqual(log);

    const undone = await stillpoint(['undo', data, '--json']);
    expect(undone).toMatchObject({ code: 0, json: { from: undo, into: data } });
    expect(await readFile(join(data, 'lsm.wal'), 'utf8')).toBe('destroyed');
    expect(await entriesOf(join(undone.json.undo, 'lsm.wal'))).toEqual(log);
  });

  it('takes a snapshot from anywhere, and is refused while the database is open', async () => {
    const data = await copyFixture('lsm/wrapped');
    const { location } = (await stillpoint(['snapshot', data, '--json'])).json;
    const elsewhere = join(await temporaryFolder(), 'moved');
    await cp(location, elsewhere, { recursive: true });
    const names = await namesIn(data);

    const args = ['restore', elsewhere, '--data-dir', data, '--in-place', '--json'];
    const refused = await whileLocked(join(data, 'lsm.alopex.lock'), () => stillpoint(args));
    expect(refused).toMatchObject({ code: 4, json: { error: { code: 'CONFLICT', path: data } } });
    expect(await namesIn(data)).toEqual([...names, 'lsm.alopex.lock'].sort());
    const restored = await stillpoint(args);
    expect(restored).toMatchObject({ code: 0, json: { from: elsewhere, into: data, files: 5 } });
  });

  it('finishes a restore that a crash interrupted before it begins', async () => {
    const data = await copyFixture('lsm/wrapped');
    const { location } = (await stillpoint(['snapshot', data, '--json'])).json;
    const cutOff = async () => {
      const folder = join(data, '.lifecycle/restore/cut-off');
      await mkdir(folder, { recursive: true });
      await cp(location, join(folder, 'data'), { recursive: true });
      await rm(join(folder, 'data/snapshot.manifest'));
      const journal = {
        id: 'cut-off',
        phase: 'out',
        from: 'restore/cut-off/data',
        undo: 'restore-backup/ts-1',
        keep: [],
      };
      await writeFile(join(folder, 'journal.json'), JSON.stringify(journal));
      await writeFile(join(data, 'of-the-old-state'), '');
    };
    await cutOff();
    const refused = await stillpoint(['prune', data, '--keep', '1', '--json']);
    expect(refused).toMatchObject({
      code: 4,
      json: { error: { hint: expect.stringContaining('stillpoint recover') } },
    });
    const recovered = await stillpoint(['recover', data, '--json']);
    expect(recovered).toMatchObject({ code: 0, stderr: '' });
    expect(recovered.json).toEqual({ restore: 'new', interrupted: [], swept: [] });
    expect(await namesIn(data)).toEqual(['checkpoint.meta', 'lsm.wal', 'sst']);
    expect(await namesIn(join(data, '.lifecycle/restore-backup/ts-1'))).toContain('of-the-old-state');
    expect((await stillpoint(['recover', data])).stdout).toBe('nothing to recover\n');

    await rm(join(data, '.lifecycle/restore-backup'), { recursive: true });
    await cutOff();
    const taken = await stillpoint(['snapshot', data, '--json']);
    expect(taken).toMatchObject({ code: 0, json: { entries: 5 } });
    expect(taken.stderr).toBe('a restore was interrupted and is now finished: the restored state stands\n');
  });

  it('every other command on a directory is refused while another process works on it', async () => {
    const data = await copyFixture('lsm/wrapped');
    await mkdir(join(data, '.lifecycle'));
    const [taken, pruned] = await whileLocked(join(data, '.lifecycle/lock'), () =>
      Promise.all([
        stillpointProcess(['snapshot', data, '--json']),
        stillpoint(['prune', data, '--keep', '1']),
      ]),
    );
    expect(taken).toMatchObject({ code: 4, json: { error: { code: 'CONFLICT' } } });
    expect(pruned).toMatchObject({ code: 4, stdout: '' });
    expect(pruned.stderr).toMatch(/^error: backup already running.*\n {2}hint: .* {2}\(CONFLICT\)\n$/);
  });
});
