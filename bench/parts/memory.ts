import { fileURLToPath } from 'node:url';
import type { EngineName } from '../../src/index.ts';
import { run } from '../lib/command.ts';
import { type Bench, megabytes, type Part, type Row } from '../lib/part.ts';
import { median } from '../lib/stats.ts';
import { lifecycleOf } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';
import { SMALL_FILE_BYTES } from './scaling.ts';

const MOST_BYTES = 64e6;
/** Flat: the most at any size is at most so much above the least. */
const FLAT_BYTES = 16e6;
const REPEATS = 3;
const CHILD = fileURLToPath(new URL('../lib/memory-child.js', import.meta.url));

interface Measured {
  readonly label: string;
  readonly bytes: number;
  readonly idle: number;
  readonly above: readonly number[];
}

async function measure(engine: EngineName, folder: string, label: string): Promise<Measured> {
  const above: number[] = [];
  let last = { idle: 0, peak: 0, totalBytes: 0 };
  for (let i = 0; i < REPEATS; i++) {
    last = JSON.parse(await run(process.execPath, [CHILD, folder, engine]));
    above.push(last.peak - last.idle);
    removeAll(lifecycleOf(folder));
  }
  return { label, bytes: last.totalBytes, idle: last.idle, above };
}

function rowOf(what: string, measured: readonly Measured[], smallest: Measured): Row {
  const peaks = measured.map(({ above }) => median(above));
  const most = Math.max(...peaks);
  const growth = most - Math.min(...peaks);
  return {
    measure: 9,
    what: `peak memory above idle, ${what}`,
    measured: measured.map(({ label }, index) => `${label}: ${megabytes(peaks[index]!)}`).join('; '),
    ratio: null,
    target: `≤ ${megabytes(MOST_BYTES)}, flat (within ${megabytes(FLAT_BYTES)})`,
    isMet: most <= MOST_BYTES && growth <= FLAT_BYTES,
    limit: `one small file ${megabytes(median(smallest.above))}; idle ${megabytes(smallest.idle)}`,
  };
}

export const memory: Part = {
  name: 'memory',
  measures: '9',
  async run({ data, options }: Bench) {
    const smallest = await measure('files', await data.files(1, 1000), 'one file of 1000 bytes');
    const raw: Record<string, readonly Measured[]> = { smallest: [smallest] };
    const rows: Row[] = [];
    for (const engine of ['files', 'lsm', 'leveldb'] as const) {
      const measured: Measured[] = [];
      for (const share of [1 / 4, 1, 4]) {
        const bytes = options.sizeBytes * share;
        const folder = engine === 'files' ? await data.likeTables(bytes) : await data.database(engine, bytes);
        measured.push(await measure(engine, folder, megabytes(bytes)));
      }
      raw[`bytes, ${engine}`] = measured;
      rows.push(rowOf(`by bytes, ${engine}`, measured, smallest));
    }
    const byFiles: Measured[] = [];
    for (const count of options.fileCounts.filter((_, index) => index % 2 === 0)) {
      byFiles.push(await measure('files', await data.files(count, SMALL_FILE_BYTES), `${count} files`));
    }
    raw['files, files'] = byFiles;
    rows.push(rowOf('by files, files', byFiles, smallest));
    return { rows, raw };
  },
};
