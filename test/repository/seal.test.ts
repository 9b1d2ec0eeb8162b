import { createCipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Body } from '../../src/destination/destination.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { Keyring } from '../../src/repository/sealing/keyring.ts';
import { CHUNK_BYTES, chunkOffset, HEADER_BYTES, sealedBytes } from '../../src/repository/sealing/seal.ts';
import { type Place, Sealer } from '../../src/repository/sealing/sealer.ts';
import { perTier, SEED } from '../support/tier.ts';

const keyring = Keyring.make(newUlid(1_700_000_000_000));
const sealer = new Sealer(keyring);
const PLACE: Place = { key: 'stores/A/objects/00/00' };

const bodyIn = (bytes: Buffer, pieceBytes: number): Body => ({
  sizeBytes: bytes.byteLength,
  *open() {
    for (let at = 0; at < bytes.byteLength; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
  },
});

async function all(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

const sealed = (content: Buffer, place = PLACE, by = sealer): Promise<Buffer> =>
  all(by.sealBody(place, bodyIn(content, 256 * 1024)).open());

async function opened(
  bytes: Buffer,
  contentBytes: number,
  range = { offset: 0, length: contentBytes },
  place = PLACE,
  by = sealer,
): Promise<Buffer> {
  const read = async ({ offset, length }: { offset: number; length: number }) =>
    (async function* () {
      const part = bytes.subarray(offset, offset + length);
      for (let at = 0; at < part.byteLength; at += 100_000) yield part.subarray(at, at + 100_000);
    })();
  return all((await by.openStream(place, contentBytes, range, read))!);
}

test('what was sealed comes back, whole and in every range', async () => {
  const near = (bytes: number) => fc.integer({ min: -2, max: 2 }).map((more) => Math.max(0, bytes + more));
  const size = fc.oneof(near(0), near(CHUNK_BYTES), near(2 * CHUNK_BYTES), fc.nat(3 * CHUNK_BYTES));
  await fc.assert(
    fc.asyncProperty(
      size,
      fc.integer({ min: 1, max: CHUNK_BYTES }),
      fc.nat(),
      fc.nat(),
      async (bytes, piece, a, b) => {
        const content = randomBytes(bytes);
        const body = sealer.sealBody(PLACE, bodyIn(content, piece));
        const stored = await all(body.open());
        expect(stored.byteLength).toBe(body.sizeBytes);
        expect(stored.byteLength).toBe(sealedBytes(bytes));
        expect((await opened(stored, bytes)).equals(content)).toBe(true);
        expect(sealer.open(PLACE, sealer.seal(PLACE, content)).equals(content)).toBe(true);
        expect(sealer.open(PLACE, stored).equals(content)).toBe(true);
        const offset = a % (bytes + 1);
        const length = b % (bytes - offset + 1);
        if (length === 0) return;
        const part = await opened(stored, bytes, { offset, length });
        expect(part.equals(content.subarray(offset, offset + length))).toBe(true);
      },
    ),
    { numRuns: perTier(25, 500), seed: SEED },
  );
});

test('a change of any byte is found, and so is a cut at any place', async () => {
  const content = randomBytes(2 * CHUNK_BYTES + 1000);
  const stored = await sealed(content);
  const borders = [
    0,
    8,
    12,
    16,
    32,
    63,
    HEADER_BYTES,
    chunkOffset(1) - 1,
    chunkOffset(1),
    chunkOffset(2),
    stored.byteLength - 1,
  ];
  const anywhere = Array.from(
    { length: perTier(10, 300) },
    () => randomBytes(4).readUInt32BE() % stored.byteLength,
  );
  for (const at of [...borders, ...anywhere]) {
    const changed = Buffer.from(stored);
    changed[at]! ^= 1 << (at % 8);
    await expect(opened(changed, content.byteLength), `byte ${at}`).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
    });
    expect(() => sealer.open(PLACE, changed), `byte ${at}`).toThrow();
    const cut = stored.subarray(0, at);
    await expect(opened(cut, content.byteLength), `cut at ${at}`).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
    });
    expect(() => sealer.open(PLACE, cut), `cut at ${at}`).toThrow();
  }
});

const chunk = (bytes: Buffer, index: number): Buffer =>
  bytes.subarray(chunkOffset(index), chunkOffset(index + 1));

test('chunks that are repeated, left out, exchanged, or come from another object are found', async () => {
  const content = randomBytes(3 * CHUNK_BYTES);
  const stored = await sealed(content);
  const other = await sealed(content);
  const head = stored.subarray(0, HEADER_BYTES);
  const [a, b, c] = [0, 1, 2].map((index) => chunk(stored, index)) as [Buffer, Buffer, Buffer];
  const cases: Record<string, Buffer[]> = {
    repeated: [a, a, c],
    exchanged: [b, a, c],
    'left out': [a, c],
    'cut at a border': [a, b],
    'of another sealing': [a, chunk(other, 1), c],
  };
  for (const [name, chunks] of Object.entries(cases)) {
    const bytes = Buffer.concat([head, ...chunks]);
    const contentBytes = chunks.length * CHUNK_BYTES;
    await expect(opened(bytes, contentBytes), name).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
      message: expect.stringMatching(/chunk \d is not what was sealed there/),
    });
    expect(() => sealer.open(PLACE, bytes), name).toThrow(/chunk \d is not what was sealed there/);
  }
});

test('what was sealed for another object, another time or another repository is told as that', async () => {
  const content = Buffer.from('content');
  const stored = await sealed(content);
  const elsewhere: [Place, Sealer][] = [
    [{ key: 'stores/B/objects/00/00' }, sealer],
    [{ ...PLACE, with: '1' }, sealer],
    [PLACE, new Sealer(Keyring.make(newUlid(1_700_000_000_000)))],
  ];
  for (const [place, by] of elsewhere) {
    await expect(opened(stored, 7, undefined, place, by)).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
      path: place.key,
      message: expect.stringMatching(/was sealed as something else/),
    });
  }
});

test('after a rotation the old data key still opens, and a reader without the new one says so', async () => {
  const old = await sealed(Buffer.from('old'));
  const rotated = new Sealer(keyring.rotated());
  expect((await opened(old, 3, undefined, PLACE, rotated)).toString()).toBe('old');
  const fresh = await sealed(Buffer.from('new'), PLACE, rotated);
  expect((await opened(fresh, 3, undefined, PLACE, rotated)).toString()).toBe('new');
  expect(rotated.objectId('x')).toBe(sealer.objectId('x'));
  await expect(opened(fresh, 3)).rejects.toMatchObject({
    code: 'REPOSITORY_KEY_WRONG',
    message: expect.stringMatching(/data key 2, and the keys at hand have 1$/),
  });
});

test('a body that is opened again yields the same bytes, and none of a chunk whose content has changed', async () => {
  const content = randomBytes(2 * CHUNK_BYTES);
  const body = sealer.sealBody(PLACE, bodyIn(content, 300_000));
  const first = await all(body.open());
  expect((await all(body.open())).equals(first)).toBe(true);
  content[CHUNK_BYTES + 5]! ^= 1;
  const came: Uint8Array[] = [];
  const again = (async () => {
    for await (const piece of body.open()) came.push(piece);
  })();
  await expect(again).rejects.toMatchObject({ code: 'COPY_DAMAGED' });
  expect(Buffer.concat(came).equals(first.subarray(0, chunkOffset(1)))).toBe(true);
});

interface Vector {
  readonly key: string;
  readonly with: string;
  readonly text: string;
  readonly content_bytes: number;
  readonly header: string;
  readonly sealed_bytes: number;
  readonly sealed_sha256: string;
  readonly sealed?: string;
}

interface Vectors {
  readonly keyring: {
    readonly repository_id: string;
    readonly name_key: string;
    readonly data_keys: Readonly<Record<string, string>>;
  };
  readonly fingerprint: string;
  readonly object_ids: readonly { readonly content: string; readonly id: string }[];
  readonly sealed: readonly Vector[];
}

const vectors = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../fixtures/seal-vectors.json'), 'utf8'),
) as Vectors;
const contentOf = ({ text, content_bytes: bytes }: Vector): Buffer =>
  bytes === 0 ? Buffer.alloc(0) : Buffer.alloc(bytes, text);
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** As `src/repository/README.md` tells it, with nothing of `src`. */
function sealedByHand({ repository_id, name_key, data_keys }: Vectors['keyring'], vector: Vector): Buffer {
  const derived = (secret: string, salt: Buffer | string, info: string) =>
    Buffer.from(hkdfSync('sha256', Buffer.from(secret, 'hex'), salt, info, 32));
  const header = Buffer.from(vector.header, 'base64');
  const [generation, salt] = [header.subarray(8, 12), header.subarray(32, 64)];
  const context = ['stillpoint', repository_id, vector.key, vector.with].join('\0');
  const placeKey = derived(name_key, repository_id, 'stillpoint place 1');
  const place = createHmac('sha256', placeKey).update(generation).update(salt).update(context).digest();
  const fields = [Buffer.from('STPSEAL\x01'), generation, Buffer.alloc(4), place.subarray(0, 16), salt];
  expect(header.equals(Buffer.concat(fields))).toBe(true);
  const chunkKey = derived(data_keys[generation.readUInt32BE()]!, salt, 'stillpoint seal 1');
  const content = contentOf(vector);
  const count = Math.max(1, Math.ceil(content.byteLength / 1048576));
  const parts = [header];
  for (let number = 0; number < count; number++) {
    const numberAndLast = Buffer.from([0, 0, 0, number, number === count - 1 ? 1 : 0]);
    const nonce = Buffer.concat([Buffer.alloc(7), numberAndLast]);
    const cipher = createCipheriv('aes-256-gcm', chunkKey, nonce);
    cipher.setAAD(Buffer.concat([header, numberAndLast, Buffer.from(context)]));
    parts.push(cipher.update(content.subarray(number * 1048576, (number + 1) * 1048576)), cipher.final());
    parts.push(cipher.getAuthTag());
  }
  return Buffer.concat(parts);
}

test('the published vectors are what the description says, and open', () => {
  const ring = Keyring.decode(JSON.stringify(vectors.keyring), (why) => new TypeError(why));
  const by = new Sealer(ring);
  expect(ring.fingerprint).toBe(vectors.fingerprint);
  for (const { content, id } of vectors.object_ids) expect(by.objectId(content)).toBe(id);
  for (const vector of vectors.sealed) {
    const bytes = sealedByHand(vectors.keyring, vector);
    expect(sha256(bytes)).toBe(vector.sealed_sha256);
    expect(bytes.byteLength).toBe(vector.sealed_bytes);
    if (vector.sealed !== undefined) expect(bytes.toString('base64')).toBe(vector.sealed);
    expect(by.open({ key: vector.key, with: vector.with }, bytes).equals(contentOf(vector))).toBe(true);
  }
  expect(vectors.sealed.map(({ content_bytes }) => content_bytes)).toEqual([0, 15, 16, 1048583]);
});
