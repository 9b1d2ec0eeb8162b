import { pause } from '../../env/clock.ts';
import { ERROR_CODES, type ErrorCode, StillpointError } from '../../errors.ts';
import type { AdminClient } from '../../rpc/client.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { openPlanned, type PushedBackup } from '../copies/pushed-backup.ts';
import type { PlanRepository, PlanTarget } from '../plan/plan.ts';

export interface PushRequest {
  readonly environment: Environment;
  readonly client: AdminClient;
  readonly target: PlanTarget;
  /** The snapshot's name on the node, and its id. */
  readonly name: string;
  readonly snapshotId: string;
  readonly repository: PlanRepository;
  readonly key: string;
  readonly signal: AbortSignal;
  /** Sends a request again while a node does not answer, or answers with one of these codes. */
  readonly retried: <T>(codes: readonly ErrorCode[], send: () => Promise<T>) => Promise<T>;
}

const POLL_MS = 250;

/**
 * Has a node upload a snapshot by itself, and finds the backup in the repository. The node is not trusted: `CONFLICT` when it uploads into
 * another repository than the plan's, `NODE_REPLY_INVALID` when the backup is of another database or snapshot.
 */
export async function pushFromNode(request: PushRequest): Promise<{ pushed: PushedBackup; bytes: number }> {
  const { environment, target, snapshotId, repository } = request;
  const { repository_id, store_id, backup_id } = await backupOf(request);
  if (repository_id !== repository.repository_id)
    throw new StillpointError(
      'CONFLICT',
      `the repository ${repository.name} of ${target.target_id} is ${repository_id}, and that of the plan is ${repository.repository_id}`,
      { hint: 'Let the settings file of the node name the repository of the fleet file.' },
    );
  const refuse = (why: string) =>
    new StillpointError('NODE_REPLY_INVALID', `the backup ${backup_id} of ${target.target_id} ${why}`);
  if (store_id !== target.store_id) throw refuse(`is of the database ${store_id}`);
  const stored = await (await openPlanned(environment, repository)).store(store_id).readStored(backup_id);
  if (stored === undefined) throw refuse('is not in the repository');
  const { manifest, sha256: manifest_sha256 } = stored;
  const snapshot_id = manifest.snapshot.snapshot?.id;
  if (snapshot_id !== snapshotId) throw refuse(`is of the snapshot ${snapshot_id}, and not ${snapshotId}`);
  return {
    pushed: { version: 1, repository_id, store_id, backup_id, snapshot_id, manifest_sha256 },
    bytes: manifest.snapshot.entries.reduce((sum, { size }) => sum + size, 0),
  };
}

/**
 * The backup that the node names once its job has ended. A job that died with its node is begun once more, under another key: this
 * one stands for the dead job.
 */
async function backupOf(request: PushRequest) {
  const { target, key } = request;
  for (const again of ['', '/again']) {
    const { backup, job } = await ended({ ...request, key: `${key}${again}` });
    if (backup !== null) return backup;
    if (job === null) break;
    const { status, repository_id, store_id, backup_id, error, error_code: code } = job;
    if (status === 'succeeded' && repository_id !== null && backup_id !== null)
      return { repository_id, store_id, backup_id };
    if (code === 'INTERRUPTED' && again === '') continue;
    const isKnown = code !== null && code !== 'CANCELLED' && Object.hasOwn(ERROR_CODES, code);
    throw new StillpointError(
      isKnown ? (code as ErrorCode) : status === 'interrupted' ? 'INTERRUPTED' : 'INTERNAL',
      `the push of ${target.target_id} ${status}: ${error ?? 'no reason'}`,
    );
  }
  throw new StillpointError('NODE_REPLY_INVALID', `${target.target_id} names neither a job nor a backup`);
}

/** What the node answers, with its job as it is when it has ended. */
async function ended({ client, name, repository, key, signal, retried }: PushRequest) {
  const body = { key, repository: repository.name };
  const { backup, job: first } = await retried(['UNAVAILABLE', 'BACKUP_ALREADY_RUNNING'], () =>
    client.push(name, body, signal),
  );
  let job = first;
  while (job !== null && (job.status === 'pending' || job.status === 'running')) {
    const { id } = job;
    await pause(POLL_MS, signal);
    job = await retried(['UNAVAILABLE'], () => client.job(id, signal));
  }
  return { backup, job };
}
