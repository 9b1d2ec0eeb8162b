import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { bodyOf } from '../../src/destination/destination.ts';
import { openDestination } from '../../src/destination/open.ts';
import { s3Url, useKeys } from '../support/s3.ts';

const before = { id: process.env.AWS_ACCESS_KEY_ID, secret: process.env.AWS_SECRET_ACCESS_KEY };
beforeAll(() => useKeys('key', 'secret'));
afterAll(() => useKeys(before.id, before.secret));

/** A server that answers as it is told; the bucket exists. */
async function serverThat(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      if (request.method === 'HEAD' && !request.url!.startsWith('/bucket/p')) response.end();
      else answer(request, response);
    });
  }).listen(0, '127.0.0.1');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return openDestination(s3Url('bucket/p', `http://127.0.0.1:${port}`));
}

const listing = (inside: string): string =>
  `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>${inside}</ListBucketResult>`;
const OBJECT = '<Contents><Key>p/a</Key><Size>1</Size></Contents>';

describe('a listing', () => {
  test.each([
    ['that is cut off without saying where', listing(`<IsTruncated>true</IsTruncated>${OBJECT}`), /cut off/],
    [
      'that goes on with the same token for ever',
      listing(
        '<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken><Contents><Key>p/a</Key><Size>1</Size></Contents>',
      ),
      /goes on where it began/,
    ],
    ['that is the page of a captive portal', '<html><body>log in</body></html>', /is no listing/],
  ])('%s is an error, and not a shorter list', async (_, text, message) => {
    const destination = await serverThat((__, response) => {
      response.setHeader('content-type', 'application/xml');
      response.end(text);
    });
    const read = async () => {
      for await (const _object of destination.list('')) {
        // all of it
      }
    };
    await expect(read()).rejects.toMatchObject({
      code: 'DESTINATION_UNREACHABLE',
      message: expect.stringMatching(message),
    });
  });

  test('that is whole is read', async () => {
    const destination = await serverThat((_, response) =>
      response.end(listing(`<IsTruncated>false</IsTruncated>${OBJECT}`)),
    );
    const keys: string[] = [];
    for await (const { key } of destination.list('')) keys.push(key);
    expect(keys).toEqual(['a']);
  });
});

describe('the completion of an upload whose answer is lost, and that is unknown when it is asked again', () => {
  const CONTENT = Buffer.alloc(9 * 1024 * 1024, 'content ');

  /** @param stored What the server has in the end. */
  const withLostAnswer = (stored: Buffer | undefined) => {
    let completions = 0;
    return serverThat((request, response) => {
      const { method, url = '' } = request;
      const xml = (text: string, status = 200) => {
        response.statusCode = status;
        response.setHeader('content-type', 'application/xml');
        response.end(text);
      };
      if (method === 'HEAD' || method === 'GET') {
        if (stored === undefined) {
          xml('<Error><Code>NoSuchKey</Code></Error>', 404);
          return;
        }
        response.setHeader('content-length', stored.byteLength);
        response.setHeader('etag', '"1"');
        response.end(method === 'GET' ? stored : undefined);
      } else if (url.includes('uploads')) {
        xml('<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>');
      } else if (method === 'PUT') {
        response.setHeader('etag', '"part"');
        response.end();
      } else if (method === 'POST' && completions++ === 0) request.socket.destroy();
      else xml('<Error><Code>NoSuchUpload</Code></Error>', 404);
    });
  };

  test('has stored the object if the object stands', async () => {
    const destination = await withLostAnswer(CONTENT);
    expect(await destination.put('large', bodyOf(CONTENT), { ifAbsent: true })).toBe('written');
  });

  test.each([
    ['nothing', undefined],
    ['other bytes', Buffer.alloc(CONTENT.byteLength, 'others ')],
  ])('has failed if %s stands there', async (_, stored) => {
    const destination = await withLostAnswer(stored);
    await expect(destination.put('large', bodyOf(CONTENT), { ifAbsent: true })).rejects.toMatchObject({
      code: 'DESTINATION_UNREACHABLE',
    });
  });
});
