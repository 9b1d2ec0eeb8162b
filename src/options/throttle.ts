import * as z from 'zod/mini';
import { PACES } from './choices.ts';
import { aboutOf, OptionSet, type OptionsOf, optional, withDefault } from './option.ts';
import { callback, nested, oneOf, trueOrFalse, wholeNumber } from './values.ts';

/** A thread moves up to 1 MiB at a time, then waits as long as that takes at the limit: below this, for minutes. */
export const LEAST_BYTES_PER_SECOND = 64 * 1024;

/** What a run may take of the machine. */
export const throttleOptions = new OptionSet(() => ({
  maxBytesPerSecond: optional(wholeNumber(LEAST_BYTES_PER_SECOND), {
    description:
      'Moves at most this many bytes a second, over all threads of the run, without bursts. What is copied counts once and what is read back for the proof counts once, so a proven copy of 1 GB counts as 2 GB.',
    without: 'no limit',
    unit: 'bytes',
  }),
  background: optional(trueOrFalse(), {
    description:
      'Runs one task at a time and pauses while the host is slow, for at most nine tenths of the time.',
    without: 'no pauses',
  }),
  pace: optional(oneOf(PACES), {
    description:
      '`fast` goes through the memory of the operating system. `quiet` goes past it, one small step at a time: other programs wait for the disk only for milliseconds and keep what they have in memory, and the copy is read back from the disk itself.',
    without:
      'quiet for a snapshot of a database that this process has open (a checkpoint hook, `snapshotClassicLevel`, a server), otherwise fast',
  }),
  medium: optional(trueOrFalse(), {
    description:
      'Proves what is on the disk: reads it from there and not from the memory of the operating system, where the file system admits it. The report says whether it did.',
    without: 'at the pace fast from memory; at the pace quiet from the disk, and earlier proofs count',
  }),
  concurrency: optional(wholeNumber(1), {
    description:
      'Runs at most this many tasks at once, each in a thread of its own. With `background`, and at the pace `quiet`, the default is 1.',
    without: 'one for each processor',
    flag: { without: 'one for each processor' },
  }),
}));

/** When the host counts as slow. */
export const backgroundOptions = new OptionSet(() => ({
  maxEventLoopDelayMs: withDefault(wholeNumber(1), () => 10, {
    description: 'The host is slow when its event loop is late by more than this.',
  }),
  isBusy: optional(callback<() => boolean>(), {
    description: 'The host says itself whether it is slow. Called about ten times a second.',
  }),
}));

/** The same in the library, where the host can say when it is slow. */
export const hostThrottleOptions = new OptionSet(() => ({
  ...throttleOptions.fields,
  background: optional(
    z.union([trueOrFalse(), nested(backgroundOptions.fields)], {
      error: 'must be true, false or an object of options',
    }),
    aboutOf(throttleOptions.fields.background),
  ),
}));

export type ThrottleOptions = OptionsOf<typeof hostThrottleOptions>;
export type BackgroundOptions = OptionsOf<typeof backgroundOptions>;
