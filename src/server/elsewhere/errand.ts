import type * as z from 'zod';
import { drillBackup } from '../../backup/drill-backup.ts';
import type { FromOptions } from '../../backup/list-backups.ts';
import type { BackupProgress } from '../../backup/options.ts';
import { restoreBackup } from '../../backup/restore-backup.ts';
import { verifyBackup } from '../../backup/verify-backup.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import type { errandBodySchema, errandSchema } from '../../rpc/elsewhere.ts';
import type { Environment } from '../../snapshot/environment.ts';

export type Errand = z.infer<typeof errandSchema>;
export type ErrandBody = z.infer<typeof errandBodySchema>;
/** What an errand works on. */
export type ErrandFrom = Omit<FromOptions, 'from'> & { readonly from: string };

/** What is done with the backups of a repository, one thing at a time. What came of the last one stays known. */
export class Errands {
  readonly #environment: Environment;
  readonly #from: ErrandFrom;
  #state: Errand | undefined;
  #stop = new AbortController();
  #work: Promise<void> = Promise.resolve();

  constructor(environment: Environment, from: ErrandFrom) {
    this.#environment = environment;
    this.#from = from;
  }

  get last(): Errand | null {
    return this.#state ?? null;
  }

  /** Answers at once; the work goes on, and `onEnd` is told how it ended. `CONFLICT` while something is under way. */
  begin(body: ErrandBody, onEnd: (outcome: 'completed' | 'failed' | 'cancelled') => void): Errand {
    if (this.#state?.status === 'running') {
      throw new StillpointError('CONFLICT', `a ${this.#state.action} is under way already`, {
        hint: 'Wait until it has ended, or cancel it.',
      });
    }
    const { action, store_id, backup_id } = body;
    const { clock } = this.#environment;
    const began: Errand = {
      ...{ action, store_id, backup_id, status: 'running', started_at_ms: clock.nowMs() },
      ...{ finished_at_ms: null, bytes_processed: 0, bytes_total: null, text: null },
    };
    this.#state = began;
    const stop = new AbortController();
    this.#stop = stop;
    const end = (status: 'succeeded' | 'failed' | 'cancelled', text: string) => {
      this.#state = { ...this.#state!, status, text, finished_at_ms: clock.nowMs() };
      onEnd(status === 'succeeded' ? 'completed' : status);
    };
    this.#work = this.#perform(body, stop.signal).then(
      ({ isGood, text }) => end(isGood ? 'succeeded' : 'failed', text),
      (error) => {
        const { message, hint } = toStillpointError(error);
        if (stop.signal.aborted) end('cancelled', 'It was cancelled.');
        else end('failed', `${message}. ${hint}`);
      },
    );
    return began;
  }

  /** Asks for its end. `NOT_FOUND` when nothing is under way. */
  cancel(): Errand {
    if (this.#state?.status !== 'running')
      throw new StillpointError('NOT_FOUND', 'nothing is under way', { hint: 'It has ended already.' });
    this.#stop.abort();
    return this.#state;
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#work;
  }

  async #perform(body: ErrandBody, signal: AbortSignal): Promise<{ isGood: boolean; text: string }> {
    const { action, store_id: store, backup_id: backup } = body;
    const onProgress = ({ bytesProcessed, bytesTotal }: BackupProgress) => {
      if (this.#state?.status === 'running')
        this.#state = { ...this.#state, bytes_processed: bytesProcessed, bytes_total: bytesTotal };
    };
    const options = { ...this.#from, environment: this.#environment, store, signal, onProgress };
    if (action === 'restore') {
      const { into, files } = await restoreBackup(backup, { ...options, into: body.into });
      return { isGood: true, text: `Restored into ${into} and proven: ${files} files.` };
    }
    if (action === 'drill') {
      const { verdict, restoreMs } = await drillBackup(backup, options);
      const took = `${(restoreMs / 1000).toFixed(1)} s`;
      return verdict === 'faithful'
        ? { isGood: true, text: `Restored for a trial in ${took}, proven and opened.` }
        : { isGood: false, text: `Restored for a trial in ${took}; not all of it could be read.` };
    }
    const { ok, findings, counts, verdict } = await verifyBackup(backup, options);
    const worst = findings.find(({ severity }) => severity === 'error') ?? findings[0];
    return ok
      ? { isGood: true, text: `Read in full and whole: ${counts.files} files.` }
      : { isGood: false, text: worst === undefined ? verdict : `${verdict}: ${worst.path} ${worst.message}` };
  }
}
