import type { FileStat, OpenFile } from '../../src/env/file-system.ts';

/**
 * A file that is only in memory, for thousands of damaged variants. `bytes` may be replaced or changed at any time, as an
 * owner would; `onRead` is told before each read.
 */
export class MemoryFile implements OpenFile {
  readonly fd = -1;
  readonly path = 'memory';
  bytes: Buffer;
  mtimeNs = 0n;
  reads = 0;
  bytesRead = 0;
  onRead: ((file: MemoryFile) => void) | undefined;

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.reads++;
    this.onRead?.(this);
    if (position >= this.bytes.byteLength) return 0;
    const count = this.bytes.copy(target, 0, position);
    this.bytesRead += count;
    return count;
  }

  async stat(): Promise<FileStat> {
    const size = this.bytes.byteLength;
    const { mtimeNs } = this;
    return {
      kind: 'file',
      sizeBytes: size,
      allocatedBytes: size,
      ino: 1n,
      dev: 1n,
      mtimeNs,
      links: 1,
      mode: 0o600,
    };
  }

  async write(): Promise<number> {
    throw new Error('nobody writes here');
  }

  async truncate(): Promise<void> {}
  async sync(): Promise<void> {}
  async syncData(): Promise<void> {}
  async close(): Promise<void> {}
}
