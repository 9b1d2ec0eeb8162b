import type { Snapshot } from './api.ts';
import { day } from './text.ts';

/** Beyond this many snapshots, days other than the newest are folded. */
const FOLD_BEYOND = 50;

export interface Day {
  readonly name: string;
  /** Newest first. */
  readonly snapshots: readonly Snapshot[];
  readonly isFolded: boolean;
}

/** The snapshots by day, newest first. */
export function byDay(oldestFirst: readonly Snapshot[]): Day[] {
  const days = new Map<string, Snapshot[]>();
  for (const snapshot of [...oldestFirst].reverse()) {
    const name = day(snapshot.created_at_ms);
    const known = days.get(name);
    if (known === undefined) days.set(name, [snapshot]);
    else known.push(snapshot);
  }
  const isLong = oldestFirst.length > FOLD_BEYOND;
  return [...days].map(([name, snapshots], index) => ({ name, snapshots, isFolded: isLong && index > 0 }));
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

/** From the oldest to the newest snapshot that is proven and not damaged. */
export function recoverableWindow(
  snapshots: readonly Snapshot[],
): { fromMs: number; toMs: number } | undefined {
  const good = snapshots.filter(({ state }) => state === 'good').map(({ created_at_ms }) => created_at_ms);
  return good.length === 0 ? undefined : { fromMs: Math.min(...good), toMs: Math.max(...good) };
}
