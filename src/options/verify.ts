import { SNAPSHOT_KINDS } from './choices.ts';
import { OptionSet, type OptionsOf, optional, required, withDefault } from './option.ts';
import { level } from './snapshot.ts';
import { hostThrottleOptions, throttleOptions } from './throttle.ts';
import { milliseconds, names, oneOf, trueOrFalse, wholeNumber } from './values.ts';

/** Verifying one folder over HTTP. */
export const verifyOptions = new OptionSet(() => ({ level: level(), ...throttleOptions.fields }));

/** Verifying every snapshot. */
export const verifyAllOptions = new OptionSet(() => ({
  level: level(),
  maxBytes: optional(wholeNumber(1), {
    description: 'Stops after about this many bytes. Files with the oldest proof are read first.',
    without: 'read everything',
    unit: 'bytes',
  }),
  olderThanMs: withDefault(milliseconds(), () => 0, {
    description: 'Skips files whose last proof is younger than this.',
    unit: 'milliseconds',
    flag: { name: 'older-than' },
  }),
  ...hostThrottleOptions.fields,
}));

/** Backups, or what the lifecycle actions `archive` and `export` made: each kind stands in a folder of its own. */
const kind = () =>
  withDefault(oneOf(SNAPSHOT_KINDS), () => 'backup', {
    description:
      'Which snapshots: `backup`, or those that the lifecycle actions `archive` and `export` made.',
  });

/** Listing snapshots. */
export const listOptions = new OptionSet(() => ({ kind: kind() }));
export type ListOptions = OptionsOf<typeof listOptions>;

const expected = () =>
  optional(names(), {
    description: 'The names that a dry run said would go. Where others would go now, nothing is removed.',
    without: 'whatever the rules say goes',
  });

/** Removing old snapshots. */
export const pruneOptions = new OptionSet(() => ({
  keep: required(wholeNumber(1), { description: 'How many of the newest snapshots stay.' }),
  kind: kind(),
  dryRun: withDefault(trueOrFalse(), () => false, {
    description: 'Says what would be removed, and removes nothing.',
  }),
  expected: expected(),
}));

/** Removing one snapshot. */
export const deleteOptions = new OptionSet(() => ({
  kind: kind(),
  dryRun: withDefault(trueOrFalse(), () => false, {
    description: 'Says whether it would be removed and what that frees, and removes nothing.',
  }),
}));
export type DeleteOptions = OptionsOf<typeof deleteOptions>;

/** Removing what old restores in place replaced. */
export const pruneUndoOptions = new OptionSet(() => ({
  keep: required(wholeNumber(0), { description: 'How many of the newest undo folders stay.' }),
  dryRun: withDefault(trueOrFalse(), () => false, {
    description: 'Says what would be removed, and removes nothing.',
  }),
  discardWrites: withDefault(trueOrFalse(), () => false, {
    description: 'Removes also those that may hold writes that no snapshot has.',
  }),
  expected: expected(),
}));
export type PruneUndoOptions = OptionsOf<typeof pruneUndoOptions>;

export type VerifyAllOptions = OptionsOf<typeof verifyAllOptions>;
export type PruneOptions = OptionsOf<typeof pruneOptions>;
