/** Blocks that were read and checked, the most recently used ones up to a number of bytes. Look-ups use it, scans do not. */
export class BlockCache {
  readonly #limitBytes: number;
  /** In the order of last use. */
  readonly #blocks = new Map<string, Buffer>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get(table: bigint, block: number): Buffer | undefined {
    const key = `${table}:${block}`;
    const bytes = this.#blocks.get(key);
    if (bytes === undefined) return undefined;
    this.#blocks.delete(key);
    this.#blocks.set(key, bytes);
    return bytes;
  }

  add(table: bigint, block: number, bytes: Buffer): void {
    const key = `${table}:${block}`;
    if (bytes.byteLength > this.#limitBytes || this.#blocks.has(key)) return;
    this.#blocks.set(key, bytes);
    this.#bytes += bytes.byteLength;
    for (const [oldest, { byteLength }] of this.#blocks) {
      if (this.#bytes <= this.#limitBytes) break;
      this.#blocks.delete(oldest);
      this.#bytes -= byteLength;
    }
  }
}
