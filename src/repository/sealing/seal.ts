import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';

/**
 * The format of what is sealed: a header, then chunks of AES-256-GCM. `../README.md` draws it. A key seals one thing and is never
 * used again: HKDF makes it of the data key and the random salt in the header. Pure and synchronous.
 */

const MAGIC = Buffer.from('STPSEAL\x01', 'latin1');
const PLACE_AT = 16;
const PLACE_BYTES = 16;
const SALT_AT = 32;
export const SALT_BYTES = 32;
export const HEADER_BYTES = 64;
export const CHUNK_BYTES = 1024 * 1024;
export const TAG_BYTES = 16;
const NONCE_BYTES = 12;

export interface SealHeader {
  /** Which data key it was sealed with. */
  readonly generation: number;
  /** A keyed hash of salt, generation and the place where the sealed bytes belong. */
  readonly place: Uint8Array;
  readonly salt: Uint8Array;
}

export function encodeHeader({ generation, place, salt }: SealHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.set(MAGIC, 0);
  bytes.writeUInt32BE(generation, 8); // then four bytes of zeros
  bytes.set(place.subarray(0, PLACE_BYTES), PLACE_AT);
  bytes.set(salt, SALT_AT);
  return bytes;
}

/** Undefined where it is no header. */
export function decodeHeader(bytes: Buffer): SealHeader | undefined {
  const isHeader =
    bytes.byteLength === HEADER_BYTES &&
    MAGIC.equals(bytes.subarray(0, MAGIC.byteLength)) &&
    bytes.readUInt32BE(12) === 0;
  if (!isHeader) return undefined;
  return {
    generation: bytes.readUInt32BE(8),
    place: bytes.subarray(PLACE_AT, PLACE_AT + PLACE_BYTES),
    salt: bytes.subarray(SALT_AT, SALT_AT + SALT_BYTES),
  };
}

/** At least one: the chunk with the last flag says that nothing is cut. */
export const chunkCount = (contentBytes: number): number =>
  Math.max(1, Math.ceil(contentBytes / CHUNK_BYTES));

/** How many bytes content takes once it is sealed. */
export const sealedBytes = (contentBytes: number): number =>
  HEADER_BYTES + contentBytes + chunkCount(contentBytes) * TAG_BYTES;

/** Where a sealed chunk begins. */
export const chunkOffset = (index: number): number => HEADER_BYTES + index * (CHUNK_BYTES + TAG_BYTES);

/** Seals or opens the chunks of one sealed thing. */
export class ChunkCipher {
  readonly #key: Uint8Array;
  readonly #header: Buffer;
  readonly #context: Buffer;

  /** @param context Where the sealed bytes belong: they cannot be opened for another place. */
  constructor(dataKey: Uint8Array, header: SealHeader, context: string) {
    this.#key = new Uint8Array(hkdfSync('sha256', dataKey, header.salt, 'stillpoint seal 1', 32));
    this.#header = encodeHeader(header);
    this.#context = Buffer.from(context);
  }

  /** The ciphertext of a chunk, whose last piece is the tag. */
  seal(index: number, isLast: boolean, pieces: readonly Uint8Array[]): Buffer[] {
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(index, isLast));
    cipher.setAAD(this.#associated(index, isLast));
    const sealed = pieces.flatMap((piece) => inParts(piece, (part) => cipher.update(part)));
    cipher.final(); // a stream cipher: nothing is left
    return [...sealed, cipher.getAuthTag()];
  }

  /** The content in parts. Undefined when the chunk is not what was sealed as this chunk of this thing. */
  open(index: number, isLast: boolean, sealed: Uint8Array): Buffer[] | undefined {
    if (sealed.byteLength < TAG_BYTES) return undefined;
    const tagAt = sealed.byteLength - TAG_BYTES;
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonceOf(index, isLast), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(this.#associated(index, isLast));
    decipher.setAuthTag(sealed.subarray(tagAt));
    const content = inParts(sealed.subarray(0, tagAt), (part) => decipher.update(part));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return content;
  }

  #associated(index: number, isLast: boolean): Buffer {
    const place = Buffer.alloc(5);
    place.writeUInt32BE(index, 0);
    place.writeUInt8(isLast ? 1 : 0, 4);
    return Buffer.concat([this.#header, place, this.#context]);
  }
}

/** A larger result is memory that is new to the process each time, which takes three times as long as the cipher itself. */
const PART_BYTES = 64 * 1024;

function inParts(bytes: Uint8Array, update: (part: Uint8Array) => Buffer): Buffer[] {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.byteLength; at += PART_BYTES)
    parts.push(update(bytes.subarray(at, at + PART_BYTES)));
  return parts;
}

/** STREAM: zeros, the number of the chunk, the last flag. */
function nonceOf(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  nonce.writeUInt32BE(index, 7);
  nonce.writeUInt8(isLast ? 1 : 0, 11);
  return nonce;
}
