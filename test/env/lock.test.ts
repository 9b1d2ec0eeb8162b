import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { verifySnapshot } from '../../src/coordinator/snapshot-by-path.ts';
import { registerEngine } from '../../src/engine/index.ts';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import { isOpenHere } from '../../src/env/engine-locks.ts';
import { kernelLocks } from '../../src/env/lock.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { describeOnLinux } from '../support/needs.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

describeOnLinux('the lock of a LevelDB in this process (invariant 14)', () => {
  test('is seen while the database is open, and not before or after', async () => {
    const dir = join(await temporaryFolder(), 'db');
    const lock = join(dir, 'LOCK');
    expect(isOpenHere(lock)).toBe('no');
    const database = new ClassicLevel(dir);
    await database.open();
    expect(isOpenHere(lock)).toBe('yes');
    expect(await kernelLocks.tryAcquireEngineLock(nodeFileSystem, lock)).toBeUndefined();
    await database.close();
    expect(isOpenHere(lock)).toBe('no');
  });

  test('keeps both file systems from opening or cloning the file, under any path', async () => {
    const dir = await temporaryFolder();
    const database = new ClassicLevel(join(dir, 'db'));
    await database.open();
    for (const fs of [nodeFileSystem, blockingFileSystem]) {
      const lock = join(dir, 'db/LOCK');
      for (const how of ['read', 'update', 'open-or-create'] as const)
        await expect(fs.open(lock, how)).rejects.toMatchObject({ code: 'CONFLICT', path: lock });
      await expect(fs.clone(lock, join(dir, 'clone'))).rejects.toMatchObject({ code: 'CONFLICT' });
    }
    expect(await canOpenElsewhere(join(dir, 'db'))).toBe(false);
    await database.close();
    expect(await canOpenElsewhere(join(dir, 'db'))).toBe(true);
  });

  test.each([
    ['that a registered engine says', 'holder.pid', symlinkSync],
    ['of its own, with content and a hard link', 'other.pid', linkSync],
  ])('is kept where the file has a name %s', async (_, name, link) => {
    const dir = await temporaryFolder();
    const lock = join(dir, 'files', name);
    for (const folder of ['files', 'db']) mkdirSync(join(dir, folder));
    writeFileSync(lock, '4711\n');
    link(lock, join(dir, 'db/LOCK'));
    if (link === symlinkSync) await registerEngine(await moduleWithLock(name));
    const database = new ClassicLevel(join(dir, 'db'));
    await database.open();
    for (const fs of [nodeFileSystem, blockingFileSystem]) {
      await expect(fs.open(lock, 'read')).rejects.toMatchObject({ code: 'CONFLICT', path: lock });
      await expect(fs.clone(lock, join(dir, 'clone'))).rejects.toMatchObject({ code: 'CONFLICT' });
    }
    const inThread = verifySnapshot(join(dir, 'files'), { engine: 'files' });
    await expect(inThread).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await canOpenElsewhere(join(dir, 'db'))).toBe(false);
    await database.close();
    expect(await canOpenElsewhere(join(dir, 'db'))).toBe(true);
  });

  test('is kept where a file of ours is a hard link of it', async () => {
    const dir = await temporaryFolder();
    const database = new ClassicLevel(join(dir, 'db'));
    await database.open();
    const ours = join(dir, 'db/.lifecycle/store.json');
    mkdirSync(join(dir, 'db/.lifecycle'));
    linkSync(join(dir, 'db/LOCK'), ours);
    for (const fs of [nodeFileSystem, blockingFileSystem])
      await expect(fs.open(ours, 'read')).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await canOpenElsewhere(join(dir, 'db'))).toBe(false);
    await database.close();
  });

  test('is none of ours, whatever name the lock of a registered engine has', async () => {
    await registerEngine(await moduleWithLock('lock'));
    const proofs = join(await temporaryFolder(), '.lifecycle/backup/proofs');
    mkdirSync(proofs, { recursive: true });
    const take = () => kernelLocks.tryAcquire(nodeFileSystem, join(proofs, 'lock'), 'exclusive');
    const takeOwn = () => kernelLocks.tryAcquire(nodeFileSystem, join(proofs, '../../lock'), 'exclusive');
    const own = await takeOwn();
    const held = await take();
    expect(await take()).toBeUndefined(); // and no error that it belongs to a database
    linkSync(join(proofs, '../../lock'), join(proofs, '../../../copy'));
    expect(await takeOwn()).toBeUndefined();
    await own!.release();
    await held!.release();
    const again = await take();
    await again!.release();
  });

  test('is kept when the database is opened while the file is open for reading', async () => {
    const dir = join(await temporaryFolder(), 'db');
    await new ClassicLevel(dir).close();
    const first = new ClassicLevel(dir);
    await first.open();
    await first.close();
    const file = await nodeFileSystem.open(join(dir, 'LOCK'), 'read');
    const database = new ClassicLevel(dir);
    await database.open();
    await file.close();
    expect(await canOpenElsewhere(dir)).toBe(false);
    await database.close();
  });

  test('does not hinder two readers of a LOCK that nobody has', async () => {
    const lock = join(await temporaryFolder(), 'LOCK');
    writeFileSync(lock, '');
    const files = [await nodeFileSystem.open(lock, 'read'), await nodeFileSystem.open(lock, 'read')];
    for (const file of files) await file.close();
    expect(isOpenHere(lock)).toBe('no');
    const held = await kernelLocks.tryAcquireEngineLock(nodeFileSystem, lock);
    await held!.release();
  });
});

describeOnLinux('the lock of an engine in another process', () => {
  test.each([
    ['fcntl', 'fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)'],
    ['flock', 'fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)'],
  ])('is found when it was taken with %s, and excludes it when it is ours', async (_name, take) => {
    const lock = join(await temporaryFolder(), 'LOCK');
    writeFileSync(lock, '');
    const text = `import fcntl, sys\nf = open(sys.argv[1], 'r+')\n${take}\nprint('held', flush=True)\nsys.stdin.read()`;
    const other = spawn('python3', ['-c', text, lock], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(other.stdout, 'data');
    expect(await kernelLocks.tryAcquireEngineLock(nodeFileSystem, lock)).toBeUndefined();
    other.stdin.end();
    await once(other, 'exit');
    const held = await kernelLocks.tryAcquireEngineLock(nodeFileSystem, lock);
    const second = spawn('python3', ['-c', text, lock], { stdio: ['pipe', 'pipe', 'ignore'] });
    expect((await once(second, 'exit'))[0]).toBe(1);
    await held!.release();
  });
});

/** Whether a second process can open the database. */
/** The module of an engine that does nothing but name its lock file. */
async function moduleWithLock(lockFile: string): Promise<URL> {
  const path = join(await temporaryFolder(), 'engine.mjs');
  const methods = ['plan', 'listFiles', 'checkFile', 'checkConsistency'].map((name) => `${name}() {}`);
  writeFileSync(
    path,
    `export default { name: 'with-${lockFile.replace(/\W/g, '-')}', lockFile: '${lockFile}', hasImmutableFiles: false, detect: async () => false, ${methods} };`,
  );
  return pathToFileURL(path);
}

async function canOpenElsewhere(dir: string): Promise<boolean> {
  const child = startScript(
    `
import { ClassicLevel } from 'classic-level';
const database = new ClassicLevel(process.argv[2]);
await database.open().then(() => process.stdout.write('open'), () => process.stdout.write('refused'));
if (database.status === 'open') await database.close();
`,
    [dir],
  );
  const [answer] = await once(child.stdout, 'data');
  await once(child, 'exit');
  return String(answer) === 'open';
}
