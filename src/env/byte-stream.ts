/** Chunks as they come, handed out in the sizes that are wanted. */
export class ByteStream {
  readonly #chunks: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#chunks =
      Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]();
  }

  /** Up to so many bytes, at least one, as they lie in memory; undefined at the end. */
  async next(limit: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#rest = next.value;
    }
    const taken = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(taken.byteLength);
    return taken;
  }

  /** Exactly so many bytes in one buffer; fewer where the chunks end before. */
  async take(count: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(count);
    return bytes.subarray(0, await this.fill(bytes));
  }

  /** Fills the buffer; resolves to how many bytes that were, fewer where the chunks end before. */
  async fill(bytes: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < bytes.byteLength) {
      const piece = await this.next(bytes.byteLength - filled);
      if (piece === undefined) break;
      bytes.set(piece, filled);
      filled += piece.byteLength;
    }
    return filled;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
