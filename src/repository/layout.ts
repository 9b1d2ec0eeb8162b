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
