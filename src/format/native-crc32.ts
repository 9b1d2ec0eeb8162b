import { createRequire } from 'node:module';

export type Checksum = (bytes: Uint8Array, seed?: number) => number;

/** Both checksums by the processor's own instructions; undefined where the package has no build for this platform. */
export const nativeCrc32: { readonly crc32: Checksum; readonly crc32c: Checksum } | undefined = load();

function load() {
  try {
    return createRequire(import.meta.url)('@node-rs/crc32') as { crc32: Checksum; crc32c: Checksum };
  } catch {
    return undefined;
  }
}
