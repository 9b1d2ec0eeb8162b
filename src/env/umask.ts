import { readFileSync } from 'node:fs';
import { StillpointError } from '../errors.ts';

const OWNER = 0o700;

/**
 * Rejects files that an engine is about to make where the umask of the process takes the owner's own rights away: nobody could open them.
 * What stillpoint makes itself gets its mode whatever the umask. `process.umask()` would change it for a moment.
 */
export function requireOwnersRights(): void {
  const umask = umaskOf();
  if ((umask & OWNER) === 0) return;
  throw new StillpointError(
    'ACCESS_DENIED',
    `the umask ${umask.toString(8).padStart(3, '0')} of this process takes away rights of the owner to what LevelDB makes`,
    { hint: 'Run it with another umask, such as 077.' },
  );
}

function umaskOf(): number {
  try {
    return Number.parseInt(
      /^Umask:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0',
      8,
    );
  } catch {
    return 0; // the engine tells what it may not do
  }
}
