import { OptionSet, type OptionsOf, optional, withDefault } from '../../options/option.ts';
import { wholeNumber, withMethods } from '../../options/values.ts';
import { type LeveldbEngine, leveldbEngineWith, WINDOW_ROUNDS } from './index.ts';
import { attachWriteBarrier, WRITE_METHODS } from './write-barrier.ts';

export const leveldbOptions = new OptionSet(() => ({
  database: optional(
    withMethods<object>('an abstract-level database such as a ClassicLevel', ...WRITE_METHODS),
    {
      description:
        'The open database, if it lives in this process: `ClassicLevel` or another `abstract-level` over LevelDB. Its writes wait for the few milliseconds in which the files are listed, so the snapshot holds exactly the writes that were acknowledged before. Writes that began before this call are not waited for.',
      without: 'no write waits, and a write that is under way may or may not be in the snapshot',
    },
  ),
  windowRounds: withDefault(wholeNumber(0), () => WINDOW_ROUNDS, {
    description:
      'How often to look for a moment without change. After that the logs are taken first and the tables after them, which always ends.',
  }),
}));
export type LeveldbOptions = OptionsOf<typeof leveldbOptions>;

/** LevelDB, as written by `classic-level` and Google's LevelDB up to 1.23. `TypeError` for an unusable option. */
export function createLeveldbEngine(options: LeveldbOptions = {}): LeveldbEngine {
  const { database, windowRounds } = leveldbOptions.resolve('createLeveldbEngine', options);
  return leveldbEngineWith(database === undefined ? undefined : attachWriteBarrier(database), windowRounds);
}
