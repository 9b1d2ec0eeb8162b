import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { MANIFEST } from '../engine/engine.ts';
import { engineByName, engineNames } from '../engine/index.ts';
import { mapConcurrent, Semaphore } from '../env/concurrency.ts';
import { readSmallFile } from '../env/io.ts';
import { RunControl } from '../env/run-control.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import { decodeManifest, MANIFEST_LIMIT_BYTES, type ParsedManifest } from '../snapshot/store/manifest.ts';
import { positionIn } from '../snapshot/store/setback.ts';
import { TOOL } from '../snapshot/version.ts';
import { type BackupManifest, objectsOf, type StoredFiles, storedBytesOf } from './backup-manifest.ts';
import { compressedBody } from './compressed-objects.ts';
import { condemnedKeys, endangered } from './condemned.ts';
import { readDamaged, recordDamaged } from './damaged-objects.ts';
import { type DigestedFile, digestSnapshot, type KnownDigests } from './digests.ts';
import { bodyOfFiles } from './file-body.ts';
import { isPackKey } from './layout.ts';
import { recordReading } from './marks.ts';
import { planObjects, type Stored, type Upload } from './plan-objects.ts';
import { withdraw } from './remove-backup.ts';
import { setbackSince } from './setback-since.ts';
import type { StoreBackups } from './store-backups.ts';
import { storedBody } from './stored-objects.ts';
import { checkObjects } from './verify.ts';

export const UPLOAD_PHASES = ['digest', 'upload', 'confirm', 'read back', 'publish'] as const;
export type UploadPhase = (typeof UPLOAD_PHASES)[number];

export interface UploadRequest {
  /** A proven snapshot, which the caller keeps from being deleted. */
  readonly folder: string;
  readonly backupId: string;
  /** The newest backup of the store: what it has is not uploaded again. */
  readonly previousId: string | undefined;
  /** What people call the store. */
  readonly name: string;
  /** Whether every byte is read back before there is a backup. */
  readonly readBack: boolean;
  /** Whether data that shrinks is stored compressed. */
  readonly compress: boolean;
  readonly known: KnownDigests;
  readonly control: RunControl;
  readonly onPhase: (phase: UploadPhase) => void;
  /** Called once it is known how many bytes are to be read and sent. */
  readonly onPlanned: (bytes: number) => void;
  /** Called with all that is to be kept before the backup can come into existence; may reject. */
  readonly beforePublishing: (manifest: BackupManifest) => Promise<void>;
}

export interface Uploaded {
  readonly manifest: BackupManifest;
  readonly manifestKey: string;
  readonly manifestSha256: string;
  readonly uploadedBytes: number;
  readonly reusedBytes: number;
  readonly objectsUploaded: number;
  readonly objectsReused: number;
  /** Uploaded again, since the object that the repository had of them is damaged, missing or of another size. */
  readonly filesUploadedAgain: number;
  /** Why the database cannot have come here from the state in the last backup, which then stays whatever the rule; undefined when it can. */
  readonly setback: string | undefined;
}

/** Objects sent, or asked for, at once. */
const UPLOADS_AT_ONCE = 4;
const QUESTIONS_AT_ONCE = 16;

/**
 * Makes a backup of a snapshot: what the repository does not have yet is uploaded, all of it is confirmed, and the manifest comes
 * last. Whatever goes wrong before, there is no backup; objects that were uploaded stay and do no harm.
 */
export async function upload(store: StoreBackups, request: UploadRequest): Promise<Uploaded> {
  const { environment: env, storeId, repositoryId } = store;
  const isSealed = store.sealer !== undefined;
  const { folder, backupId, control } = request;
  request.onPhase('digest');
  const { text: snapshotText, manifest: snapshot } = await readSnapshot(store, folder);
  const engine = snapshot.snapshot!.engine;
  await store.introduce(engine, request.name);
  const { previousId } = request;
  const previous = previousId === undefined ? undefined : await newestReadable(store, previousId);
  // A snapshot of an engine that this process does not know is backed up all the same.
  const known = engineNames().includes(engine) ? engineByName(engine) : undefined;
  const position = known && (await positionIn(env.fs, known, folder));
  const setback =
    known && (await setbackSince(env, known, { folder, manifest: snapshot, position }, previous));
  // A newer one that cannot be read may have been the one that told of a setback.
  const isLost = previous !== undefined && previous.backupId !== previousId;
  const left = setback !== undefined || isLost ? [previous!.backupId] : [];
  const digested = await digestSnapshot(env, folder, snapshot.entries, request.known, control);
  await request.known.keep(digested);
  const { stored, uploadedBytes, objectsUploaded, filesUploadedAgain } = await storeFiles(
    store,
    request,
    digested,
    previous,
  );
  const objects = objectsOf({ ...stored, isSealed });
  const manifest: BackupManifest = {
    repositoryId,
    storeId,
    backupId,
    createdAtMs: env.clock.nowMs(),
    engine,
    tool: TOOL,
    previous: previousId,
    // Files that say nothing of it take nothing back.
    position: position ?? (previous?.engine === engine ? previous.position : undefined),
    leftBehind: [...new Set([...(previous?.leftBehind ?? []), ...left])],
    isSealed,
    storedBytes: [...objects.values()].reduce((sum, bytes) => sum + bytes, 0),
    snapshotText,
    snapshot,
    ...stored,
  };
  if (request.readBack) {
    request.onPhase('read back');
    await readBack(store, manifest, request);
  }
  await request.beforePublishing(manifest);
  control.checkCancelled(); // the last moment: what is sent cannot be taken back
  request.onPhase('publish');
  const { key, bytes } = await store.publish(manifest);
  await confirmOrWithdraw(store, manifest);
  if (request.readBack) await recordReading(store, backupId, 'data').catch(warn);
  return {
    manifest,
    manifestKey: key,
    manifestSha256: createHash('sha256').update(bytes).digest('hex'),
    uploadedBytes,
    reusedBytes: manifest.storedBytes - uploadedBytes,
    objectsUploaded,
    objectsReused: objects.size - objectsUploaded,
    filesUploadedAgain,
    setback,
  };
}

/** `BACKUP_DAMAGED` where an object does not hold what was sent; it is on record then, and the next run sends it again. */
async function readBack(
  store: StoreBackups,
  manifest: BackupManifest,
  { control, onPlanned }: UploadRequest,
): Promise<void> {
  onPlanned(control.bytes + manifest.files.reduce((sum, { stored }) => sum + (stored?.bytes ?? 0), 0));
  const { findings, damaged } = await checkObjects(store, manifest, 'data', control);
  const [finding] = findings;
  if (finding === undefined) return;
  await recordDamaged(store, damaged).catch(warn);
  throw new StillpointError('BACKUP_DAMAGED', `read back: ${finding.message}`, {
    path: finding.path,
    hint: 'There is no new backup. Run it again: what is damaged is sent anew.',
  });
}

/**
 * Uploads what the repository does not have, and confirms all objects. Where one that was to be used again is not there as it
 * should be, its files are uploaded after all.
 */
async function storeFiles(
  store: StoreBackups,
  request: UploadRequest,
  digested: readonly DigestedFile[],
  previous: BackupManifest | undefined,
) {
  const { storeId, sealer } = store;
  const { backupId, control, onPlanned, onPhase } = request;
  const isSealed = sealer !== undefined;
  const idOf = sealer === undefined ? plainIdOf : (content: string) => sealer.objectId(content);
  const sent = new Set<string>();
  const compressed = new Map(Object.entries(previous?.compressed ?? {}));
  let uploadedBytes = 0;
  let filesUploadedAgain = 0;
  let there: Stored | undefined = previous;
  let unusable: ReadonlySet<string> =
    previous === undefined
      ? new Set()
      : new Set([...(await readDamaged(store)).keys(), ...(await condemnedKeys(store))]);
  for (;;) {
    const firstPack = [...sent].filter((key) => isPackKey(storeId, key)).length;
    const plan = planObjects({ storeId, backupId, digested, previous: there, unusable, firstPack, idOf });
    onPlanned(control.bytes + plan.uploadBytes);
    onPhase('upload');
    await sendObjects(store, request, plan.uploads, (key, bytes) => compressed.set(key, bytes));
    for (const { key, bytes } of plan.uploads) {
      sent.add(key);
      uploadedBytes += storedBytesOf(compressed.get(key) ?? bytes, isSealed);
    }
    filesUploadedAgain += plan.filesAgain;
    const { files, packs } = plan;
    const stored: StoredFiles = { files, packs, compressed: sizesOf(files, compressed) };
    onPhase('confirm');
    const wrong = await unconfirmed(store, objectsOf({ ...stored, isSealed }), control);
    const [lost] = [...wrong].filter(([key]) => sent.has(key));
    if (lost !== undefined) throw notConfirmed(lost);
    if (wrong.size === 0) return { stored, uploadedBytes, objectsUploaded: sent.size, filesUploadedAgain };
    there = plan;
    unusable = new Set(wrong.keys());
  }
}

/** Of the compressed objects that these files lie in. */
function sizesOf(
  files: StoredFiles['files'],
  compressed: ReadonlyMap<string, number>,
): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const { stored } of files) {
    const size = stored && compressed.get(stored.key);
    if (stored !== undefined && size !== undefined) sizes[stored.key] = size;
  }
  return sizes;
}

async function readSnapshot(
  { environment: { fs } }: StoreBackups,
  folder: string,
): Promise<{ text: string; manifest: ParsedManifest }> {
  const path = join(folder, MANIFEST);
  const bytes = await readSmallFile(fs, path, MANIFEST_LIMIT_BYTES);
  const manifest = bytes && decodeManifest(bytes, path);
  if (bytes === undefined || manifest?.snapshot === undefined || manifest.rewritten) {
    throw new StillpointError('SOURCE_UNAVAILABLE', `${folder} is no snapshot that was proven here`, {
      path: folder,
    });
  }
  return { text: bytes.toString(), manifest };
}

/** The newest backup up to this one that can be read. One that cannot is no reason to make none: without any, everything is uploaded. */
async function newestReadable(store: StoreBackups, newest: string): Promise<BackupManifest | undefined> {
  let older: string[] | undefined;
  for (let id: string | undefined = newest; id !== undefined; id = older.pop()) {
    try {
      return await store.read(id);
    } catch (error) {
      if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
      warn(error);
      older ??= (await store.ids()).filter((one) => one < newest);
    }
  }
  return undefined;
}

const plainIdOf = (content: string): string =>
  createHash('sha256').update(`stillpoint-object ${content}`).digest('hex');

/** @param onCompressed Called with the key of an object that was compressed, and its size before it was sealed. */
async function sendObjects(
  store: StoreBackups,
  { folder, compress, control }: UploadRequest,
  uploads: readonly Upload[],
  onCompressed: (key: string, bytes: number) => void,
): Promise<void> {
  const { destination, environment: env } = store;
  const abort = new AbortController();
  const forget = control.onCancel(() => abort.abort());
  const compressing = new Semaphore(env.pool.concurrency); // more threads take memory, and no less time
  try {
    // The largest first, so that all end at about the same time.
    const bySize = [...uploads].sort((a, b) => b.bytes - a.bytes);
    await mapConcurrent(bySize, UPLOADS_AT_ONCE, async ({ key, files }) => {
      control.checkCancelled();
      const toSend = files.map(({ entry, digest }) => ({ path: placeOf(folder, entry.path), digest }));
      const onBytes = (count: number) => control.addBytes(count);
      const compressed = compress
        ? await compressing.run(() => compressedBody(env, folder, toSend, control, onBytes))
        : undefined;
      const body = compressed ?? bodyOfFiles(env.fs, toSend, onBytes);
      try {
        const answer = await destination.put(key, storedBody(store, key, body), {
          ifAbsent: true,
          signal: abort.signal,
        });
        if (answer === 'exists') {
          throw new StillpointError('CONFLICT', `${key} exists already, and its name was made at random`, {
            path: key,
          });
        }
        if (compressed !== undefined) onCompressed(key, compressed.sizeBytes);
      } finally {
        await compressed?.close();
      }
    });
  } finally {
    forget();
  }
}

/**
 * Makes sure that a backup which was just published, or found, has its objects and keeps them: a sweep that did not see its manifest
 * may be deleting some. `BACKUP_DAMAGED` when one is missing, of another size, or about to go.
 */
export async function confirmPublished(
  store: StoreBackups,
  manifest: BackupManifest,
  control = new RunControl(),
): Promise<void> {
  const objects = objectsOf(manifest);
  const atMs = await store.publishedAtMs(manifest.backupId);
  if (atMs === undefined) throw notConfirmed([manifest.backupId, 'is gone']);
  // The lists first: one that is gone by now was carried out, and then an object is missing.
  const lost = await endangered(store, objects.keys(), atMs);
  if (lost !== undefined) throw notConfirmed([lost, 'is about to be deleted']);
  for (const wrong of await unconfirmed(store, objects, control)) throw notConfirmed(wrong);
}

/** There is no backup if its objects do not stay. `PUBLICATION_UNKNOWN` where that could not be found out, or undone. */
async function confirmOrWithdraw(store: StoreBackups, manifest: BackupManifest): Promise<void> {
  const { backupId } = manifest;
  try {
    await confirmPublished(store, manifest);
  } catch (error) {
    const unknown = (cause: unknown) =>
      new StillpointError(
        'PUBLICATION_UNKNOWN',
        `${backupId} was published, and could not be confirmed: ${toStillpointError(cause).message}`,
        { cause },
      );
    const { code, message } = toStillpointError(error);
    if (code !== 'BACKUP_DAMAGED') throw unknown(error);
    await withdraw(store, backupId).catch((problem) => {
      throw unknown(problem);
    });
    throw new StillpointError('CONFLICT', `a sweep was faster: ${message}; there is no new backup`, {
      cause: error,
      hint: 'Run it again: it uploads what is missing.',
    });
  }
}

const notConfirmed = ([key, what]: readonly [string, string]): StillpointError =>
  new StillpointError('BACKUP_DAMAGED', `${key} ${what}`, { path: key });

/** The objects that are missing or of another size, with what is wrong. */
async function unconfirmed(
  { destination }: StoreBackups,
  objects: ReadonlyMap<string, number>,
  control: RunControl,
): Promise<Map<string, string>> {
  const wrong = new Map<string, string>();
  await mapConcurrent([...objects], QUESTIONS_AT_ONCE, async ([key, bytes]) => {
    control.checkCancelled();
    const info = await destination.head(key);
    if (info?.sizeBytes === bytes) return;
    wrong.set(key, info === undefined ? 'is missing' : `has ${info.sizeBytes} bytes, and not ${bytes}`);
  });
  return wrong;
}
