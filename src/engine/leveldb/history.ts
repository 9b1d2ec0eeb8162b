import { parseFileName } from '../../format/leveldb/file-name.ts';
import type { History } from '../engine.ts';
import type { LeveldbFacts } from './facts.ts';

/** How far the database had come. Both numbers only rise in the life of a database. */
interface Position {
  /** Of its last write, in decimal. */
  readonly sequence: string;
  /** Of the MANIFEST in use: a new one is begun at each opening. */
  readonly manifest: number;
}

export const history: History<Position> = { positionOf, setbackOf };

const isNumber = (text: unknown): text is string => typeof text === 'string' && /^\d{1,20}$/.test(text);

function setbackOf(now: Position, past: unknown): string | undefined {
  const { sequence, manifest } = (past ?? {}) as Partial<Position>;
  if (isNumber(sequence) && BigInt(now.sequence) < BigInt(sequence))
    return `its last write has the number ${now.sequence}, and ${sequence} was reached before`;
  if (typeof manifest === 'number' && now.manifest < manifest)
    return `its MANIFEST has the number ${now.manifest}, and ${manifest} was reached before`;
  return undefined;
}

function positionOf(facts: ReadonlyMap<string, unknown>): Position | undefined {
  let sequence: bigint | undefined;
  let manifest: number | undefined;
  const rise = (value: bigint): void => {
    if (sequence === undefined || value > sequence) sequence = value;
  };
  for (const [path, value] of facts) {
    const content = (value as LeveldbFacts | undefined)?.content;
    if (content?.kind === 'manifest') {
      if (isNumber(content.lastSequence)) rise(BigInt(content.lastSequence));
      manifest = parseFileName(path)?.number;
    } else if (content?.kind === 'log' && isNumber(content.next)) rise(BigInt(content.next) - 1n);
  }
  return sequence === undefined || manifest === undefined
    ? undefined
    : { sequence: String(sequence), manifest };
}
