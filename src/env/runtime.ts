import type { Writable } from 'node:stream';

/** What the process occupies in main memory, in bytes. */
export const residentBytes = (): number => process.memoryUsage.rss();

/** Where a program tells people what is no result. */
export const standardError: Writable = process.stderr;
