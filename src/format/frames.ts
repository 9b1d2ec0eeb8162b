import * as zlib from 'node:zlib';
import { StillpointError } from '../errors.ts';

/**
 * Compressed content: `STPCOMP` and 0x01, then frames. A frame is the content of up to a megabyte: four bytes with the length of
 * what follows (big-endian), then that. It is Brotli where it is shorter than the content, else the content itself.
 * How long the content is stands elsewhere, so that nothing in these bytes decides how much memory is taken.
 */

export const FRAMES_MAGIC = Buffer.from('STPCOMP\x01', 'latin1');
/** Of content in each frame but the last, which may be shorter. */
export const FRAME_BYTES = 1024 * 1024;
export const FRAME_HEADER_BYTES = 4;

/** Higher levels take twice the time and more, for a twentieth of the bytes. */
const QUALITY = 1;
/** What Brotli adds to content that it cannot shorten is far less. */
const SLACK_BYTES = 1024;

export const compressBlock = (content: Uint8Array): Buffer =>
  zlib.brotliCompressSync(content, {
    chunkSize: content.byteLength + SLACK_BYTES, // one buffer; many small ones that are joined are as much memory again
    params: {
      [zlib.constants.BROTLI_PARAM_QUALITY]: QUALITY,
      [zlib.constants.BROTLI_PARAM_SIZE_HINT]: content.byteLength,
    },
  });

/** Throws unless the block holds exactly so many bytes; never makes more of it. */
export function expandBlock(block: Uint8Array, contentBytes: number): Buffer {
  const content = zlib.brotliDecompressSync(block, expandOptions(contentBytes));
  if (content.byteLength !== contentBytes)
    throw new StillpointError(
      'INTERNAL',
      `a block holds ${content.byteLength} bytes, and not ${contentBytes}`,
    );
  return content;
}

/** For a block that is expanded elsewhere: at most as long as the content must be. */
export const expandOptions = (contentBytes: number): zlib.BrotliOptions => ({
  maxOutputLength: contentBytes,
  chunkSize: Math.max(64, contentBytes + 1), // of a buffer that is full, zlib takes another one of the same size
});

/** A frame of this content, and the content as reading the frame gives it. */
export function encodeFrame(content: Buffer): { readonly frame: Buffer[]; readonly content: Buffer } {
  const block = compressBlock(content);
  const isShorter = block.byteLength < content.byteLength;
  const stored = isShorter ? block : content;
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUInt32BE(stored.byteLength);
  return { frame: [header, stored], content: isShorter ? expandBlock(block, content.byteLength) : content };
}
