import { CLONE_CHOICES } from './choices.ts';
import { OptionSet, type OptionsOf, optional, required, withDefault } from './option.ts';
import { level } from './snapshot.ts';
import { hostThrottleOptions, throttleOptions } from './throttle.ts';
import { folder, oneOf, paths, text, trueOrFalse } from './values.ts';

const clone = () =>
  withDefault(oneOf(CLONE_CHOICES), () => 'never', {
    description:
      "`auto` makes copy-on-write clones of the snapshot's files where the file system can. That takes no time and no space; a bad block then damages both.",
  });

export const rewriteManifest = () =>
  withDefault(trueOrFalse(), () => false, {
    description:
      'Writes the list of tables of a LevelDB anew in the restored copy: a MANIFEST that has grown to gigabytes becomes a short one that says the same. Other engines have none.',
  });

/** A restore in place, wherever it is started from. */
export const restoreOptions = new OptionSet(() => ({
  source: withDefault(text(), () => 'latest', {
    description: '`latest`, a name, an id, or a path inside a folder that is allowed.',
  }),
  level: level(),
  clone: clone(),
  rewriteManifest: rewriteManifest(),
  ...throttleOptions.fields,
}));

/** Bringing back what a restore in place replaced. */
export const startUndoOptions = new OptionSet(() => ({
  to: optional(text(), {
    description: 'The name of an undo folder, such as `ts-1763625600`.',
    without: 'the newest',
    flag: { value: 'name' },
  }),
}));
export type StartUndoOptions = OptionsOf<typeof startUndoOptions>;

/** A restore into a new folder. */
export const restoreIntoOptions = new OptionSet(() => ({
  into: required(folder(), {
    description: 'A new folder: it must not exist or be empty.',
    flag: { value: 'dir' },
  }),
  files: withDefault(paths(), (): readonly string[] => [], {
    description:
      'Only these files and folders of a snapshot of plain files, named as in the snapshot. A database is restored as a whole.',
    flag: { name: 'file', value: 'path' },
  }),
  level: level(),
  clone: clone(),
  rewriteManifest: rewriteManifest(),
  ...hostThrottleOptions.fields,
}));

export type RestoreIntoOptions = OptionsOf<typeof restoreIntoOptions>;
