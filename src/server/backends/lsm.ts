import { type LsmOptions, openLsm, resolveOptions } from '../../lsm-database/index.ts';
import type { Backend, Database, KeyRange } from '../database.ts';

/** The embedded engine; `options` as in `openLsm`. */
export function lsmBackend(options?: LsmOptions): Backend {
  const resolved = resolveOptions(options);
  return {
    engine: 'lsm',
    async open(dir): Promise<Database> {
      const db = await openLsm(dir, resolved);
      return {
        get: (key) => db.get(key),
        write: (ops) => db.batch(ops),
        iterate: (range: KeyRange) => db.iterate(range),
        checkpoint: (context) => db.checkpoint(context),
        hold: () => db.hold(),
        compact: () => db.compact(),
        get failure() {
          return db.stats().failure;
        },
        entriesReplayed: db.stats().replayedEntries,
        close: () => db.close(),
      };
    },
  };
}
