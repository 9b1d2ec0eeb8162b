import { randomBytes } from 'node:crypto';
import type { Body } from '../../destination/destination.ts';
import { ByteStream } from '../../env/byte-stream.ts';
import { StillpointError } from '../../errors.ts';
import type { Keyring } from './keyring.ts';
import {
  CHUNK_BYTES,
  ChunkCipher,
  chunkCount,
  chunkOffset,
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  SALT_BYTES,
  sealedBytes,
  TAG_BYTES,
} from './seal.ts';

/** Reads bytes of what is sealed; undefined when it does not exist. */
export type ReadRange = (range: {
  readonly offset: number;
  readonly length: number;
}) => Promise<AsyncIterable<Uint8Array> | undefined>;

/** Where sealed bytes belong. */
export interface Place {
  readonly key: string;
  /** What else must be as it was when they were sealed. */
  readonly with?: string;
}

/**
 * Seals what a repository stores, and opens it. What cannot be opened is `BACKUP_DAMAGED` with the key as its path; what was sealed
 * with a data key that is not known is `REPOSITORY_KEY_WRONG`.
 */
export class Sealer {
  readonly #keyring: Keyring;

  constructor(keyring: Keyring) {
    this.#keyring = keyring;
  }

  /** Of the data key that seals what is new. */
  get generation(): number {
    return this.#keyring.generation;
  }

  get fingerprint(): string {
    return this.#keyring.fingerprint;
  }

  objectId(content: string): string {
    return this.#keyring.objectId(content);
  }

  /**
   * The body sealed. It may be opened several times, as a body must be, and then yields the same bytes each time: where the content
   * has changed meanwhile, the chunk is not handed out, so that no key and nonce ever seal two contents.
   */
  sealBody(place: Place, body: Body): Body {
    const { header, cipher } = this.#begin(place);
    const { sizeBytes } = body;
    const last = chunkCount(sizeBytes) - 1;
    const tags: Buffer[] = [];
    const sealChunk = (index: number, pieces: readonly Uint8Array[]): Buffer[] => {
      const sealed = cipher.seal(index, index === last, pieces);
      const tag = sealed.at(-1)!;
      tags[index] ??= tag;
      if (tags[index].equals(tag)) return sealed;
      throw new StillpointError('COPY_DAMAGED', `the data of ${place.key} changed while it was sent`, {
        path: place.key,
      });
    };
    return {
      sizeBytes: sealedBytes(sizeBytes),
      async *open() {
        yield header;
        let pieces: Uint8Array[] = [];
        let [index, filled, total] = [0, 0, 0];
        for await (const chunk of body.open()) {
          total += chunk.byteLength;
          if (total > sizeBytes) throw wrongSize(place.key);
          for (let from = 0; from < chunk.byteLength; ) {
            if (filled === CHUNK_BYTES) {
              yield* sealChunk(index++, pieces);
              pieces = [];
              filled = 0;
            }
            const piece = chunk.subarray(from, from + CHUNK_BYTES - filled);
            pieces.push(piece);
            filled += piece.byteLength;
            from += piece.byteLength;
          }
        }
        // The last chunk follows only when the body has said that it is over.
        if (total !== sizeBytes) throw wrongSize(place.key);
        yield* sealChunk(index, pieces);
      },
    };
  }

  /**
   * The content of what `sealBody` made, or a part of it, chunk by chunk; each is authentic before it is yielded.
   * @param contentBytes As long as the content must be: it is known from what is sealed itself.
   */
  async openStream(
    place: Place,
    contentBytes: number,
    { offset, length }: { readonly offset: number; readonly length: number },
    read: ReadRange,
  ): Promise<AsyncIterable<Uint8Array> | undefined> {
    const first = Math.min(Math.floor(offset / CHUNK_BYTES), chunkCount(contentBytes) - 1);
    const last = Math.min(
      Math.floor((offset + Math.max(1, length) - 1) / CHUNK_BYTES),
      chunkCount(contentBytes) - 1,
    );
    const end = Math.min(chunkOffset(last + 1), sealedBytes(contentBytes));
    // One request, unless the chunks do not follow on the header.
    const head = await read({ offset: 0, length: first === 0 ? end : HEADER_BYTES });
    if (head === undefined) return undefined;
    const inFront = new ByteStream(head);
    const stream = { current: inFront };
    const open = this.#openChunks.bind(this);
    return (async function* () {
      try {
        const cipher = await open(place, await inFront.take(HEADER_BYTES));
        if (first > 0) {
          await inFront.close();
          const chunks = await read({ offset: chunkOffset(first), length: end - chunkOffset(first) });
          if (chunks === undefined) throw damaged(place.key, 'is missing');
          stream.current = new ByteStream(chunks);
        }
        // One for all chunks: memory that is new to the process takes longer than the cipher.
        const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, contentBytes) + TAG_BYTES);
        for (let index = first; index <= last; index++) {
          const bytes = Math.min(CHUNK_BYTES, contentBytes - index * CHUNK_BYTES);
          const sealed = buffer.subarray(0, bytes + TAG_BYTES);
          if ((await stream.current.fill(sealed)) < sealed.byteLength)
            throw damaged(place.key, `ends in chunk ${index}: it was cut off`);
          const content = cipher.open(index, index === chunkCount(contentBytes) - 1, sealed);
          if (content === undefined) {
            throw damaged(place.key, `was changed: chunk ${index} is not what was sealed there`);
          }
          let at = index * CHUNK_BYTES;
          for (const part of content) {
            const wanted = part.subarray(Math.max(0, offset - at), Math.max(0, offset + length - at));
            if (wanted.byteLength > 0) yield wanted;
            at += part.byteLength;
          }
        }
      } finally {
        await stream.current.close();
      }
    })();
  }

  /** The same for bytes in memory. */
  seal(place: Place, content: Uint8Array): Buffer {
    const { header, cipher } = this.#begin(place);
    const count = chunkCount(content.byteLength);
    const parts = [header];
    for (let index = 0; index < count; index++) {
      const chunk = content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES);
      parts.push(...cipher.seal(index, index === count - 1, [chunk]));
    }
    return Buffer.concat(parts);
  }

  open(place: Place, sealed: Buffer): Buffer {
    const cipher = this.#openChunks(place, sealed.subarray(0, HEADER_BYTES));
    const parts: Buffer[] = [];
    for (let index = 0; ; index++) {
      const isLast = sealed.byteLength <= chunkOffset(index + 1);
      const chunk = sealed.subarray(chunkOffset(index), chunkOffset(index + 1));
      const content = cipher.open(index, isLast, chunk);
      if (content === undefined) {
        throw damaged(place.key, `was edited or cut off: chunk ${index} is not what was sealed there`);
      }
      parts.push(...content);
      if (isLast) return Buffer.concat(parts);
    }
  }

  #begin(place: Place): { header: Buffer; cipher: ChunkCipher } {
    const { generation } = this;
    const salt = randomBytes(SALT_BYTES);
    const context = this.#contextOf(place);
    const header = { generation, salt, place: this.#keyring.placeOf(generation, salt, context) };
    const cipher = new ChunkCipher(this.#keyring.dataKey(generation)!, header, context);
    return { header: encodeHeader(header), cipher };
  }

  #openChunks(place: Place, bytes: Buffer): ChunkCipher {
    const header = decodeHeader(bytes);
    if (header === undefined) throw damaged(place.key, 'is not sealed, or its header was changed');
    const context = this.#contextOf(place);
    const { generation, salt } = header;
    if (!this.#keyring.isPlace(header.place, generation, salt, context)) {
      throw damaged(
        place.key,
        'was sealed as something else: another object, another store or another repository; or its header was changed',
      );
    }
    const dataKey = this.#keyring.dataKey(generation);
    if (dataKey !== undefined) return new ChunkCipher(dataKey, header, context);
    throw new StillpointError(
      'REPOSITORY_KEY_WRONG',
      `${place.key} was sealed with data key ${generation}, and the keys at hand have ${this.#keyring.generations.join(', ')}`,
      {
        path: place.key,
        hint: 'The data key was rotated after these keys were read: open the repository again.',
      },
    );
  }

  #contextOf({ key, with: more = '' }: Place): string {
    return ['stillpoint', this.#keyring.repositoryId, key, more].join('\0');
  }
}

const damaged = (key: string, what: string): StillpointError =>
  new StillpointError('BACKUP_DAMAGED', `${key} ${what}`, { path: key });

const wrongSize = (key: string): StillpointError =>
  new StillpointError('INTERNAL', `the body of ${key} has another size than it says`, { path: key });
