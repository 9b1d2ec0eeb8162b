import type { CompletedPart, S3Client } from '@aws-sdk/client-s3';
import { StillpointError } from '../errors.ts';
import type { Body } from './destination.ts';
import { nameOf, statusOf } from './s3-errors.ts';

type Sdk = typeof import('@aws-sdk/client-s3');

/** Parts of one object that are on their way at once; each is in memory until it is there. */
const PARTS_AT_ONCE = 2;

interface Place {
  readonly Bucket: string;
  readonly Key: string;
  readonly IfNoneMatch?: string;
}

/** A body in buffers of `partBytes`, the last one shorter. Rejects when it has another size than it says. */
export async function* readParts(body: Body, partBytes: number): AsyncGenerator<Buffer> {
  let left = body.sizeBytes;
  let part = Buffer.allocUnsafe(Math.min(partBytes, left));
  let filled = 0;
  const wrong = () => new StillpointError('INTERNAL', `a body of ${body.sizeBytes} bytes has another size`);
  for await (const chunk of body.open()) {
    for (let from = 0; from < chunk.byteLength; ) {
      const piece = chunk.subarray(from, from + part.byteLength - filled);
      if (piece.byteLength === 0) throw wrong();
      part.set(piece, filled);
      filled += piece.byteLength;
      from += piece.byteLength;
      // The last one is kept until the body has said that it is over.
      if (filled < part.byteLength || left === filled) continue;
      yield part;
      left -= filled;
      part = Buffer.allocUnsafe(Math.min(partBytes, left));
      filled = 0;
    }
  }
  if (filled !== left) throw wrong();
  yield part;
}

/** Sends a body: whole where it fits into one part, else part by part. Whatever goes wrong, no part is left behind. */
export async function uploadParts(
  sdk: Sdk,
  client: S3Client,
  place: Place,
  body: Body,
  partBytes: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const options = signal === undefined ? {} : { abortSignal: signal };
  if (body.sizeBytes <= partBytes) {
    for await (const part of readParts(body, partBytes)) {
      refuseAborted(signal);
      await client.send(
        new sdk.PutObjectCommand({ ...place, Body: part, ContentLength: part.byteLength }),
        options,
      );
    }
    return;
  }
  const { Bucket, Key } = place;
  const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand({ Bucket, Key }), options);
  const underWay = new Set<Promise<void>>();
  try {
    const parts: CompletedPart[] = [];
    const failures: unknown[] = [];
    for await (const part of readParts(body, partBytes)) {
      refuseAborted(signal);
      while (underWay.size >= PARTS_AT_ONCE) await Promise.race(underWay);
      if (failures.length > 0) throw failures[0];
      const PartNumber = parts.push({}); // keeps its place
      const send = async (): Promise<void> => {
        const input = { Bucket, Key, UploadId, PartNumber, Body: part, ContentLength: part.byteLength };
        const { ETag } = await client.send(new sdk.UploadPartCommand(input), options);
        parts[PartNumber - 1] = { PartNumber, ETag };
      };
      const sending: Promise<void> = send()
        .catch((error) => void failures.push(error))
        .finally(() => underWay.delete(sending));
      underWay.add(sending);
    }
    await Promise.all(underWay);
    if (failures.length > 0) throw failures[0];
    refuseAborted(signal);
    // Not cancelled any more: its effect could not be known.
    await client.send(
      new sdk.CompleteMultipartUploadCommand({ ...place, UploadId, MultipartUpload: { Parts: parts } }),
    );
  } catch (error) {
    // A part that arrives after the abort would stay.
    await Promise.all(underWay);
    await abortUpload(sdk, client, { Bucket, Key, UploadId: UploadId! }).catch(() => undefined); // else `abortStale` does
    throw error;
  }
}

const ABORTS = 3;

/** Until the server says that there is nothing left. */
async function abortUpload(
  sdk: Sdk,
  client: S3Client,
  upload: { Bucket: string; Key: string; UploadId: string },
): Promise<void> {
  for (let attempt = 1; attempt <= ABORTS; attempt++) {
    try {
      await client.send(new sdk.AbortMultipartUploadCommand(upload));
      const { Parts = [] } = await client.send(new sdk.ListPartsCommand(upload));
      if (Parts.length === 0) return;
    } catch (error) {
      if (nameOf(error) === 'NoSuchUpload' || statusOf(error) === 404) return;
      throw error;
    }
  }
}

function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new StillpointError('CANCELLED', 'cancelled on request');
}
