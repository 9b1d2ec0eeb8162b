import { crc32c } from '../../format/crc32c.ts';
import { parseFileName } from '../../format/leveldb/file-name.ts';
import type { History } from '../engine.ts';
import type { LeveldbFacts, TableListing } from './facts.ts';

/** How far the database had come. The numbers only rise in the life of a database. */
interface Position {
  /** Of its last write, in decimal. */
  readonly sequence: string;
  /** Of the MANIFEST in use: a new one is begun at each opening. */
  readonly manifest: number;
  /** The number and the fingerprint of its newest tables: a number is given once in a life. Absent in positions of older versions. */
  readonly tables?: readonly (readonly [number: number, fingerprint: number])[];
}

/** So many tables tell one life from another; a position stays small. */
const TABLES = 128;

export const history: History<Position> = { positionOf, setbackOf };

const isNumber = (text: unknown): text is string => typeof text === 'string' && /^\d{1,20}$/.test(text);

function setbackOf(now: Position, past: unknown): string | undefined {
  const { sequence, manifest, tables } = (past ?? {}) as Partial<Position>;
  if (isNumber(sequence) && BigInt(now.sequence) < BigInt(sequence))
    return `its last write has the number ${now.sequence}, and ${sequence} was reached before`;
  if (typeof manifest === 'number' && now.manifest < manifest)
    return `its MANIFEST has the number ${now.manifest}, and ${manifest} was reached before`;
  const known = new Map(now.tables);
  for (const entry of Array.isArray(tables) ? tables : []) {
    const [number, fingerprint] = Array.isArray(entry) ? entry : [];
    if (known.has(number) && known.get(number) !== fingerprint)
      return `its table ${number} is another one than before`;
  }
  return undefined;
}

const fingerprintOf = ({ sizeBytes, smallest, largest }: TableListing): number =>
  crc32c(Buffer.from(`${sizeBytes} ${smallest} ${largest}`));

/** The list may come back from a file. */
const newestTables = (tables: readonly TableListing[]): NonNullable<Position['tables']> =>
  (Array.isArray(tables) ? tables : [])
    .filter((table) => typeof table?.number === 'number')
    .toSorted((a, b) => a.number - b.number)
    .slice(-TABLES)
    .map((table) => [table.number, fingerprintOf(table)]);

function positionOf(facts: ReadonlyMap<string, unknown>): Position | undefined {
  let sequence: bigint | undefined;
  let manifest: number | undefined;
  let tables: Position['tables'] = [];
  const rise = (value: bigint): void => {
    if (sequence === undefined || value > sequence) sequence = value;
  };
  for (const [path, value] of facts) {
    const content = (value as LeveldbFacts | undefined)?.content;
    if (content?.kind === 'manifest') {
      if (isNumber(content.lastSequence)) rise(BigInt(content.lastSequence));
      manifest = parseFileName(path)?.number;
      tables = newestTables(content.tables);
    } else if (content?.kind === 'log' && isNumber(content.next)) rise(BigInt(content.next) - 1n);
  }
  return sequence === undefined || manifest === undefined
    ? undefined
    : { sequence: String(sequence), manifest, tables };
}
