import { type Kysely, type Migration, Migrator, sql } from 'kysely';
import { StillpointError } from '../../errors.ts';

// One set for all databases. A migration that was released is never changed; what is new is added below.

const first: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('jobs')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('kind', 'text', (column) => column.notNull())
      .addColumn('store_id', 'text', (column) => column.notNull())
      .addColumn('repository_id', 'text')
      .addColumn('backup_id', 'text')
      .addColumn('backup_record_id', 'text')
      .addColumn('status', 'text', (column) => column.notNull())
      // Jobs with the same guard exclude each other while they run; those without one run beside all.
      .addColumn('guard', 'text')
      .addColumn('started_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('finished_at_ms', 'bigint')
      .addColumn('progress', 'integer', (column) => column.notNull())
      .addColumn('error', 'text')
      .addColumn('error_code', 'text')
      .execute();
    await db.schema
      .createIndex('jobs_one_running')
      .unique()
      .on('jobs')
      .columns(['store_id', 'guard'])
      .where(sql.ref('status'), '=', 'running')
      .execute();
    await db.schema
      .createTable('records')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('repository_id', 'text', (column) => column.notNull())
      .addColumn('store_id', 'text', (column) => column.notNull())
      .addColumn('created_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('size_bytes', 'bigint', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('manifest_path', 'text', (column) => column.notNull())
      .addColumn('sha256', 'text', (column) => column.notNull())
      .execute();
  },
};

/** The identity of a data directory may change while a job runs, so the guard is not one of the identity. */
const guardByDirectory: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.dropIndex('jobs_one_running').execute();
    await db.schema
      .createIndex('jobs_one_running')
      .unique()
      .on('jobs')
      .column('guard')
      .where(sql.ref('status'), '=', 'running')
      .execute();
  },
};

const ticks: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('ticks')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('schedule_id', 'text', (column) => column.notNull())
      .addColumn('due_ms', 'bigint', (column) => column.notNull())
      .addColumn('status', 'text', (column) => column.notNull())
      .addColumn('started_at_ms', 'bigint', (column) => column.notNull())
      .addColumn('finished_at_ms', 'bigint')
      .addColumn('error', 'text')
      .execute();
    // Of several services one gets a tick.
    await db.schema
      .createIndex('ticks_one_each')
      .unique()
      .on('ticks')
      .columns(['schedule_id', 'due_ms'])
      .execute();
  },
};

/** Where a job's process lives on another machine, its lease says whether it does. */
const leases: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('leases')
      .addColumn('job_id', 'text', (column) => column.primaryKey())
      .addColumn('owner', 'text', (column) => column.notNull())
      .addColumn('ends_at', 'timestamptz', (column) => column.notNull())
      .execute();
  },
};

const cancelling: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable('jobs').addColumn('cancel_asked_at_ms', 'bigint').execute();
  },
};

/** So that a person can be told which repository it was. */
const addresses: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable('jobs').addColumn('repository_url', 'text').execute();
  },
};

const hints: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.alterTable('jobs').addColumn('error_hint', 'text').execute();
  },
};

const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '001-jobs-and-records': first,
  '002-guard-by-directory': guardByDirectory,
  '003-ticks': ticks,
  '004-leases': leases,
  '005-cancelling': cancelling,
  '006-addresses': addresses,
  '007-hints': hints,
};

/** Brings the tables up to date. The caller sees to it that nobody else does so at the same time. */
// biome-ignore lint/suspicious/noExplicitAny: whatever tables there are
export async function migrate(db: Kysely<any>): Promise<void> {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
  const { error } = await migrator.migrateToLatest();
  if (error === undefined) return;
  const why = error instanceof Error ? error.message : String(error);
  throw new StillpointError('IO_ERROR', `the job store cannot be brought up to date: ${why}`, {
    cause: error,
    hint: 'A later version of stillpoint may have written it; use that one.',
  });
}
