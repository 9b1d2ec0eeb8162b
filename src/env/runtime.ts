import type { Writable } from 'node:stream';

/** Resident memory of the process, in bytes; undefined where the system does not tell (`/proc` is not mounted). */
export function residentBytes(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}

/** For messages to people; results go to standard output. */
export const standardError: Writable = process.stderr;

export const environmentVariable = (name: string): string | undefined => process.env[name];
