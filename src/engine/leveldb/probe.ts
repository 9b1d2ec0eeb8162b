import { StillpointError } from '../../errors.ts';
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
 * Rejects with `ENGINE_MISSING` when the package `classic-level` is not installed, and with `COPY_DAMAGED` when LevelDB
 * cannot open or read the folder. That it can says little: it skips damaged records of a log without a word. **Only for
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
      throw new StillpointError('COPY_DAMAGED', `classic-level cannot read ${dir}: ${reasonOf(cause)}`, {
        path: dir,
        cause,
      });
    } finally {
      if (db.status === 'open') await db.close();
    }
  };
}

function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const innermost = cause instanceof Error ? cause : error;
  return innermost instanceof Error ? innermost.message : String(innermost);
}
