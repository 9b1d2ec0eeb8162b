import { join } from 'node:path';
import * as z from 'zod';
import { followed, repositoryOf } from '../../backup/options.ts';
import { bodyOf } from '../../destination/destination.ts';
import { MANIFEST } from '../../engine/engine.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { createFile, removeTree } from '../../env/io.ts';
import { randomHex } from '../../env/random.ts';
import type { RunControl } from '../../env/run-control.ts';
import { warn } from '../../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { backupSource } from '../../repository/backup-source.ts';
import { recordDamaged } from '../../repository/damaged-objects.ts';
import type { SetPin } from '../../repository/layout.ts';
import { pin, readSetPins, recordReading } from '../../repository/marks.ts';
import type { Repository } from '../../repository/repository.ts';
import type { StoreBackups, StoredManifest } from '../../repository/store-backups.ts';
import { checkObjects } from '../../repository/verify.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { stage } from '../../snapshot/restore/restore.ts';
import { checkSource } from '../../snapshot/restore/restore-source.ts';
import type { BackupPlan, PlanRepository } from '../plan/plan.ts';
import { hashSchema, idSchema } from '../plan/schemas.ts';

/** What stands in a node's folder in the place of a copy, when the node pushed its snapshot into a repository. */

const schema = z.strictObject({
  version: z.literal(1),
  repository_id: idSchema,
  store_id: idSchema,
  backup_id: idSchema,
  snapshot_id: z.string().min(1).max(200),
  /** Of the backup's manifest, which names every object by what it holds. */
  manifest_sha256: hashSchema,
});
export type PushedBackup = z.infer<typeof schema>;

const LIMIT_BYTES = 64 * 1024;
const STORES_AT_ONCE = 16;
export const PUSHED = 'pushed-backup.json';
const fileIn = (dir: string): string => join(dir, PUSHED);

export const writePushed = (fs: FileSystem, dir: string, pushed: PushedBackup): Promise<void> =>
  writeJson(fs, fileIn(dir), pushed, 'lines');

/** `COPY_DAMAGED` when there is none, or none that can be read. */
export async function readPushed(fs: FileSystem, dir: string): Promise<PushedBackup> {
  const path = fileIn(dir);
  const refuse = (why: string, cause?: unknown) =>
    new StillpointError('COPY_DAMAGED', `${path}: ${why}`, { path, cause });
  const pushed = await readJson(fs, path, { schema, limitBytes: LIMIT_BYTES, refuse });
  if (pushed === undefined) throw refuse('is gone');
  return pushed;
}

/** `CONFLICT` when another repository is there now than when the plan was made. */
export async function openPlanned(env: Environment, planned: PlanRepository): Promise<Repository> {
  const { destination, encryption: { key_file: keyFile, ...named } = {} } = planned;
  const encryption = { ...named, ...(keyFile !== undefined && { keyFile }) };
  const isEncrypted = planned.encryption !== undefined;
  const repository = await repositoryOf(env, destination, isEncrypted ? { encryption } : {});
  if (repository.id === planned.repository_id) return repository;
  throw new StillpointError(
    'CONFLICT',
    `the repository in ${repository.destination.url} is ${repository.id}, and the plan was made for ${planned.repository_id}`,
    { hint: 'Make a new plan in another folder.' },
  );
}

interface OpenPushed extends StoredManifest {
  readonly store: StoreBackups;
}

/** `BACKUP_DAMAGED` when the backup is gone or is not what was pushed. */
async function open(env: Environment, planned: PlanRepository, pushed: PushedBackup): Promise<OpenPushed> {
  const { store_id, backup_id } = pushed;
  const store = (await openPlanned(env, planned)).store(store_id);
  const stored = await store.readStored(backup_id);
  const damaged = (why: string) =>
    new StillpointError('BACKUP_DAMAGED', `backup ${backup_id} ${why}`, { path: store.destination.url });
  if (stored === undefined) throw damaged('is gone from its repository');
  if (stored.sha256 !== pushed.manifest_sha256) throw damaged('has another manifest than was pushed');
  return { ...stored, store };
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/**
 * Reads a pushed backup in its repository: every object holds what its node uploaded. `BACKUP_DAMAGED`; what is damaged is on
 * record there then, so that the next push uploads it again.
 */
export async function checkPushed(
  env: Environment,
  planned: PlanRepository,
  pushed: PushedBackup,
  options: ReadOptions = {},
): Promise<void> {
  const { store, manifest } = await open(env, planned, pushed);
  const total = manifest.files.reduce((sum, { stored }) => sum + (stored?.bytes ?? 0), 0);
  const { findings, damaged } = await withControl(env, options, total, (control) =>
    checkObjects(store, manifest, 'data', control),
  );
  const [first] = findings;
  if (first === undefined) return recordReading(store, pushed.backup_id, 'data').catch(warn);
  await recordDamaged(store, damaged).catch(warn);
  throw new StillpointError('BACKUP_DAMAGED', `backup ${pushed.backup_id}: ${first.message}`, {
    path: first.path,
    data: { findings },
  });
}

/**
 * Writes an object into the repository and removes it: members are pinned there long after nodes were stopped. The code of the failure
 * is that of the destination. That it cannot be removed is none: an append-only repository takes pins.
 */
export async function refuseUnwritable(env: Environment, planned: PlanRepository): Promise<void> {
  const { destination } = await openPlanned(env, planned);
  const key = `probe-${randomHex(16)}`;
  try {
    await destination.put(key, bodyOf(Buffer.from('probe\n')));
  } catch (cause) {
    const { code, message } = toStillpointError(cause);
    throw new StillpointError(
      code,
      `the controller cannot write into the repository ${planned.name}: ${message}`,
      {
        cause,
        hint: 'It pins there what the nodes push. Give it the right to write; those of the nodes do not count.',
      },
    );
  }
  await destination.delete([key]).catch(() => undefined);
}

/** From now on no retention removes it, until the fleet backup is forgotten. `BACKUP_DAMAGED` when it is gone meanwhile. */
export async function pinPushed(
  env: Environment,
  planned: PlanRepository,
  { store_id, backup_id }: PushedBackup,
  set: string,
): Promise<void> {
  const store = (await openPlanned(env, planned)).store(store_id);
  await pin(store, backup_id, set).catch((error) => {
    if (!(error instanceof StillpointError) || error.code !== 'NOT_FOUND') throw error;
    throw new StillpointError('BACKUP_DAMAGED', error.message, { path: store.destination.url, cause: error });
  });
}

/** The pins of a fleet backup in its repository. */
export async function pinsOfSet(
  env: Environment,
  planned: PlanRepository,
  { targets, backup_id }: Pick<BackupPlan, 'targets' | 'backup_id'>,
): Promise<SetPin[]> {
  const storeIds = [...new Set(targets.flatMap(({ store_id }) => store_id ?? []))];
  return setPinsIn(await openPlanned(env, planned), storeIds, backup_id);
}

export async function setPinsIn(
  repository: Repository,
  storeIds: readonly string[],
  set: string,
): Promise<SetPin[]> {
  const pins = await mapConcurrent(storeIds, STORES_AT_ONCE, (id) => readSetPins(repository.store(id)));
  return pins.flat().filter((one) => one.set === set);
}

/** Brings a pushed backup into `folder`, as the snapshot that it was made of, while `work` needs it. */
export async function withCopyOfPushed<T>(
  env: Environment,
  planned: PlanRepository,
  pushed: PushedBackup,
  folder: string,
  { signal, work }: { readonly signal: AbortSignal; readonly work: () => Promise<T> },
): Promise<T> {
  const { store, manifest } = await open(env, planned, pushed);
  await removeTree(env.fs, folder); // of a run that was killed
  try {
    await withControl(env, { signal }, 0, async (control) => {
      const source = await checkSource(env, backupSource(store, manifest), control);
      try {
        await stage(env, source, folder, { level: 'full' }, control);
      } finally {
        await source.release();
      }
    });
    await createFile(env.fs, join(folder, MANIFEST), Buffer.from(manifest.snapshotText));
    return await work();
  } finally {
    await removeTree(env.fs, folder);
  }
}

const withControl = <T>(
  env: Environment,
  { signal, onProgress }: ReadOptions,
  bytesTotal: number,
  work: (control: RunControl) => Promise<T>,
): Promise<T> =>
  followed(
    env,
    {
      ...(signal && { signal }),
      ...(onProgress && { onProgress: ({ bytesProcessed }) => onProgress(bytesProcessed, bytesTotal) }),
    },
    (control) => ({ phase: 'read', bytesProcessed: control.bytes, bytesTotal }),
    work,
  );
