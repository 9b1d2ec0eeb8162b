/** What one file's check tells the check of them all. It may come back from a file, so it is looked at before use. */
export type LsmFacts = TableFacts | LogFacts | CheckpointFacts;

export interface TableFacts {
  readonly kind: 'table';
  /** Decimal u64, as are all that follow. */
  readonly id: string;
  readonly entries: string;
  readonly minTimestamp: string;
  readonly maxTimestamp: string;
}

export interface LogFacts {
  readonly kind: 'log';
  readonly firstLsn: string | null;
  readonly lastLsn: string | null;
  /** Whether all of the live range was replayed. */
  readonly isWhole: boolean;
}

export interface CheckpointFacts {
  readonly kind: 'checkpoint';
  readonly lsn: string;
}

const isU64 = (value: unknown): value is string => typeof value === 'string' && /^[0-9]{1,20}$/.test(value);

export function readFacts(value: unknown): LsmFacts | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const facts = value as Record<string, unknown>;
  const isKnown =
    (facts.kind === 'table' && isU64(facts.maxTimestamp)) ||
    (facts.kind === 'log' &&
      (facts.lastLsn === null || isU64(facts.lastLsn)) &&
      typeof facts.isWhole === 'boolean') ||
    (facts.kind === 'checkpoint' && isU64(facts.lsn));
  return isKnown ? (value as LsmFacts) : undefined;
}
