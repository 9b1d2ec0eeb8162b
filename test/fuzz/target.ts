/** A decoder with what it promises of every input. */
export interface Target {
  readonly name: string;
  /** Honest inputs to start from. */
  seeds(): readonly Uint8Array[] | Promise<readonly Uint8Array[]>;
  /**
   * Decodes and holds the result against what must be true of it; throws for a defect. `refused`: the decoder took it for
   * nothing, in the declared way.
   */
  run(input: Buffer): Verdict | Promise<Verdict>;
  /** Makes checksums anew in place, so that what stands behind them is reached. */
  fix?(input: Buffer): void;
  /** Words of the format, to be put anywhere. */
  readonly words?: readonly string[];
  /** Inputs grow no longer. Default: 4 KiB. */
  readonly maxBytes?: number;
}

export type Verdict = 'refused' | undefined;

/** Something is true of every input, or the decoder has a defect. */
export function claim(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`does not hold: ${what}`);
}

/** Numbers taken off the beginning of an input, for what a decoder is told beside the bytes. */
export class Draw {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Less than `limit`, which is at most 65,536. 0 once the input is used up. */
  below(limit: number): number {
    const high = this.#bytes[this.#at++] ?? 0;
    const low = this.#bytes[this.#at++] ?? 0;
    return ((high << 8) | low) % limit;
  }

  rest(): Buffer {
    return this.#bytes.subarray(Math.min(this.#at, this.#bytes.byteLength));
  }

  /** What precedes `bytes` so that `below` returns these numbers. */
  static with(numbers: readonly number[], bytes: Uint8Array): Buffer {
    return Buffer.concat([Buffer.from(numbers.flatMap((number) => [number >> 8, number & 0xff])), bytes]);
  }
}

/** Cuts bytes into pieces as the numbers say, over and over: decoders that are fed must not care. */
export function piecesOf(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, turn = 0; at < bytes.byteLength; turn++) {
    const size = 1 + sizes[turn % sizes.length]!;
    pieces.push(Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return pieces;
}
