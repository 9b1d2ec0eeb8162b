import { parseFileName } from '../../format/leveldb/file-name.ts';
import type { History } from '../engine.ts';
import type { LeveldbFacts } from './facts.ts';

/** How far the database had come. Both numbers only rise in the life of a database. */
interface Position {
  /** Of its last write. */
  readonly sequence: bigint;
  /** Of the MANIFEST in use: a new one is begun at each opening. */
  readonly manifest: number;
}

export const history: History<Position> = { positionOf, setbackOf };

function setbackOf(now: Position, before: Position): string | undefined {
  if (now.sequence < before.sequence)
    return `its last write has the number ${now.sequence}, and ${before.sequence} was reached before`;
  if (now.manifest < before.manifest)
    return `its MANIFEST has the number ${now.manifest}, and ${before.manifest} was reached before`;
  return undefined;
}

function positionOf(facts: ReadonlyMap<string, unknown>): Position | undefined {
  let sequence: bigint | undefined;
  let manifest: number | undefined;
  const rise = (text: string | null): void => {
    if (text === null || !/^\d{1,20}$/.test(text)) return;
    const value = BigInt(text);
    if (sequence === undefined || value > sequence) sequence = value;
  };
  for (const [path, value] of facts) {
    const content = (value as LeveldbFacts | undefined)?.content;
    if (content?.kind === 'manifest') {
      rise(content.lastSequence);
      manifest = parseFileName(path)?.number;
    } else if (content?.kind === 'log' && content.next !== null && /^\d{1,20}$/.test(content.next)) {
      rise(String(BigInt(content.next) - 1n));
    }
  }
  return sequence === undefined || manifest === undefined ? undefined : { sequence, manifest };
}
