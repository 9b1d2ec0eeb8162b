/** A database that rows are put into: for what was read until all of it is known, and for the new one in the end. */
export interface Store {
  /** In the order of the keys. */
  getMany(keys: readonly Buffer[]): Promise<readonly (Buffer | undefined)[]>;
  put(rows: readonly Row[]): Promise<void>;
  /** In the order of their keys. */
  rows(): AsyncIterable<Row>;
  close(): Promise<void>;
}

export type Row = readonly [key: Buffer, value: Buffer];
