import { type ErrorCode, StillpointError } from '../../errors.ts';
import { OptionSet, type OptionsOf, withDefault } from '../../options/option.ts';
import { trueOrFalse, wholeNumber } from '../../options/values.ts';
import { importClassicLevel } from './classic-level.ts';

export const probeOptions = new OptionSet(() => ({
  count: withDefault(trueOrFalse(), () => true, {
    description: 'Counts every key. With false at most `sample` are counted.',
  }),
  sample: withDefault(wholeNumber(0), () => 0, {
    description: 'Reads this many entries with their values, the first ones in order.',
  }),
}));
export type ProbeOptions = OptionsOf<typeof probeOptions>;

export interface ProbeResult {
  /** Keys that were seen. */
  readonly keys: number;
}

/**
 * A probe that opens a folder with `classic-level` and iterates over it, as the application would. Opening replays the log,
 * writes tables and removes files: give it a clone that can be thrown away and shares no file with anything.
 *
 * Rejects with `ENGINE_MISSING` when the package `classic-level` is not installed, with `COPY_DAMAGED` when LevelDB
 * cannot read what is in the folder, and with `NO_SPACE`, `ACCESS_DENIED` or `IO_ERROR` when the system refused it something. That it can says little: it skips damaged records of a log without a word. **Only for
 * what has passed its proof**: on some damage LevelDB does not report an error but ends the whole process.
 */
export function probeWithClassicLevel(options: ProbeOptions = {}): (dir: string) => Promise<ProbeResult> {
  const { count, sample } = probeOptions.resolve('probeWithClassicLevel', options);
  return async (dir) => {
    const { ClassicLevel } = await importClassicLevel();
    const db = new ClassicLevel<Buffer, Buffer>(dir, {
      createIfMissing: false,
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
    });
    try {
      await db.open();
      let keys = 0;
      if (sample > 0) for await (const _ of db.iterator({ limit: sample })) keys++;
      if (!count) return { keys };
      keys = 0;
      for await (const _ of db.keys()) keys++;
      return { keys };
    } catch (cause) {
      throw leveldbError(`classic-level cannot read ${dir}`, dir, cause);
    } finally {
      if (db.status === 'open') await db.close();
    }
  };
}

/** What LevelDB says of the place and not of the data, in the words of the C library. A missing file is damage. */
const REFUSALS: readonly (readonly [RegExp, ErrorCode])[] = [
  [/: (No space left on device|Disk quota exceeded)$/, 'NO_SPACE'],
  [/: (Permission denied|Operation not permitted|Read-only file system)$/, 'ACCESS_DENIED'],
  [/: No such file or directory$/, 'COPY_DAMAGED'],
  [/\.(ldb|sst): Invalid argument$/, 'COPY_DAMAGED'], // a table ends before what it is to hold
];

/** What LevelDB rejects with, as an error with a code of ours. */
export function leveldbError(what: string, dir: string, cause: unknown): StillpointError {
  const reason = reasonOf(cause);
  return new StillpointError(codeOf(reason), `${what}: ${reason}`, { path: dir, cause });
}

function codeOf(reason: string): ErrorCode {
  if (!reason.startsWith('IO error:')) return 'COPY_DAMAGED';
  return REFUSALS.find(([words]) => words.test(reason))?.[1] ?? 'IO_ERROR';
}

function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const innermost = cause instanceof Error ? cause : error;
  return innermost instanceof Error ? innermost.message : String(innermost);
}
