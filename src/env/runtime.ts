import type { Writable } from 'node:stream';

/** Resident memory of the process, in bytes. */
export const residentBytes = (): number => process.memoryUsage.rss();

/** For messages to people; results go to standard output. */
export const standardError: Writable = process.stderr;

export const environmentVariable = (name: string): string | undefined => process.env[name];
