import { isUlid } from '../env/ulid.ts';

/** The keys of a repository. `README.md` draws the tree. */

/** No pack is larger: a restore holds a few of them in memory. */
export const PACK_LIMIT_BYTES = 8 * 1024 * 1024;

export const REPOSITORY_KEY = 'stillpoint-repository.json';
export const STORES = 'stores/';

export const keysPrefix = (repositoryId: string): string => `keys/${repositoryId}/`;

export const keysKey = (repositoryId: string, revision: number): string =>
  `${keysPrefix(repositoryId)}${String(revision).padStart(8, '0')}.json`;

/** The revision in the key of a key document of this repository. */
export function keysRevisionOf(repositoryId: string, key: string): number | undefined {
  const revision = Number(/(\d{8})\.json$/.exec(key)?.[1]);
  return revision > 0 && key === keysKey(repositoryId, revision) ? revision : undefined;
}

export const storeKey = (storeId: string): string => `${STORES}${storeId}/store.json`;
export const backupsPrefix = (storeId: string): string => `${STORES}${storeId}/backups/`;

const backupPrefix = (storeId: string, backupId: string): string => `${backupsPrefix(storeId)}${backupId}/`;

export const manifestKey = (storeId: string, backupId: string): string =>
  `${backupPrefix(storeId, backupId)}manifest`;

export const packKey = (storeId: string, backupId: string, index: number): string =>
  `${backupPrefix(storeId, backupId)}small-${index}`;

/**
 * @param id 64 hexadecimal digits, from what the object holds.
 * @param nonce 32 hexadecimal digits, new for each upload: no key is ever used twice, also after a deletion.
 */
export const objectKey = (storeId: string, id: string, nonce: string): string =>
  `${STORES}${storeId}/objects/${id.slice(0, 2)}/${id}-${nonce}`;

export const damagedPrefix = (storeId: string): string => `${STORES}${storeId}/damaged/`;

/** The marker that says that an object or a pack of this store is damaged. */
export const damagedKey = (storeId: string, key: string): string =>
  `${damagedPrefix(storeId)}${below(storeId, key)}`;

/** The key of the object that a marker is about; undefined where it is no such marker. */
export function damagedObjectOf(storeId: string, marker: string): string | undefined {
  const prefix = damagedPrefix(storeId);
  const key = `${STORES}${storeId}/${marker.slice(prefix.length)}`;
  const isOurs = marker.startsWith(prefix) && (isObjectKey(storeId, key) || isPackKey(storeId, key));
  return isOurs ? key : undefined;
}

/** The id in the key of an object's folder or manifest, of that store; undefined where it is no such key. */
export function backupIdOf(storeId: string, key: string): string | undefined {
  const prefix = backupsPrefix(storeId);
  if (!key.startsWith(prefix) || !key.endsWith('/manifest')) return undefined;
  const id = key.slice(prefix.length, -'/manifest'.length);
  return isUlid(id) ? id : undefined;
}

/**
 * What a key alone says of a backup:
 * - `pinned`: it is to stay.
 * - `deleted`: it is being deleted, or was.
 */
export const MARK_KINDS = ['pinned', 'deleted'] as const;
export type MarkKind = (typeof MARK_KINDS)[number];

export const marksPrefix = (kind: MarkKind, storeId: string): string => `${STORES}${storeId}/${kind}/`;

export const markKey = (kind: MarkKind, storeId: string, backupId: string): string =>
  `${marksPrefix(kind, storeId)}${backupId}`;

export function markedBackupOf(kind: MarkKind, storeId: string, key: string): string | undefined {
  const prefix = marksPrefix(kind, storeId);
  const id = key.slice(prefix.length);
  return key.startsWith(prefix) && isUlid(id) ? id : undefined;
}

const setPinsPrefix = (storeId: string): string => `${STORES}${storeId}/fleet-pins/`;

/** Pins of one backup, or of all, each by the fleet backup that it is part of. */
export const setPinsOf = (storeId: string, backupId?: string): string =>
  `${setPinsPrefix(storeId)}${backupId === undefined ? '' : `${backupId}/`}`;

const SET_ID = /^[A-Za-z0-9][A-Za-z0-9-]{0,119}$/;

/** Whether a fleet backup of that id can have pins. */
export const isSetId = (set: string): boolean => SET_ID.test(set);

export const setPinKey = (storeId: string, backupId: string, set: string): string =>
  `${setPinsOf(storeId, backupId)}${set}`;

export interface SetPin {
  readonly key: string;
  readonly backupId: string;
  readonly set: string;
}

export function setPinOf(storeId: string, key: string): SetPin | undefined {
  const [backupId = '', set = '', ...more] = key.slice(setPinsPrefix(storeId).length).split('/');
  return isUlid(backupId) && isSetId(set) && more.length === 0 ? { key, backupId, set } : undefined;
}

export const verifiedPrefix = (storeId: string): string => `${STORES}${storeId}/verified/`;

/** The name of a mark that says what a reading of a backup came to. With `id` no two are the same, whatever the clocks say. */
export const readingName = (level: string, atMs: number, id: string): string =>
  `${level}-${String(atMs).padStart(15, '0')}-${id}`;

export const readingKey = (storeId: string, backupId: string, name: string): string =>
  `${verifiedPrefix(storeId)}${backupId}/${name}`;

/** Says that a full proof, which began when that mark was there, has refuted it. */
export const refutedKey = (storeId: string, backupId: string, name: string): string =>
  readingKey(storeId, backupId, `refuted-${name}`);

export interface ReadingMark {
  readonly backupId: string;
  readonly name: string;
  readonly level: string;
  readonly atMs: number;
  /** It says that the mark of this name is refuted. */
  readonly refutes: boolean;
}

export function readingOf(storeId: string, key: string): ReadingMark | undefined {
  const prefix = verifiedPrefix(storeId);
  const [, backupId, refuted, name, level, digits] =
    /^([0-9A-Z]{26})\/(refuted-)?(([a-z]+)-(\d{15})(?:-[0-9A-Z]{26})?)$/.exec(key.slice(prefix.length)) ?? [];
  if (!key.startsWith(prefix) || backupId === undefined || !isUlid(backupId)) return undefined;
  return { backupId, name: name!, level: level!, atMs: Number(digits), refutes: refuted !== undefined };
}

export const objectsPrefix = (storeId: string): string => `${STORES}${storeId}/objects/`;
export const condemnedPrefix = (storeId: string): string => `${STORES}${storeId}/condemned/`;

/** The three objects of one sweep: its beginning, which tells the destination's time, its list, and that it deleted all of that. */
export const SWEEP_STEPS = ['began', 'list', 'done'] as const;
export type SweepStep = (typeof SWEEP_STEPS)[number];

export const sweepKey = (storeId: string, sweepId: string, step: SweepStep): string =>
  `${condemnedPrefix(storeId)}${sweepId}/${step}`;

export function sweepOf(
  storeId: string,
  key: string,
): { readonly sweepId: string; readonly step: SweepStep } | undefined {
  const prefix = condemnedPrefix(storeId);
  const [sweepId = '', name = ''] = key.slice(prefix.length).split('/');
  const step = SWEEP_STEPS.find((one) => one === name);
  if (step === undefined || !isUlid(sweepId) || key !== sweepKey(storeId, sweepId, step)) return undefined;
  return { sweepId, step };
}

/** The id in the key of a store's folder. */
export function storeIdOf(key: string): string | undefined {
  const id = key.slice(STORES.length, -1);
  return key === `${STORES}${id}/` && isUlid(id) ? id : undefined;
}

/** Whether it is the key of an object of this store. */
export function isObjectKey(storeId: string, key: string): boolean {
  const [, shard, id] =
    /^objects\/([0-9a-f]{2})\/([0-9a-f]{64})-[0-9a-f]{32}$/.exec(below(storeId, key)) ?? [];
  return id?.startsWith(shard!) === true;
}

/** Whether it is the key of a pack of this store. */
export function isPackKey(storeId: string, key: string): boolean {
  const [, backupId] = /^backups\/([0-9A-Z]{26})\/small-\d{1,6}$/.exec(below(storeId, key)) ?? [];
  return backupId !== undefined && isUlid(backupId);
}

function below(storeId: string, key: string): string {
  const prefix = `${STORES}${storeId}/`;
  return key.startsWith(prefix) ? key.slice(prefix.length) : '';
}
