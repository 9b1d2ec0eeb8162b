import type { EngineName } from '../../src/index.ts';
import { alternate, type Times, type Way } from '../lib/measure.ts';
import { type Bench, type Part, type Row, seconds } from '../lib/part.ts';
import { logSlope, type Point } from '../lib/stats.ts';
import type { Chart, Curve } from '../lib/svg.ts';
import { CP, copyingPlainly, cp, firstSnapshot, PLAIN } from '../lib/ways.ts';

const MOST = 1.05;
/** The curve over files keeps the size of a file and adds files, so that bytes grow with them: slope 1 is in proportion. */
export const SMALL_FILE_BYTES = 64 * 1024;
const ALL_SHARES = [1 / 4, 1 / 2, 1, 2, 4];
/** Enough for a slope; the others are for the curve. */
const FEW_SHARES = [1 / 4, 1, 4];

interface Series {
  readonly name: string;
  readonly at: { readonly x: number; readonly way: Way }[];
}

const snapshotSeries = (engine: EngineName) => `snapshot: ${engine}`;

const PEERS = [CP, PLAIN];
/** By their places. */
const COLOURS = [snapshotSeries('files'), snapshotSeries('lsm'), snapshotSeries('leveldb'), ...PEERS];

/** Each way at each size has a name of its own, so that all of them take part in one alternation. */
const named = (series: string, x: number, way: Way): Way => ({ ...way, name: `${series} @ ${x}` });

async function byBytes({ data, options, target }: Bench): Promise<Series[]> {
  const folders = (shares: readonly number[], make: (bytes: number) => Promise<string>) =>
    inTurn(shares, async (share) => {
      const x = Math.round(options.sizeBytes * share);
      return { x, folder: await make(x) };
    });
  const plain = await folders(ALL_SHARES, (bytes) => data.likeTables(bytes));
  const lsm = await folders(FEW_SHARES, (bytes) => data.database('lsm', bytes));
  const leveldb = await folders(FEW_SHARES, (bytes) => data.database('leveldb', bytes));
  const few = plain.filter((_, index) => index % 2 === 0);
  return [
    series(snapshotSeries('files'), plain, (folder) => firstSnapshot('files', folder)),
    series(snapshotSeries('lsm'), lsm, (folder) => firstSnapshot('lsm', folder)),
    series(snapshotSeries('leveldb'), leveldb, (folder) => firstSnapshot('leveldb', folder)),
    series(CP, plain, (folder) => cp(folder, target)),
    series(PLAIN, few, (folder) => copyingPlainly(folder, target)),
  ];
}

async function byFiles({ data, options, target }: Bench): Promise<Series[]> {
  const folders = await inTurn(options.fileCounts, async (x) => ({
    x,
    folder: await data.files(x, SMALL_FILE_BYTES),
  }));
  return [
    series(snapshotSeries('files'), folders, (folder) => firstSnapshot('files', folder)),
    series(CP, folders, (folder) => cp(folder, target)),
    series(PLAIN, folders, (folder) => copyingPlainly(folder, target)),
  ];
}

async function inTurn<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (const item of items) results.push(await work(item));
  return results;
}

const series = (
  name: string,
  folders: readonly { x: number; folder: string }[],
  wayOf: (folder: string) => Way,
): Series => ({ name, at: folders.map(({ x, folder }) => ({ x, way: named(name, x, wayOf(folder)) })) });

async function measure(bench: Bench, all: readonly Series[]): Promise<{ times: Times; curves: Curve[] }> {
  const ways = all.flatMap(({ at }) => at.map(({ way }) => way));
  const times = await alternate(bench.root, ways, bench.options.rounds);
  const pointOf = ({ x, way }: Series['at'][number]): Point => ({ x, y: times.ms(way.name).median });
  const curves = all.map(({ name, at }) => ({
    name,
    colour: COLOURS.indexOf(name),
    isPeer: PEERS.includes(name),
    points: at.map(pointOf),
  }));
  return { times, curves };
}

function rowsOf(over: string, curves: readonly Curve[]): Row[] {
  const slopeOf = (name: string) => logSlope(curves.find((curve) => curve.name === name)!.points).toFixed(2);
  const limit = `${CP} ${slopeOf(CP)}; ${PLAIN} ${slopeOf(PLAIN)}`;
  return curves
    .filter(({ isPeer }) => !isPeer)
    .map(({ name, points }) => {
      const slope = logSlope(points);
      return {
        measure: 10,
        what: `log-log slope of time against ${over}, ${name}`,
        measured: `${slope.toFixed(2)}, in the last step ${logSlope(points.slice(-2)).toFixed(2)} (${points.map(({ y }) => seconds(y)).join(', ')})`,
        ratio: null,
        target: `≤ ${MOST}`,
        isMet: slope <= MOST,
        limit,
      };
    });
}

const formatBytes = (bytes: number): string =>
  bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${Math.round(bytes / 1e7) / 100} GB`;
const formatMs = (ms: number): string => (ms < 1000 ? `${ms} ms` : `${ms / 1000} s`);

export const scaling: Part = {
  name: 'scaling',
  measures: '10',
  async run(bench) {
    const bytes = await measure(bench, await byBytes(bench));
    const files = await measure(bench, await byFiles(bench));
    const charts: Chart[] = [
      {
        name: 'time-against-bytes',
        title: 'A durable and proven snapshot, against bytes',
        xLabel: 'bytes of data',
        yLabel: 'time, median of all rounds',
        formatX: formatBytes,
        formatY: formatMs,
        curves: bytes.curves,
      },
      {
        name: 'time-against-files',
        title: 'A durable and proven snapshot, against files of 64 KiB',
        xLabel: 'files',
        yLabel: 'time, median of all rounds',
        formatX: (count) => count.toLocaleString('en'),
        formatY: formatMs,
        curves: files.curves,
      },
    ];
    const rows = [...rowsOf('bytes', bytes.curves), ...rowsOf('files of 64 KiB', files.curves)];
    return { times: bytes.times, raw: files.times, rows, charts };
  },
};
