import type { S3Client } from '@aws-sdk/client-s3';
import { type Clock, pause, systemClock } from '../env/clock.ts';
import { mapConcurrent } from '../env/concurrency.ts';
import { StillpointError } from '../errors.ts';
import {
  type Body,
  type Capabilities,
  checkKey,
  checkPrefix,
  type Destination,
  type GetOptions,
  isKey,
  type ListedObject,
  type ListOptions,
  type ObjectInfo,
  type PutOptions,
} from './destination.ts';
import { keepsIfAbsent } from './probe.ts';
import { nameOf, statusOf, translatedS3, wasRetried } from './s3-errors.ts';
import { readParts, uploadParts } from './s3-parts.ts';
import { endWith } from './s3-signal.ts';
import type { S3Location } from './s3-url.ts';

type Sdk = typeof import('@aws-sdk/client-s3');

/** The SDK's own, with jitter, for each request. */
const ATTEMPTS = 5;
const CONNECT_MS = 10_000;
/** Without a byte from the server for so long, a request has failed. */
const SILENCE_MS = 60_000;
const DELETES_AT_ONCE = 16;
/** How often a read is taken up again behind the last byte that came, without one coming. */
const RESUMES = 4;
/** How often a conflict of conditional writes is waited out. */
const CONFLICTS = 8;
const CONFLICT_PAUSE_MS = 200;

/** Objects up to this size are sent whole. */
const PART_BYTES = 8 * 1024 * 1024;
const MOST_PARTS = 10_000;

/**
 * A bucket of an S3-compatible server as a destination. The SDK is loaded here, at first use; `ENGINE_MISSING` when it is not
 * installed. `DESTINATION_NOT_FOUND` when there is no such bucket, and what else keeps it from being asked.
 */
export async function openS3(
  location: S3Location,
  signal?: AbortSignal,
  clock: Clock = systemClock,
): Promise<Destination> {
  const sdk = await loadSdk();
  const { endpoint, region, profile, pathStyle, checksums } = location;
  const client = new sdk.S3Client({
    ...(endpoint !== undefined && { endpoint, region: region ?? 'us-east-1' }),
    ...(region !== undefined && { region }),
    ...(profile !== undefined && { profile }),
    forcePathStyle: pathStyle,
    requestChecksumCalculation: checksums ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED',
    responseChecksumValidation: checksums ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED',
    maxAttempts: ATTEMPTS,
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: SILENCE_MS },
  });
  if (signal !== undefined) endWith(client, signal, clock);
  await client.config.region().catch((cause) => {
    throw new StillpointError('DESTINATION_CONFIG_INVALID', `${location.url}: ${cause.message}`, {
      cause,
      hint: 'Say where the bucket is: ?region=NAME at the end of the URL, or AWS_REGION in the environment.',
    });
  });
  const destination = new S3Destination(sdk, client, location, clock);
  await destination.checkBucket();
  return destination;
}

async function loadSdk(): Promise<Sdk> {
  try {
    return await import('@aws-sdk/client-s3');
  } catch (cause) {
    throw new StillpointError(
      'ENGINE_MISSING',
      'buckets are reached with @aws-sdk/client-s3, and it is missing',
      {
        cause,
        hint: 'Install it: `npm install @aws-sdk/client-s3`.',
      },
    );
  }
}

class S3Destination implements Destination {
  readonly url: string;
  readonly #sdk: Sdk;
  readonly #client: S3Client;
  readonly #location: S3Location;
  readonly #clock: Clock;

  constructor(sdk: Sdk, client: S3Client, location: S3Location, clock: Clock) {
    this.#sdk = sdk;
    this.#client = client;
    this.#location = location;
    this.#clock = clock;
    this.url = location.url;
  }

  checkBucket(): Promise<void> {
    return this.#translated(async () => {
      const { bucket } = this.#location;
      try {
        await this.#client.send(new this.#sdk.HeadBucketCommand({ Bucket: bucket }));
      } catch (error) {
        if (statusOf(error) !== 404) throw error;
        throw new StillpointError('DESTINATION_NOT_FOUND', `${this.url}: there is no bucket ${bucket}`, {
          cause: error,
          hint: 'Make the bucket first, and check its name and region.',
        });
      }
    });
  }

  async put(
    key: string,
    body: Body,
    { ifAbsent = false, signal }: PutOptions = {},
  ): Promise<'written' | 'exists'> {
    checkKey(key);
    const place = { ...this.#place(key), ...(ifAbsent && { IfNoneMatch: '*' }) };
    for (let conflict = 1; ; conflict++) {
      try {
        return await this.#translated(() => this.#putOnce(place, body, signal));
      } catch (error) {
        const cause = (error as StillpointError).cause;
        // Another conditional write is under way: once it has ended, the answer is clear.
        if (statusOf(cause ?? {}) !== 409 || conflict === CONFLICTS) throw error;
        await pause(conflict * CONFLICT_PAUSE_MS);
      }
    }
  }

  async #putOnce(
    place: { Bucket: string; Key: string; IfNoneMatch?: string },
    body: Body,
    signal: AbortSignal | undefined,
  ): Promise<'written' | 'exists'> {
    try {
      await uploadParts(this.#sdk, this.#client, place, body, partBytesFor(body.sizeBytes), signal);
      return 'written';
    } catch (error) {
      // The upload is over: its first completion may have been done, and the answer was lost.
      if (nameOf(error) === 'NoSuchUpload' && wasRetried(error) && (await this.#holds(place.Key, body)))
        return 'written';
      if (place.IfNoneMatch === undefined || statusOf(error) !== 412) throw error;
      // After a lost answer, what exists may be what was sent here.
      return wasRetried(error) && (await this.#holds(place.Key, body)) ? 'written' : 'exists';
    }
  }

  async #holds(key: string, body: Body): Promise<boolean> {
    if ((await this.#sizeOf(key)) !== body.sizeBytes) return false;
    const stored = this.#read(key, undefined, undefined);
    let rest: Buffer = Buffer.alloc(0);
    for await (const part of readParts(body, PART_BYTES)) {
      for (let at = 0; at < part.byteLength; ) {
        if (rest.byteLength === 0) {
          const next = await stored.next();
          if (next.done) return false;
          rest = next.value;
        }
        const piece = rest.subarray(0, part.byteLength - at); // a chunk may go over the end of a part
        if (!part.subarray(at, at + piece.byteLength).equals(piece)) return false;
        at += piece.byteLength;
        rest = rest.subarray(piece.byteLength);
      }
    }
    return rest.byteLength === 0 && (await stored.next()).done === true;
  }

  /** Undefined when there is no such object. */
  async #sizeOf(key: string): Promise<number | undefined> {
    try {
      const place = { Bucket: this.#location.bucket, Key: key };
      return (await this.#client.send(new this.#sdk.HeadObjectCommand(place))).ContentLength;
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<AsyncIterable<Uint8Array> | undefined> {
    checkKey(key);
    const { Key } = this.#place(key);
    if (range?.length === 0) return (await this.head(key)) && noBytes();
    // The first chunk is waited for: only then is it known whether there is an object.
    const chunks = this.#read(Key, range, signal);
    try {
      const first = await chunks.next();
      return resumed(first, chunks);
    } catch (error) {
      if (error === ABSENT) return undefined;
      throw error;
    }
  }

  /** Yields what is asked for, and takes a broken connection up again behind the last byte. */
  async *#read(
    key: string,
    range: GetOptions['range'],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Buffer, undefined> {
    const begin = range?.offset ?? 0;
    let position = begin;
    let end = range === undefined ? undefined : begin + range.length;
    let etag: string | undefined;
    for (let failures = 0; end === undefined || position < end; ) {
      try {
        const isWhole = range === undefined && position === 0;
        const answer = await this.#client.send(
          new this.#sdk.GetObjectCommand({
            Bucket: this.#location.bucket,
            Key: key,
            ...(!isWhole && { Range: `bytes=${position}-${end === undefined ? '' : end - 1}` }),
            ...(etag !== undefined && { IfMatch: etag }),
          }),
          { ...(signal && { abortSignal: signal }) },
        );
        if (!isWhole && answer.ContentRange?.startsWith(`bytes ${position}-`) !== true)
          throw new StillpointError(
            'DESTINATION_UNREACHABLE',
            `${this.url}: the answer is not the range that was asked for`,
          );
        etag = answer.ETag;
        // Of a range that goes beyond the object, the server sends what there is.
        end = position + (answer.ContentLength ?? 0);
        for await (const chunk of answer.Body as AsyncIterable<Buffer>) {
          if (signal?.aborted) throw new StillpointError('CANCELLED', 'cancelled on request');
          position += chunk.byteLength;
          failures = 0;
          yield chunk;
        }
        if (position >= end) return undefined;
        throw new StillpointError('DESTINATION_UNREACHABLE', `${this.url}: the answer was cut off`);
      } catch (error) {
        if (nameOf(error) === 'NoSuchKey') throw ABSENT;
        if (statusOf(error) === 416) return undefined; // it begins behind the end of the object
        const known = translatedS3(error, this.url);
        const isLasting = !(known instanceof StillpointError) || known.code !== 'DESTINATION_UNREACHABLE';
        if (isLasting || failures++ === RESUMES) throw known;
        await pause(failures * CONFLICT_PAUSE_MS);
      }
    }
    return undefined;
  }

  head(key: string): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return this.#translated(async () => {
      try {
        const { ContentLength, LastModified } = await this.#client.send(
          new this.#sdk.HeadObjectCommand(this.#place(key)),
        );
        return { sizeBytes: ContentLength ?? 0, modifiedAtMs: LastModified?.getTime() ?? 0 };
      } catch (error) {
        if (statusOf(error) !== 404) throw error;
        await this.checkBucket(); // this answer does not tell which of the two is missing
        return undefined;
      }
    });
  }

  async *list(prefix: string, { shallow = false }: ListOptions = {}): AsyncIterable<ListedObject> {
    checkPrefix(prefix);
    const root = this.#location.prefix;
    let token: string | undefined;
    do {
      const page = await this.#translated(() =>
        this.#client.send(
          new this.#sdk.ListObjectsV2Command({
            Bucket: this.#location.bucket,
            Prefix: `${root}${prefix}`,
            ...(shallow && { Delimiter: '/' }),
            ...(token !== undefined && { ContinuationToken: token }),
          }),
        ),
      );
      // A proxy may answer with a page of its own, and 200.
      if (page.IsTruncated === undefined) throw this.#noListing('is no listing');
      const objects = (page.Contents ?? []).map(({ Key = '', Size = 0, LastModified }) => ({
        key: Key.slice(root.length),
        sizeBytes: Size,
        modifiedAtMs: LastModified?.getTime() ?? 0,
      }));
      const folders = (page.CommonPrefixes ?? []).map(({ Prefix = '' }) => ({
        key: Prefix.slice(root.length),
        sizeBytes: 0,
        modifiedAtMs: 0,
      }));
      const all = [...objects, ...folders].filter(({ key }) => isKey(key.replace(/\/$/, ''))); // the rest is not ours
      yield* all.sort((a, b) => (a.key < b.key ? -1 : 1));
      const next = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (page.IsTruncated && next === undefined) throw this.#noListing('is cut off, and does not say where');
      if (next !== undefined && next === token) throw this.#noListing('goes on where it began');
      token = next;
    } while (token !== undefined);
  }

  /** One by one: the request that deletes many is where servers differ most. */
  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) checkKey(key);
    await this.#translated(() =>
      mapConcurrent(keys, DELETES_AT_ONCE, (key) =>
        this.#client.send(new this.#sdk.DeleteObjectCommand(this.#place(key))),
      ),
    );
  }

  abortStale(olderThanMs: number): Promise<number> {
    return this.#translated(async () => {
      const { bucket, prefix } = this.#location;
      const before = this.#clock.nowMs() - olderThanMs;
      let count = 0;
      let marker: { KeyMarker?: string; UploadIdMarker?: string } | undefined = {};
      while (marker !== undefined) {
        const page: Awaited<ReturnType<typeof listUploads>> = await listUploads(this.#sdk, this.#client, {
          Bucket: bucket,
          Prefix: prefix,
          ...marker,
        });
        for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
          if (Initiated === undefined || Initiated.getTime() > before) continue;
          await this.#client.send(
            new this.#sdk.AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId }),
          );
          count++;
        }
        marker =
          page.IsTruncated === true && page.NextKeyMarker !== undefined
            ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker ?? '' }
            : undefined;
      }
      return count;
    });
  }

  async probe(): Promise<Capabilities> {
    const { endpoint = 'https:' } = this.#location;
    const isPlain = endpoint.startsWith('http:') && !/^http:\/\/(localhost|127\.|\[::1\])/.test(endpoint);
    const warnings = isPlain
      ? [`${endpoint} is reached without TLS: everybody on the way can read what is sent`]
      : [];
    return { ifAbsent: await keepsIfAbsent(this), warnings };
  }

  #place(key: string): { Bucket: string; Key: string } {
    const { bucket, prefix } = this.#location;
    return { Bucket: bucket, Key: `${prefix}${key}` };
  }

  #noListing(what: string): StillpointError {
    return new StillpointError(
      'DESTINATION_UNREACHABLE',
      `${this.url}: the answer to the request for a listing ${what}`,
    );
  }

  async #translated<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw translatedS3(error, this.url);
    }
  }
}

const listUploads = (
  sdk: Sdk,
  client: S3Client,
  input: ConstructorParameters<Sdk['ListMultipartUploadsCommand']>[0],
) => client.send(new sdk.ListMultipartUploadsCommand(input));

/** Thrown by the reading of an object that does not exist. */
const ABSENT = new StillpointError('NOT_FOUND', 'there is no such object');

async function* noBytes(): AsyncGenerator<Uint8Array> {}

async function* resumed(
  first: IteratorResult<Uint8Array, undefined>,
  rest: AsyncGenerator<Uint8Array, undefined>,
): AsyncGenerator<Uint8Array> {
  if (first.done) return;
  try {
    yield first.value;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

/** Sizes are known, so that no object needs more parts than there may be. */
const partBytesFor = (sizeBytes: number): number => Math.max(PART_BYTES, Math.ceil(sizeBytes / MOST_PARTS));
