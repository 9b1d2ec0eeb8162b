/** An entry's place in the order, its key somewhere in `bytes`. */
export interface Position {
  bytes: Buffer;
  keyAt: number;
  valueAt: number;
  timestampHigh: number;
  timestampLow: number;
  sequenceHigh: number;
  sequenceLow: number;
}

export interface Halves {
  high: number;
  low: number;
}
