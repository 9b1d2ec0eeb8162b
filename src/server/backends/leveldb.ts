import { join } from 'node:path';
import { refuseOccupiedFolder } from '../../engine/occupied-folder.ts';
import { listIfPresent, realPlace } from '../../env/io.ts';
import { nodeFileSystem } from '../../env/node-file-system.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { CURRENT, LOCK, parseFileName } from '../../format/leveldb/file-name.ts';
import type { Backend, Database } from '../database.ts';

/**
 * LevelDB by way of the package `classic-level`, which the user installs: it is loaded when a database is opened,
 * `ENGINE_MISSING` when it is not there. It has no checkpoint and no hold, so snapshots are made from outside. Every write is
 * synced before it is acknowledged.
 */
export function leveldbBackend(): Backend {
  return {
    engine: 'leveldb',
    async open(given): Promise<Database> {
      const dir = await realPlace(nodeFileSystem, given);
      await refuseForeignFolder(dir);
      const { ClassicLevel } = await load();
      const db = new ClassicLevel<Buffer, Buffer>(dir, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
      try {
        await db.open();
      } catch (error) {
        throw translate(error, dir);
      }
      return {
        get: (key) => db.get(key),
        async write(ops) {
          const batch = ops.map((op) =>
            op.type === 'put'
              ? { type: 'put' as const, key: op.key, value: op.value }
              : { type: 'del' as const, key: op.key },
          );
          await db.batch(batch, { sync: true });
          return { lsn: null };
        },
        iterate: (range) => db.iterator(range),
        async compact() {
          const [last] = await db.keys({ reverse: true, limit: 1 }).all();
          if (last !== undefined) await db.compactRange(Buffer.alloc(0), last);
        },
        entriesReplayed: null,
        close: () => db.close(),
      };
    },
  };
}

/** What a LevelDB leaves that was cut off before it named its first MANIFEST in `CURRENT`, and its lock and text logs. */
const isUnnamed = (name: string): boolean =>
  /^(LOG|LOG\.old|\d+\.dbtmp|MANIFEST-000001)$/.test(name) || name === LOCK;

/**
 * Without `CURRENT` LevelDB makes a new database, whatever else is in the folder, and removes the tables and logs that
 * the new one does not know: `ENGINE_MISMATCH` for foreign files, `DATABASE_DAMAGED` for its own.
 */
async function refuseForeignFolder(dir: string): Promise<void> {
  const fs = nodeFileSystem;
  if ((await fs.inspect(join(dir, CURRENT))) !== undefined) return;
  const isOwn = (name: string) => isUnnamed(name) || parseFileName(name) !== undefined;
  await refuseOccupiedFolder(fs, dir, 'leveldb', isOwn);
  for (const { name } of await listIfPresent(fs, dir)) {
    if (isUnnamed(name) || parseFileName(name) === undefined) continue;
    throw new StillpointError('DATABASE_DAMAGED', `${join(dir, CURRENT)} is missing beside ${name}`, {
      path: join(dir, CURRENT),
    });
  }
}

async function load() {
  try {
    return await import('classic-level');
  } catch (cause) {
    throw new StillpointError('ENGINE_MISSING', 'the engine leveldb needs the package classic-level', {
      cause,
      hint: 'Run `npm install classic-level` beside stillpoint.',
    });
  }
}

/** abstract-level wraps what went wrong in LEVEL_DATABASE_NOT_OPEN; its cause tells. */
function translate(error: unknown, dir: string): StillpointError {
  const cause = (error as { cause?: unknown } | null)?.cause ?? error;
  const message = cause instanceof Error ? cause.message : String(cause);
  switch (systemCode(cause)) {
    case 'LEVEL_LOCKED':
      return new StillpointError('CONFLICT', `the database in ${dir} is open elsewhere`, {
        path: dir,
        cause,
        hint: 'Another process, or another part of this one, has the database open: close it there first.',
      });
    case 'LEVEL_CORRUPTION':
      return new StillpointError('DATABASE_DAMAGED', `the database in ${dir}: ${message}`, {
        path: dir,
        cause,
      });
    default:
      return new StillpointError('IO_ERROR', `the database in ${dir} cannot be opened: ${message}`, {
        path: dir,
        cause,
      });
  }
}
