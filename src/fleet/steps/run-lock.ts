import type { Client } from 'pg';
import { StillpointError } from '../../errors.ts';

/** The run lock of several controllers: a lock of a PostgreSQL session. The server frees it when the connection ends. */
export interface RunLock {
  /** Rejects when the lock is lost: when the server or the network ended the session. Never resolves. */
  readonly lost: Promise<never>;
  release(): Promise<void>;
}

/** A holder whose machine is gone is known to be dead after about half a minute. */
const KEEPALIVES = `set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4`;

/** Waits until nobody else has the lock of this run. `STEPS_UNAVAILABLE` when the server cannot be asked; an aborted signal rejects. */
export async function takeRunLock(url: string, runId: string, signal: AbortSignal): Promise<RunLock> {
  const { default: pg } = await loadPg();
  const client: Client = new pg.Client({ connectionString: url, keepAlive: true });
  const lost = new Promise<never>((_resolve, reject) => {
    client.on('error', (cause) => reject(unavailable(cause)));
    client.on('end', () => reject(unavailable('the connection ended')));
  });
  lost.catch(() => undefined); // told to whoever awaits it
  const giveUp = () => void client.end().catch(() => undefined);
  signal.throwIfAborted();
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await client.connect();
    await client.query(KEEPALIVES);
    await Promise.race([
      client.query('select pg_advisory_lock(hashtextextended($1, 0))', [lockName(runId)]),
      lost,
    ]);
  } catch (cause) {
    giveUp();
    signal.throwIfAborted();
    throw unavailable(cause);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
  return { lost, release: () => client.end() };
}

const lockName = (runId: string): string => `stillpoint fleet ${runId}`;

/** What the server or the network says. The password is in none of it. */
export function unavailable(cause: unknown): StillpointError {
  if (cause instanceof StillpointError) return cause;
  const reason = cause instanceof Error ? cause.message || cause.name : String(cause);
  return new StillpointError('STEPS_UNAVAILABLE', `the steps in PostgreSQL cannot be recorded: ${reason}`, {
    cause,
  });
}

async function loadPg(): Promise<typeof import('pg')> {
  try {
    return await import('pg');
  } catch (cause) {
    throw missing('pg', cause);
  }
}

export const missing = (name: string, cause: unknown): StillpointError =>
  new StillpointError('STEPS_UNAVAILABLE', `the package \`${name}\` is needed for steps in PostgreSQL`, {
    cause,
    hint: 'Install both: npm install pg @dbos-inc/dbos-sdk',
  });
