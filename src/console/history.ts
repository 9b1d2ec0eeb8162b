import type { Snapshot, StoredBackup } from './api.ts';
import type { Stored } from './offsite.ts';
import { day, time } from './text.ts';

/** Beyond this many points, days other than the newest are folded, and so is what a day has beyond them. */
const FOLD_BEYOND = 50;

/** What one can go back to: a snapshot beside the database, or a backup off the machine. */
export type Point =
  | { readonly kind: 'snapshot'; readonly id: string; readonly atMs: number; readonly snapshot: Snapshot }
  | {
      readonly kind: 'backup';
      readonly id: string;
      readonly atMs: number;
      readonly backup: StoredBackup;
      readonly repository: string;
    };

export interface Day {
  readonly key: string;
  readonly name: string;
  /** Newest first. */
  readonly points: readonly Point[];
  readonly isFolded: boolean;
}

/** Newest first. */
export function pointsOf(snapshots: readonly Snapshot[], stored: readonly Stored[]): Point[] {
  const points: Point[] = snapshots.map((snapshot) => ({
    kind: 'snapshot',
    id: snapshot.name,
    atMs: snapshot.created_at_ms,
    snapshot,
  }));
  for (const { repository, backups } of stored) {
    for (const backup of backups) {
      const id = `${repository}/${backup.backup_id}`;
      points.push({ kind: 'backup', id, atMs: backup.created_at_ms, backup, repository });
    }
  }
  // Of one moment, what is off the machine comes below. Names keep the order of snapshots of one second.
  return points.reverse().sort((a, b) => b.atMs - a.atMs);
}

/** By day, in the order that they have. */
export function byDay(points: readonly Point[]): Day[] {
  const days = new Map<string, Point[]>();
  for (const point of points) {
    const name = day(point.atMs);
    const known = days.get(name);
    if (known === undefined) days.set(name, [point]);
    else known.push(point);
  }
  const isLong = points.length > FOLD_BEYOND;
  return [...days].flatMap(inParts).map((part, index) => ({ ...part, isFolded: isLong && index > 0 }));
}

/** Hundreds of lines that nobody asked for would take longer than all else on the page. */
function inParts([day, points]: readonly [string, readonly Point[]]): Omit<Day, 'isFolded'>[] {
  const parts: Omit<Day, 'isFolded'>[] = [];
  for (let from = 0; from < points.length; from += FOLD_BEYOND) {
    const name = from === 0 ? day : `${time(points[from]!.atMs)} and before`;
    parts.push({ key: `${day} ${from}`, name, points: points.slice(from, from + FOLD_BEYOND) });
  }
  return parts;
}

export interface Standing {
  readonly word: string;
  readonly tone: 'good' | 'bad' | 'unsure';
  readonly explanation: string;
}

/** What is known of a snapshot, in a word and in a sentence. */
export function standingOf({ state, level, damage }: Snapshot): Standing {
  switch (state) {
    case 'good':
      return level === 'full'
        ? { word: 'proven', tone: 'good', explanation: 'Every entry was read and is right.' }
        : {
            word: `proven: ${level}`,
            tone: 'good',
            explanation:
              level === 'open'
                ? 'Checksums hold, the log replays and the tables open; not every entry was read.'
                : 'The checksums of its files hold; the database in them was not looked at.',
          };
    case 'damaged':
      return { word: 'damaged', tone: 'bad', explanation: damage ?? 'It was found damaged.' };
    case 'unread':
      return { word: 'not read', tone: 'unsure', explanation: damage ?? 'Not all of it could be read.' };
    default:
      return { word: 'not proven', tone: 'unsure', explanation: 'No proof of it is on record. Verify it.' };
  }
}

/** The same of a backup off the machine. */
export function standingOfBackup({ damaged, problem, verified_at_ms }: StoredBackup): Standing {
  if (damaged) return { word: 'damaged', tone: 'bad', explanation: problem ?? 'It was found damaged.' };
  if (problem !== null) return { word: 'not read', tone: 'unsure', explanation: problem };
  return verified_at_ms === null
    ? {
        word: 'not verified',
        tone: 'unsure',
        explanation: 'It was not read back in full since it was stored.',
      }
    : { word: 'verified', tone: 'good', explanation: 'It was read back in full and is whole.' };
}

/** From the oldest to the newest snapshot that is proven and not damaged. */
export function recoverableWindow(
  snapshots: readonly Snapshot[],
): { fromMs: number; toMs: number } | undefined {
  const good = snapshots.filter(({ state }) => state === 'good').map(({ created_at_ms }) => created_at_ms);
  return good.length === 0 ? undefined : { fromMs: Math.min(...good), toMs: Math.max(...good) };
}
