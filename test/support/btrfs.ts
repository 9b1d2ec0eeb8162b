import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { temporaryFolder } from './temp.ts';

/** A small btrfs, which makes copy-on-write clones; undefined where none can be made: that needs root, mkfs.btrfs, a loop device. */
export async function smallBtrfs(): Promise<string | undefined> {
  const root = await temporaryFolder();
  const [image, folder] = [join(root, 'image'), join(root, 'disk')];
  writeFileSync(image, '');
  truncateSync(image, 128 << 20);
  mkdirSync(folder);
  try {
    execFileSync('mkfs.btrfs', ['--quiet', image], { stdio: 'ignore' });
    execFileSync('mount', ['-o', 'loop', image, folder], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  onTestFinished(() => void execFileSync('umount', ['-l', folder]));
  return folder;
}

/** The places on disk of a file's data, as the kernel tells them, and whether other files share them. */
export function extentsOf(file: string): string {
  execFileSync('sync', ['-f', file]);
  return execFileSync('filefrag', ['-v', file], { encoding: 'utf8' });
}
