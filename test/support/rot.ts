import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';

/** Flips one bit as a disk does that forgets: size, inode and time of the last change stay. */
export function rot(file: string, offset = 0): void {
  const times = `${file}.times`;
  writeFileSync(times, '');
  execFileSync('touch', ['-r', file, times]);
  const bytes = readFileSync(file);
  bytes[offset]! ^= 1;
  writeFileSync(file, bytes, { flag: 'r+' });
  execFileSync('touch', ['-r', times, file]); // to the nanosecond, which `utimes` of Node cannot
  rmSync(times);
}
