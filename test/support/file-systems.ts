import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { onTestFinished, type TestContext } from 'vitest';
import { needsPrograms, withRights } from './needs.ts';
import { temporaryFolder } from './temp.ts';

const MiB = 1024 * 1024;

/** Mounts a file system in memory at a folder until the running test ends. Skips the test where that is not allowed. */
export function mountInMemory(context: TestContext, folder: string, sizeBytes: number): void {
  mkdirSync(folder, { recursive: true });
  withRights(context, 'mount', '-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'none', folder);
  onTestFinished(() => void execFileSync('umount', ['-l', folder]));
}

/** Until not one more byte can be written there. Returns the file that takes the space. */
export function fillDisk(folder: string, name = 'filling'): string {
  const path = join(folder, name);
  for (let bytes = MiB; bytes >= 1; bytes = Math.floor(bytes / 16)) {
    try {
      for (;;) appendFileSync(path, Buffer.alloc(bytes, 1));
    } catch {
      // full for so many bytes
    }
  }
  return path;
}

/** The folder of a new file system of that kind, in a file, mounted until the running test ends. Skips the test where that is not allowed. */
export async function mountedImage(
  context: TestContext,
  kind: 'btrfs' | 'ext3' | 'ext4' | 'xfs',
  ...options: string[]
): Promise<string> {
  needsPrograms(context, `mkfs.${kind}`);
  const root = await temporaryFolder();
  const [image, folder] = [join(root, 'image'), join(root, 'disk')];
  writeFileSync(image, '');
  truncateSync(image, kind === 'xfs' ? 512 * MiB : 128 * MiB); // the least that each kind takes
  mkdirSync(folder);
  execFileSync(`mkfs.${kind}`, ['-q', ...options, image], { stdio: 'ignore' });
  withRights(context, 'mount', '-o', 'loop', image, folder);
  onTestFinished(() => void execFileSync('umount', ['-l', folder]));
  return folder;
}

/** A file system whose times have no parts of a second: inodes of 128 bytes have no room for them. */
export async function wholeSeconds(context: TestContext): Promise<string> {
  const dir = await mountedImage(context, 'ext3', '-I', '128');
  const { mtimeNs } = statSync(join(dir, 'lost+found'), { bigint: true });
  if (mtimeNs % 1_000_000_000n !== 0n) throw new Error('its times have parts of a second');
  return dir;
}

/** An overlayfs until the running test ends, above a lower layer that `fill` has filled. */
export async function overlayOn(
  context: TestContext,
  fill: (lower: string) => Promise<void> = async () => {},
): Promise<string> {
  const disk = await mountedImage(context, 'ext4');
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(disk, name));
  await fill(join(disk, 'lower'));
  const merged = join(disk, 'merged');
  const dirs = ['lower', 'upper', 'work'].map((name) => `${name}dir=${join(disk, name)}`).join(',');
  withRights(context, 'mount', '-t', 'overlay', 'overlay', '-o', dirs, merged);
  onTestFinished(() => void execFileSync('umount', ['-l', merged]));
  return merged;
}

/** Changes the bytes below a file system of `mountedImage`, and forgets what the system has of it in memory. */
export function changeImage(folder: string, change: (bytes: Buffer) => void): void {
  const image = join(dirname(folder), 'image');
  execFileSync('umount', [folder]);
  const bytes = readFileSync(image);
  change(bytes);
  writeFileSync(image, bytes);
  execFileSync('mount', ['-o', 'loop', image, folder]);
}

/** The places on disk of a file's data, as the kernel tells them, and whether other files share them. */
export function extentsOf(file: string): string {
  execFileSync('sync', ['-f', file]);
  return execFileSync('filefrag', ['-v', file], { encoding: 'utf8' });
}
