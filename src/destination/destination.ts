import { StillpointError } from '../errors.ts';

/**
 * A place off the machine that keeps objects: a folder, a bucket. Seven verbs and nothing else. Objects are written once and
 * never changed, unless `put` is called without `ifAbsent`. A driver passes the suite in `contract.ts`.
 *
 * Every method rejects with a `StillpointError` whose code says what to do: `DESTINATION_NOT_FOUND`,
 * `DESTINATION_PERMISSION_DENIED`, `DESTINATION_NO_SPACE`, `DESTINATION_UNREACHABLE`, `DESTINATION_PATH_CONFLICT`,
 * `DESTINATION_CONFIG_INVALID`. An object that is absent is an answer, not an error. Absent means that the
 * destination said so: what could not be asked is an error.
 */
export interface Destination {
  /** What the user named, without secrets: `folder:/mnt/backups`, `s3://bucket/prefix`. */
  readonly url: string;
  /**
   * Stores an object; durable once it resolves. A reader sees all of it or nothing. With `ifAbsent` an object that is there
   * stays as it is, and the answer is `exists`. Rejects with what `body` throws, and then stores nothing.
   */
  put(key: string, body: Body, options?: PutOptions): Promise<'written' | 'exists'>;
  /** The bytes of an object, or of `range` of it, in chunks; undefined when there is none. */
  get(key: string, options?: GetOptions): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Undefined when there is none. */
  head(key: string): Promise<ObjectInfo | undefined>;
  /**
   * The objects below `prefix`, which is empty or ends with `/`, in the byte order of their keys. With `shallow`, what lies
   * deeper appears once, as the key of its folder, which ends with `/`.
   */
  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject>;
  /** Removes objects, durably. One that is absent is no error. */
  delete(keys: readonly string[]): Promise<void>;
  /**
   * Called before each backup. Removes what uploads that died left behind, if it is older than this, and resolves to how many there
   * were. Where the destination can become full, this is the time to keep space aside for `makesRoom`.
   */
  abortStale(olderThanMs: number): Promise<number>;
  /** Finds out, by trying, what the destination can do. Leaves nothing behind. */
  probe(): Promise<Capabilities>;
}

/** What is stored. `open` is called anew for each attempt and must yield the same `sizeBytes` bytes each time. */
export interface Body {
  readonly sizeBytes: number;
  open(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface PutOptions {
  /** Default false: replace what is there. */
  readonly ifAbsent?: boolean;
  /** What is stored is needed to delete other things: a destination that is full takes it from what it has kept aside. */
  readonly makesRoom?: boolean;
  readonly signal?: AbortSignal;
}

export interface GetOptions {
  /** From this byte on, so many. Default: the whole object. */
  readonly range?: { readonly offset: number; readonly length: number };
  readonly signal?: AbortSignal;
}

export interface ListOptions {
  readonly shallow?: boolean;
}

export interface ObjectInfo {
  readonly sizeBytes: number;
  /** By the clock of the destination. */
  readonly modifiedAtMs: number;
}

/** Of a folder, size and time are 0. */
export interface ListedObject extends ObjectInfo {
  readonly key: string;
}

export interface Capabilities {
  /** Whether `ifAbsent` is kept. Some servers accept the condition and ignore it. */
  readonly ifAbsent: boolean;
  /** What an operator should know: a folder on a network file system, for instance. */
  readonly warnings: readonly string[];
}

const KEY_LIMIT = 512;
const KEY = /^[A-Za-z0-9][A-Za-z0-9._-]*(\/[A-Za-z0-9][A-Za-z0-9._-]*)*$/;

/** Parts of letters, digits, `.`, `_` and `-`, joined by `/`; no part begins with a dot. */
export const isKey = (key: string): boolean => key.length <= KEY_LIMIT && KEY.test(key);

/** Every driver calls it before it uses a key: names come from manifests, which are untrusted. */
export function checkKey(key: string): void {
  if (isKey(key)) return;
  throw new StillpointError(
    'PATH_OUTSIDE',
    `not the key of an object: ${JSON.stringify(key.slice(0, 200))}`,
    {
      hint: 'A key is made of letters, digits, ".", "_" and "-", in parts joined by "/".',
    },
  );
}

/** The same for what `list` takes. */
export function checkPrefix(prefix: string): void {
  if (prefix !== '') checkKey(prefix.endsWith('/') ? prefix.slice(0, -1) : `${prefix}/`);
}

/** Bytes in memory as a body. */
export const bodyOf = (bytes: Uint8Array): Body => ({ sizeBytes: bytes.byteLength, open: () => [bytes] });

/** All bytes of a small object; more than `limitBytes` is `REPOSITORY_INVALID`. Undefined when there is none. */
export async function getSmall(
  destination: Destination,
  key: string,
  limitBytes: number,
): Promise<Buffer | undefined> {
  const chunks = await destination.get(key);
  if (chunks === undefined) return undefined;
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.byteLength;
    if (bytes > limitBytes) {
      throw new StillpointError('REPOSITORY_INVALID', `${key} has more than ${limitBytes} bytes`, {
        path: key,
      });
    }
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}
