import { Kysely, PostgresDialect, sql } from 'kysely';
import { warn } from '../../env/safe-calls.ts';
import { newUlid } from '../../env/ulid.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import type { JobStore } from './job-store.ts';
import { KyselyJobStore, type Owners, type Tables } from './kysely-job-store.ts';
import { migrate } from './migrations.ts';

/** Long enough for a server that is restarted, short enough for a person who waits after a machine has died. */
export const LEASE_MS = 60_000;
/** Beats within a lease: one may be lost. */
const BEATS = 4;
const CONNECTIONS = 4;

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`. */
  readonly url: string;
  /** The store whose jobs are meant. */
  readonly storeId: string;
  readonly leaseMs?: number;
}

/**
 * The job store of one store in a PostgreSQL database, which any number of stores and machines can share. Whether the process of a job
 * lives is told by a lease that it renews, by the clock of the server alone. `JOBS_UNAVAILABLE` when the server cannot be reached.
 */
export async function openPostgresJobStore(
  env: Environment,
  { url, storeId, leaseMs = LEASE_MS }: PostgresOptions,
): Promise<JobStore> {
  const { default: pg } = await loadPg();
  const pool = new pg.Pool({
    connectionString: url,
    max: CONNECTIONS,
    application_name: 'stillpoint',
    connectionTimeoutMillis: 10_000,
  });
  const place = placeOf(pg, url);
  pool.on('error', warn); // of a connection that nobody uses; the next query opens another
  const db = new Kysely<Tables & Leases>({ dialect: new PostgresDialect({ pool }) });
  try {
    await pool.query('select 1');
    await migrate(db);
    const owners = leasedOwners(env, db, leaseMs);
    const scope = { guard: `store ${storeId}`, storeId };
    return translated(new KyselyJobStore(db as unknown as Kysely<Tables>, owners, env.clock, scope), place);
  } catch (error) {
    await db.destroy();
    throw unavailable(error, place);
  }
}

interface Leases {
  readonly leases: { readonly job_id: string; readonly owner: string; readonly ends_at: Date };
}

function leasedOwners({ clock }: Environment, db: Kysely<Tables & Leases>, leaseMs: number): Owners {
  const owner = newUlid(clock.nowMs());
  const held = new Set<string>();
  const end = sql<Date>`now() + ${leaseMs} * interval '1 millisecond'`;
  const beat = async () => {
    if (held.size === 0) return;
    await db
      .updateTable('leases')
      .set({ ends_at: end })
      .where('owner', '=', owner)
      .where('job_id', 'in', [...held])
      .execute();
  };
  const stop = clock.every(leaseMs / BEATS, () => void beat().catch(warn));
  const release = async (jobId: string) => {
    held.delete(jobId);
    await db.deleteFrom('leases').where('job_id', '=', jobId).where('owner', '=', owner).execute();
  };
  return {
    async claim(jobId) {
      const values = { job_id: jobId, owner, ends_at: end };
      const added = await db
        .insertInto('leases')
        .values(values)
        .onConflict((conflict) => conflict.column('job_id').doNothing())
        .executeTakeFirst();
      if (added.numInsertedOrUpdatedRows !== 1n)
        throw new StillpointError('CONFLICT', `job ${jobId} has another owner`);
      held.add(jobId);
    },
    release,
    async releaseAll() {
      stop();
      for (const jobId of held) await release(jobId);
    },
    async isDead(jobId) {
      if (held.has(jobId)) return false;
      // In one statement: a lease that is renewed meanwhile is none that has ended.
      await db
        .deleteFrom('leases')
        .where('job_id', '=', jobId)
        .where('ends_at', '<', sql<Date>`now()`)
        .execute();
      const lease = await db
        .selectFrom('leases')
        .select('owner')
        .where('job_id', '=', jobId)
        .executeTakeFirst();
      return lease === undefined;
    },
  };
}

async function loadPg(): Promise<typeof import('pg')> {
  try {
    return await import('pg');
  } catch (cause) {
    throw new StillpointError('JOBS_UNAVAILABLE', 'the package `pg` is needed for jobs in PostgreSQL', {
      cause,
      hint: 'Install it: npm install pg',
    });
  }
}

/** What the driver takes an address for. */
function placeOf({ Client }: Pick<typeof import('pg'), 'Client'>, url: string): string {
  try {
    const { host, port, database } = new Client({ connectionString: url });
    return `${host}:${port}/${database}`;
  } catch {
    return 'an address that cannot be read';
  }
}

/** What the server or the network says, as one of our errors. The password is in none of them. */
function translated(store: KyselyJobStore, place: string): JobStore {
  return new Proxy(store, {
    get(target, name: keyof JobStore) {
      const method = target[name];
      if (typeof method !== 'function') return method;
      return async (...args: unknown[]) => {
        try {
          return await Reflect.apply(method, target, args);
        } catch (error) {
          throw unavailable(error, place);
        }
      };
    },
  });
}

function unavailable(error: unknown, place: string): unknown {
  if (error instanceof StillpointError) return error;
  const { code, message } = error as { code?: unknown; message?: string };
  const isOfServer =
    systemCode(error) !== undefined || typeof code === 'string' || /connect|terminat/i.test(message ?? '');
  if (!isOfServer) return error;
  const what = (message ?? '') === '' ? String(code) : message;
  return new StillpointError('JOBS_UNAVAILABLE', `PostgreSQL at ${place}: ${what}`, { cause: error });
}
