import type { Region } from './table-layout.ts';

/** Cuts a stream of bytes into regions and the gaps between them. Each region is handed over whole. */
export class BlockCutter {
  readonly #regions: Iterator<Region, void>;
  readonly #take: (region: Region, sealed: Buffer) => void;
  readonly #pass: (between: Buffer) => void;
  #region: Region | undefined;
  #assembled: Buffer | undefined; // a region that spans pieces
  #at = 0; // file offset of the next byte

  /** `regions` ascend without overlap and end within the file. */
  constructor(
    regions: Iterator<Region, void>,
    take: (region: Region, sealed: Buffer) => void,
    pass: (between: Buffer) => void,
  ) {
    this.#regions = regions;
    this.#take = take;
    this.#pass = pass;
    this.#advance();
  }

  push(piece: Buffer): void {
    const begin = this.#at;
    const end = begin + piece.length;
    let passed = begin;
    for (let region = this.#region; region !== undefined && region.offset < end; region = this.#region) {
      const from = Math.max(region.offset, begin) - begin;
      const regionEnd = region.offset + region.length;
      if (begin + from > passed) this.#pass(piece.subarray(passed - begin, from));
      passed = Math.min(regionEnd, end);
      if (regionEnd > end || this.#assembled !== undefined) {
        // The layout was checked against the file's size, so this is no larger than the file.
        this.#assembled ??= Buffer.allocUnsafe(region.length);
        const into = begin + from - region.offset;
        piece.copy(this.#assembled, into, from, Math.min(piece.length, regionEnd - begin));
        if (regionEnd > end) break;
      }
      const sealed = this.#assembled ?? piece.subarray(from, regionEnd - begin);
      this.#assembled = undefined;
      this.#take(region, sealed);
      this.#advance();
    }
    if (passed < end) this.#pass(piece.subarray(passed - begin));
    this.#at = end;
  }

  #advance(): void {
    const { done, value } = this.#regions.next();
    this.#region = done ? undefined : value;
  }
}
