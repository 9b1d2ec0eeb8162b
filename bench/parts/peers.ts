import { alternate } from '../lib/measure.ts';
import { type Bench, compare, type Part } from '../lib/part.ts';
import {
  CP,
  copyingPlainly,
  cp,
  firstSnapshot,
  LDB_BACKUP,
  ldbBackup,
  PLAIN,
  restic,
  rsync,
} from '../lib/ways.ts';

const ENGINES = [
  { engine: 'files', most: { ldb: 0.4, cp: 0.9 } },
  { engine: 'lsm', most: { ldb: 0.6, cp: 1.2 } },
  { engine: 'leveldb', most: { ldb: 0.6, cp: 1.2 } },
] as const;

/** A durable and proven full snapshot beside the tools a user would pick instead. */
export const peers: Part = {
  name: 'peers',
  measures: '1, 2',
  async run({ root, data, target, options, tools }: Bench) {
    const { sizeBytes } = options;
    // The peers' own database where their tools are there, since they take no other; else files of random bytes.
    const common = tools.ldb ? await data.database('rocksdb', sizeBytes) : await data.likeTables(sizeBytes);
    const folders = {
      files: common,
      lsm: await data.database('lsm', sizeBytes),
      leveldb: await data.database('leveldb', sizeBytes),
    };
    const ways = [
      copyingPlainly(common, target),
      cp(common, target),
      ...(tools.rsync ? [rsync(common, target)] : []),
      ...(tools.ldb ? [ldbBackup(common, target)] : []),
      ...(tools.restic ? [restic(common, target)] : []),
      ...ENGINES.map(({ engine }) => firstSnapshot(engine, folders[engine])),
    ];
    const times = await alternate(root, ways, options.rounds);
    const against = (measure: number, theirs: string, peer: 'ldb' | 'cp') =>
      ENGINES.map(({ engine, most }) =>
        compare(times, {
          measure,
          what: `first snapshot, ${engine}, by the byte of ${theirs}`,
          ours: `snapshot, proven: ${engine}`,
          theirs,
          most: most[peer],
          limit: PLAIN,
        }),
      );
    return { times, rows: [...against(1, LDB_BACKUP, 'ldb'), ...against(2, CP, 'cp')] };
  },
};
