import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import * as z from 'zod';
import { decodeJson, type Refuse } from '../../env/durable-json.ts';
import { randomHex } from '../../env/random.ts';
import { isUlid } from '../../env/ulid.ts';

const KEY_BYTES = 32;
const key = z.string().regex(/^[0-9a-f]{64}$/);
/** A generation is stored in four bytes. */
const generation = z.string().regex(/^[1-9]\d{0,8}$/);

const schema = z.strictObject({
  format: z.literal('stillpoint-keyring'),
  version: z.literal(1),
  repository_id: z.string().refine(isUlid, 'is no ULID'),
  /** Names objects and places. Never changes. */
  name_key: key,
  /** By generation. What is new is sealed with the newest. */
  data_keys: z.record(generation, key).refine((keys) => Object.keys(keys).length > 0, 'has no key'),
});

type Secrets = z.infer<typeof schema>;

/** The secrets of a repository. Whoever has them can read all of it. */
export class Keyring {
  readonly #secrets: Secrets;
  readonly #idKey: Uint8Array;
  readonly #placeKey: Uint8Array;
  /** Tells the secrets of two repositories apart, and nothing else about them. */
  readonly fingerprint: string;

  private constructor(secrets: Secrets) {
    this.#secrets = secrets;
    const derive = (what: string): Uint8Array =>
      new Uint8Array(
        hkdfSync(
          'sha256',
          bytesOf(secrets.name_key),
          secrets.repository_id,
          `stillpoint ${what} 1`,
          KEY_BYTES,
        ),
      );
    this.#idKey = derive('object id');
    this.#placeKey = derive('place');
    this.fingerprint = Buffer.from(derive('fingerprint')).toString('hex');
  }

  static make(repositoryId: string): Keyring {
    return new Keyring({
      format: 'stillpoint-keyring',
      version: 1,
      repository_id: repositoryId,
      name_key: randomHex(KEY_BYTES),
      data_keys: { 1: randomHex(KEY_BYTES) },
    });
  }

  static decode(text: string, refuse: Refuse): Keyring {
    return new Keyring(decodeJson(text, schema, refuse));
  }

  encode(): string {
    return `${JSON.stringify(this.#secrets)}\n`;
  }

  get repositoryId(): string {
    return this.#secrets.repository_id;
  }

  /** In order, newest last. */
  get generations(): number[] {
    return Object.keys(this.#secrets.data_keys)
      .map(Number)
      .sort((a, b) => a - b);
  }

  get generation(): number {
    return this.generations.at(-1)!;
  }

  /** With a new data key for what is sealed from now on. */
  rotated(): Keyring {
    const data_keys = { ...this.#secrets.data_keys, [this.generation + 1]: randomHex(KEY_BYTES) };
    return new Keyring({ ...this.#secrets, data_keys });
  }

  dataKey(generation: number): Uint8Array | undefined {
    const { data_keys } = this.#secrets;
    return Object.hasOwn(data_keys, generation) ? bytesOf(data_keys[generation]!) : undefined;
  }

  /** What an object is called by what it holds, in hexadecimal. */
  objectId(content: string): string {
    return createHmac('sha256', this.#idKey).update(content).digest('hex');
  }

  placeOf(generation: number, salt: Uint8Array, context: string): Buffer {
    const place = Buffer.alloc(4);
    place.writeUInt32BE(generation);
    return createHmac('sha256', this.#placeKey)
      .update(place)
      .update(salt)
      .update(context)
      .digest()
      .subarray(0, 16);
  }

  isPlace(place: Uint8Array, generation: number, salt: Uint8Array, context: string): boolean {
    return timingSafeEqual(place, this.placeOf(generation, salt, context));
  }
}

const bytesOf = (hex: string): Uint8Array => Buffer.from(hex, 'hex');
