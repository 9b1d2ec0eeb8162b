import type { Finding } from '../engine/report.ts';
import type { RunControl } from '../env/run-control.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { OptionSet, type OptionsOf, withDefault } from '../options/option.ts';
import { oneOf } from '../options/values.ts';
import type { BackupManifest, StoredFile } from '../repository/backup-manifest.ts';
import { recordDamaged } from '../repository/damaged-objects.ts';
import { manifestKey } from '../repository/layout.ts';
import { recordReading } from '../repository/marks.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { checkObjects } from '../repository/verify.ts';
import { copyDamage } from '../snapshot/verify/compare-tree.ts';
import { fromFields, storeOf } from './list-backups.ts';
import { environmentOf, followed, translated } from './options.ts';

const LEVELS = ['manifest', 'data'] as const;

export const verifyAllBackupsOptions = new OptionSet(() => ({
  ...fromFields(),
  level: withDefault(oneOf(LEVELS), () => 'data', {
    description:
      'How much is verified: `manifest` (objects are there, with their sizes; their bytes stay unread), `data` (also read, and they hold what was uploaded).',
  }),
}));
export type VerifyAllBackupsOptions = OptionsOf<typeof verifyAllBackupsOptions>;

export interface VerifiedBackup {
  readonly backupId: string;
  readonly ok: boolean;
  readonly verdict: 'faithful' | 'copy-damaged' | 'unread';
  readonly findings: readonly Finding[];
}

export interface BackupsReport {
  /** Whether every backup is known to be whole. */
  readonly ok: boolean;
  readonly storeId: string;
  readonly level: (typeof LEVELS)[number];
  /** Oldest first. */
  readonly backups: readonly VerifiedBackup[];
  readonly totals: {
    readonly backups: number;
    readonly damaged: number;
    /** Of all backups together: what several share counts once. */
    readonly objects: number;
    readonly readBytes: number;
  };
  /** Why the damage could not be put on record in the repository. Null when it was, and when there is none. */
  readonly unrecorded: string | null;
}

/**
 * As `verifyBackup`, for all backups of a store; an object that several share is read once. A manifest that cannot be trusted is a
 * finding of its backup. `NOT_FOUND` when there is no backup.
 */
export async function verifyAllBackups(options: VerifyAllBackupsOptions): Promise<BackupsReport> {
  const { level, ...from } = verifyAllBackupsOptions.resolve('verifyAllBackups', options);
  return translated(async () => {
    const store = await storeOf(from);
    let bytesTotal = 0;
    const look = (control: RunControl) => ({ phase: 'verify', bytesProcessed: control.bytes, bytesTotal });
    return followed(environmentOf(from), from, look, async (control) => {
      const all = await allContents(store, control);
      if (level === 'data') bytesTotal = all.bytes;
      return verifyAll(store, all, level, control);
    });
  });
}

/** What the backups of a store hold together, each content once. */
interface AllContents {
  readonly ids: readonly string[];
  /** The path of each is its content. */
  readonly contents: ReadonlyMap<string, StoredFile>;
  readonly packs: BackupManifest['packs'];
  readonly compressed: BackupManifest['compressed'];
  readonly bytes: number;
}

async function allContents(store: StoreBackups, control: RunControl): Promise<AllContents> {
  const ids: string[] = [];
  const contents = new Map<string, StoredFile>();
  const packs: Record<string, number> = {};
  const compressed: Record<string, number> = {};
  let bytes = 0;
  for (const id of await store.ids()) {
    control.checkCancelled();
    const read = await readManifest(store, id);
    if (read === undefined) continue; // deleted since it was listed
    ids.push(id);
    if (read instanceof StillpointError) continue;
    Object.assign(packs, read.packs);
    Object.assign(compressed, read.compressed);
    for (const { sha256, stored } of read.files) {
      const path = contentOf({ sha256, stored });
      if (stored === undefined || contents.has(path)) continue;
      contents.set(path, { path, sha256, stored });
      bytes += stored.bytes;
    }
  }
  if (ids.length > 0) return { ids, contents, packs, compressed, bytes };
  throw new StillpointError('NOT_FOUND', `there is no backup in ${store.destination.url}`);
}

const contentOf = ({ sha256, stored }: Pick<StoredFile, 'sha256' | 'stored'>): string =>
  stored === undefined ? '' : `${stored.key} ${stored.offset} ${stored.bytes} ${sha256}`;

/** Undefined for one that is gone; the error of one that cannot be trusted. */
async function readManifest(
  store: StoreBackups,
  id: string,
): Promise<BackupManifest | StillpointError | undefined> {
  try {
    return await store.read(id);
  } catch (error) {
    if (error instanceof StillpointError && error.code === 'BACKUP_DAMAGED') return error;
    throw error;
  }
}

/** As `readManifest`; one that names what was not looked at is not trusted: it could not be read before, or was another. */
async function readAgain(store: StoreBackups, id: string, contents: AllContents['contents']) {
  const read = await readManifest(store, id);
  if (read === undefined || read instanceof StillpointError) return read;
  const isLookedAt = read.files.every((file) => file.stored === undefined || contents.has(contentOf(file)));
  return isLookedAt
    ? read
    : new StillpointError('BACKUP_DAMAGED', 'the manifest could not be read at first, or changed meanwhile');
}

async function verifyAll(
  store: StoreBackups,
  { ids, contents, packs, compressed }: AllContents,
  level: BackupsReport['level'],
  control: RunControl,
): Promise<BackupsReport> {
  const { storeId } = store;
  const merged = { files: [...contents.values()], packs, compressed, isSealed: store.sealer !== undefined };
  const { findings, damaged } = await checkObjects(store, merged, level, control);
  const unrecorded = await recordDamaged(store, damaged).then(
    () => null,
    (error) => toStillpointError(error).message,
  );
  const byContent = new Map(findings.map((finding) => [finding.path, finding]));
  const backups: VerifiedBackup[] = [];
  for (const id of ids) {
    control.checkCancelled();
    const read = await readAgain(store, id, contents); // to keep them all would take much memory
    if (read === undefined) continue; // deleted meanwhile
    const own =
      read instanceof StillpointError ? [untrusted(storeId, id, read)] : findingsOf(read, byContent);
    const verdict = own.length > 0 ? 'copy-damaged' : level === 'manifest' ? 'unread' : 'faithful';
    if (verdict === 'faithful') await recordReading(store, id, 'data').catch(warn);
    backups.push({ backupId: id, ok: verdict === 'faithful', verdict, findings: own });
  }
  const objects = new Set(merged.files.map(({ stored }) => stored!.key)).size;
  return {
    ok: backups.every(({ ok }) => ok),
    storeId,
    level,
    backups,
    totals: {
      backups: backups.length,
      damaged: backups.filter(({ verdict }) => verdict === 'copy-damaged').length,
      objects,
      readBytes: level === 'manifest' ? 0 : control.bytes,
    },
    unrecorded,
  };
}

const findingsOf = ({ files }: BackupManifest, byContent: ReadonlyMap<string, Finding>): Finding[] =>
  files.flatMap((file) => {
    const finding = byContent.get(contentOf(file));
    return finding === undefined ? [] : [{ ...finding, path: file.path }];
  });

const untrusted = (storeId: string, backupId: string, { message }: StillpointError): Finding =>
  copyDamage(manifestKey(storeId, backupId), null, 'MANIFEST_INVALID', message);
