import { bodyOf } from '../destination/destination.ts';
import { newUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import {
  isSetId,
  type MarkKind,
  markedBackupOf,
  markKey,
  marksPrefix,
  type ReadingMark,
  readingKey,
  readingName,
  readingOf,
  refutedKey,
  type SetPin,
  setPinKey,
  setPinOf,
  setPinsOf,
  verifiedPrefix,
} from './layout.ts';
import type { StoreBackups } from './store-backups.ts';

/** What is known of backups beside their manifests. The key of a mark says all; its content is for people who look at it. */

/**
 * What a reading of all of a backup came to:
 *
 * - `data`: its objects hold what was uploaded.
 * - `full`: and its content was proven.
 * - `unread`: nothing is wrong with its content as far as it could be read.
 * - `damaged`: its objects hold what was uploaded, and its content does not hold.
 */
const READINGS = ['data', 'full', 'unread', 'damaged'] as const;
type Reading = (typeof READINGS)[number];

/** These stand until a full proof refutes them that began when they were there. No clock decides which came first. */
const OBJECTIONS: readonly string[] = ['unread', 'damaged'] satisfies Reading[];

/** What the readings of a backup say together. */
export interface Verified {
  /** When it was last read and found whole; null: never. */
  readonly atMs: number | null;
  /** Whether its content was proven in full. */
  readonly isProven: boolean;
  /** Whether its content could not be read in full, and not proven in full since. */
  readonly isUnread: boolean;
  /** Whether its content was found damaged, and not proven in full since. */
  readonly isDamaged: boolean;
}

/** The ids of the backups with this mark. */
export async function readMarks(
  { destination, storeId }: StoreBackups,
  kind: MarkKind,
): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const { key } of destination.list(marksPrefix(kind, storeId))) {
    const id = markedBackupOf(kind, storeId, key);
    if (id !== undefined) ids.add(id);
  }
  return ids;
}

export const isMarked = async ({ destination, storeId }: StoreBackups, kind: MarkKind, backupId: string) =>
  (await destination.head(markKey(kind, storeId, backupId))) !== undefined;

export async function putMark(store: StoreBackups, kind: MarkKind, backupId: string): Promise<void> {
  const { destination, environment, storeId } = store;
  const content = { backup_id: backupId, [`${kind}_at_ms`]: environment.clock.nowMs() };
  const body = bodyOf(Buffer.from(`${JSON.stringify(content)}\n`));
  await destination.put(markKey(kind, storeId, backupId), body, {
    ifAbsent: true,
    makesRoom: kind === 'deleted',
  });
}

export const removeMark = ({ destination, storeId }: StoreBackups, kind: MarkKind, backupId: string) =>
  destination.delete([markKey(kind, storeId, backupId)]);

/**
 * From now on no retention removes the backup. `NOT_FOUND` when there is none. Pins and deletions each write their mark before they
 * look for the other's, so that not both go on.
 *
 * @param set The fleet backup that needs it. Its pin is one of its own, beside that of people.
 */
export async function pin(store: StoreBackups, backupId: string, set?: string): Promise<void> {
  const { destination, environment, storeId } = store;
  if (set !== undefined && !isSetId(set))
    throw new StillpointError(
      'INVALID_REQUEST',
      `a fleet backup called ${JSON.stringify(set)} cannot pin anything`,
    );
  const key = set === undefined ? markKey('pinned', storeId, backupId) : setPinKey(storeId, backupId, set);
  const wasPinned = (await destination.head(key)) !== undefined;
  const content = { backup_id: backupId, ...(set !== undefined && { fleet_backup_id: set }) };
  const text = JSON.stringify({ ...content, pinned_at_ms: environment.clock.nowMs() });
  await destination.put(key, bodyOf(Buffer.from(`${text}\n`)), { ifAbsent: true });
  if (!(await isMarked(store, 'deleted', backupId)) && (await store.has(backupId))) return;
  if (!wasPinned) await destination.delete([key]);
  throw new StillpointError('NOT_FOUND', `the backup ${backupId} is deleted, or is about to be`);
}

/** The pins of fleet backups, of one backup or of all. */
export async function readSetPins(
  { destination, storeId }: StoreBackups,
  backupId?: string,
): Promise<SetPin[]> {
  const pins: SetPin[] = [];
  for await (const { key } of destination.list(setPinsOf(storeId, backupId))) {
    const one = setPinOf(storeId, key);
    if (one !== undefined) pins.push(one);
  }
  return pins;
}

/** What pins a backup, in words for people; empty when nothing does. */
export async function pinsOn(store: StoreBackups, backupId: string): Promise<string[]> {
  const byHand = (await isMarked(store, 'pinned', backupId)) ? ['pinned'] : [];
  return [...byHand, ...(await readSetPins(store, backupId)).map(pinnedBy)];
}

/** The same of all backups that are pinned. */
export async function readPins(store: StoreBackups): Promise<Map<string, string[]>> {
  const pins = new Map([...(await readMarks(store, 'pinned'))].map((id) => [id, ['pinned']]));
  for (const one of await readSetPins(store)) {
    const { backupId } = one;
    pins.set(backupId, [...(pins.get(backupId) ?? []), pinnedBy(one)]);
  }
  return pins;
}

const pinnedBy = ({ set }: SetPin): string => `pinned by the fleet backup ${set}`;

/** Ends the pin by hand, and those of all fleet backups: who says so knows this backup. Resolves to these fleet backups. */
export async function unpin(store: StoreBackups, backupId: string): Promise<string[]> {
  const bySets = await readSetPins(store, backupId);
  await store.destination.delete([
    markKey('pinned', store.storeId, backupId),
    ...bySets.map(({ key }) => key),
  ]);
  return bySets.map(({ set }) => set);
}

/** The objections to a backup that a full proof refutes which begins now. */
export async function readObjections(
  { destination, storeId }: StoreBackups,
  backupId: string,
): Promise<string[]> {
  const names: string[] = [];
  for await (const { key } of destination.list(`${verifiedPrefix(storeId)}${backupId}/`)) {
    const mark = readingOf(storeId, key);
    if (mark !== undefined && !mark.refutes && OBJECTIONS.includes(mark.level)) names.push(mark.name);
  }
  return names;
}

/** Puts on record what a reading of all of a backup came to. `objections`: those that were there before it began. */
export async function recordReading(
  { destination, environment, storeId }: StoreBackups,
  backupId: string,
  reading: Reading,
  objections: readonly string[] = [],
): Promise<void> {
  const put = (key: string) => destination.put(key, bodyOf(Buffer.from('\n')), { ifAbsent: true });
  const nowMs = environment.clock.nowMs();
  await put(readingKey(storeId, backupId, readingName(reading, nowMs, newUlid(nowMs))));
  if (reading !== 'full') return;
  for (const name of objections) {
    const key = refutedKey(storeId, backupId, name);
    if ((await destination.head(key)) === undefined) await put(key);
  }
}

/** By backup, those that were ever read. */
export async function readVerified({ destination, storeId }: StoreBackups): Promise<Map<string, Verified>> {
  const byBackup = new Map<string, ReadingMark[]>();
  for await (const { key } of destination.list(verifiedPrefix(storeId))) {
    const mark = readingOf(storeId, key);
    if (mark === undefined || !READINGS.some((one) => one === mark.level)) continue;
    const marks = byBackup.get(mark.backupId);
    if (marks === undefined) byBackup.set(mark.backupId, [mark]);
    else marks.push(mark);
  }
  return new Map([...byBackup].map(([backupId, marks]) => [backupId, verifiedBy(marks)]));
}

/** Marks of earlier versions have no id, and nothing says what they refute: there the later one counts. */
const isOld = ({ name, refutes }: ReadingMark): boolean => !refutes && /^[a-z]+-\d+$/.test(name);

function verifiedBy(marks: readonly ReadingMark[]): Verified {
  const old = marks.filter(isOld);
  const lastFullMs = Math.max(...old.filter(({ level }) => level === 'full').map(({ atMs }) => atMs));
  const refuted = new Set([
    ...marks.filter(({ refutes }) => refutes).map(({ name }) => name),
    ...old.filter(({ atMs }) => atMs < lastFullMs).map(({ name }) => name),
  ]);
  const has = (reading: Reading) =>
    marks.some(({ level, name, refutes }) => level === reading && !refutes && !refuted.has(name));
  const isDamaged = has('damaged');
  const whole = marks.filter(({ level }) => level === 'data' || level === 'full');
  return {
    atMs: whole.length === 0 ? null : Math.max(...whole.map(({ atMs }) => atMs)),
    isProven: has('full') && !isDamaged,
    isUnread: has('unread'),
    isDamaged,
  };
}

/** Of a backup that is gone. */
export async function forgetVerified(
  { destination, storeId }: StoreBackups,
  backupId: string,
): Promise<void> {
  const keys: string[] = [];
  for await (const { key } of destination.list(`${verifiedPrefix(storeId)}${backupId}/`)) keys.push(key);
  await destination.delete(keys);
}
