import { CLONE_CHOICES, LEVELS, MODES, SNAPSHOT_KINDS } from './choices.ts';
import { OptionSet, type OptionsOf, optional, type ResolvedOf, withDefault } from './option.ts';
import { hostThrottleOptions, throttleOptions } from './throttle.ts';
import { abortSignal, callback, oneOf, trueOrFalse, wholeNumber } from './values.ts';

/** How thoroughly files are proven. */
export const level = () =>
  withDefault(oneOf(LEVELS), () => 'full', {
    description:
      'How much is proven: `files` (checksums of files), `open` (also log and tables), `full` (also every entry).',
  });

/** How a snapshot is taken, wherever it is started from. */
export const snapshotOptions = new OptionSet(() => ({
  mode: withDefault(oneOf(MODES), () => 'copy', {
    description:
      '`copy` shares no block with the database; `link` makes hard links of files that never change. Links need the same file system.',
  }),
  clone: withDefault(oneOf(CLONE_CHOICES), () => 'never', {
    description:
      '`auto` makes copy-on-write clones of unchanging files where the file system can. That takes no time and no space; a bad block then damages the snapshot and the database. It has no effect in mode `link`.',
  }),
  reuse: withDefault(trueOrFalse(), () => true, {
    description: 'Shares unchanged files with the newest proven snapshot.',
    flag: {
      name: 'full',
      sets: false,
      description: 'copy every file anew, also those that the last snapshot holds unchanged',
    },
  }),
  reprove: withDefault(trueOrFalse(), () => false, {
    description: 'Reads shared files again. Otherwise an earlier proof of the same file counts.',
  }),
  allowUnread: withDefault(trueOrFalse(), () => false, {
    description:
      'Publishes the snapshot also where part of it cannot be read here, such as blocks in an unknown compression. Nobody knows then whether that part is good.',
  }),
  level: level(),
  keep: optional(wholeNumber(1), {
    description: 'Afterwards removes all but the newest n snapshots.',
    without: 'keep all',
  }),
  ...throttleOptions.fields,
}));

/** How the library takes a snapshot. */
export const hostSnapshotOptions = new OptionSet(() => ({
  ...snapshotOptions.fields,
  ...hostThrottleOptions.fields,
  probe: optional(callback<(dir: string) => Promise<unknown>>(), {
    description: 'A check of your own. It runs on a disposable clone of the copy before the snapshot counts.',
  }),
}));

export const signal = () => optional(abortSignal(), { description: 'Cancels the work.' });

export const startBackupOptions = new OptionSet(() => ({
  ...hostSnapshotOptions.fields,
  kind: withDefault(oneOf(SNAPSHOT_KINDS), () => 'backup', {
    description:
      'The folder that it goes to. The `latest` marker of that folder is moved. What is in `transient` is removed when the next run begins, unless somebody reads it.',
  }),
  signal: signal(),
}));

export const snapshotClassicLevelOptions = new OptionSet(() => ({
  ...hostSnapshotOptions.fields,
  signal: signal(),
  pauseWrites: withDefault(trueOrFalse(), () => true, {
    description:
      'New writes wait for the few milliseconds in which the files are listed, so the snapshot holds exactly the writes that were acknowledged at one moment. With false no write waits, and a write that is under way may or may not be in the snapshot.',
  }),
}));

export type StartBackupOptions = OptionsOf<typeof startBackupOptions>;
export type ResolvedBackupOptions = ResolvedOf<typeof startBackupOptions>;
export type SnapshotClassicLevelOptions = OptionsOf<typeof snapshotClassicLevelOptions>;
