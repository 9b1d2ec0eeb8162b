import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { downloadFromNode } from '../../src/fleet/http/download.ts';
import { Sums } from '../../src/format/sums.ts';
import { AdminClient } from '../../src/rpc/client.ts';
import { encodeManifest, sumsOf } from '../../src/snapshot/store/manifest.ts';
import { readTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

// What a node may answer that does not tell the truth, or dies in the middle of it.

const FILES: Readonly<Record<string, Buffer>> = {
  'a.txt': Buffer.from('first'),
  'deep/er/b.bin': Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) & 0xff)),
  empty: Buffer.alloc(0),
  holes: Buffer.concat([Buffer.from('x'), Buffer.alloc(600_000), Buffer.from('y'), Buffer.alloc(300_000)]),
};

function manifestOf(files = FILES, id = 'snapshot-1'): Buffer {
  const entries = Object.entries(files).map(([path, bytes]) => {
    const sums = new Sums();
    sums.add(bytes);
    return { path, ...sumsOf(sums.result()) };
  });
  const total_bytes = entries.reduce((sum, { size }) => sum + size, 0);
  const snapshot = { id, sequence: 1, created_at_ms: 0, engine: 'lsm', tool: 'test', total_bytes };
  return encodeManifest({ version: 1, entries, snapshot });
}

type Answer = (path: string, request: IncomingMessage, response: ServerResponse) => boolean | undefined;

/** A node that serves `FILES`, unless `answer` does something else and says so. */
async function stage(manifest: Buffer = manifestOf(), answer: Answer = () => false) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url!.split('/').at(-1)!);
    asked.push(`${name} ${request.headers.range ?? ''}`.trim());
    if (request.url!.endsWith('/manifest')) return void response.end(manifest);
    if (answer(name, request, response)) return;
    const bytes = FILES[name];
    if (bytes === undefined) return void response.writeHead(404).end();
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    response.setHeader('etag', '"e"');
    if (from > 0)
      response.writeHead(206, { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` });
    response.end(bytes.subarray(from));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const client = new AdminClient({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    timeoutMs: 2_000,
  });
  onTestFinished(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  const parent = await temporaryFolder();
  const into = join(parent, 'copy');
  mkdirSync(into);
  const signal = new AbortController().signal;
  const download = () =>
    downloadFromNode({ fs: nodeFileSystem, client, name: 'ts-1', snapshotId: 'snapshot-1', into, signal });
  return { download, into, parent, asked };
}

function expectWhole(into: string): void {
  const { blocks, size } = statSync(join(into, 'holes'));
  expect(512 * blocks).toBeLessThan(size / 2); // its holes are holes again
  for (const [path, bytes] of Object.entries(FILES))
    expect(readFileSync(join(into, path)).equals(bytes), path).toBe(true);
  expect(Object.keys(readTree(into)).sort()).toEqual([...Object.keys(FILES), 'snapshot.manifest'].sort());
}

test('a snapshot arrives whole, with its manifest', async () => {
  const { download, into } = await stage();
  const bytes = Object.values(FILES).reduce((sum, { length }) => sum + length, 0);
  expect(await download()).toEqual({ bytes, files: 4 });
  expectWhole(into);
});

test('a file that is cut off goes on from its last byte', async () => {
  let cuts = 2;
  const { download, into, asked } = await stage(manifestOf(), (path, request, response) => {
    if (path !== 'deep/er/b.bin' || cuts-- <= 0) return false;
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const bytes = FILES[path]!;
    response.writeHead(from > 0 ? 206 : 200, {
      etag: '"e"',
      'content-length': bytes.length - from,
      ...(from > 0 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    });
    response.write(bytes.subarray(from, from + 70_000), () => setTimeout(() => response.destroy(), 50));
    return true;
  });
  await download();
  expectWhole(into);
  expect(asked.filter((line) => line.startsWith('deep'))).toHaveLength(3);
});

test('what an earlier attempt left is used where it is right, and goes where it is not', async () => {
  const { download, into, asked } = await stage();
  mkdirSync(join(into, 'deep/er'), { recursive: true });
  writeFileSync(join(into, 'deep/er/b.bin'), FILES['deep/er/b.bin']!);
  writeFileSync(join(into, 'a.txt'), 'wrong');
  writeFileSync(join(into, 'stranger'), 'x');
  symlinkSync('/etc/passwd', join(into, 'empty'));
  await download();
  expectWhole(into);
  expect(asked.some((line) => line.startsWith('deep'))).toBe(false);
});

test.each([
  ['leads outside', { '../outside': Buffer.from('x') }],
  ['is absolute', { '/tmp/outside': Buffer.from('x') }],
  ['takes the place of the manifest', { 'snapshot.manifest': Buffer.from('x') }],
])('a manifest with a path that %s is refused', async (_, files) => {
  const text = JSON.stringify({
    version: 1,
    entries: Object.entries(files).map(([path, { length: size }]) => ({ path, size, crc32: 0 })),
  });
  const { download, into, parent } = await stage(Buffer.from(text));
  await expect(download()).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
  expect(readTree(into)).toEqual({});
  expect(existsSync(join(parent, 'outside'))).toBe(false);
});

test.each([
  ['another snapshot', manifestOf(FILES, 'snapshot-2'), 'NODE_REPLY_INVALID'],
  ['no seal', Buffer.from('{"version":1,"entries":[]}'), 'NODE_REPLY_INVALID'],
  [
    'other bytes than were sealed',
    Buffer.from(manifestOf().toString().replace('"entries"', ' "entries"')),
    'NODE_REPLY_INVALID',
  ],
  ['no JSON', Buffer.from('<html>'), 'MANIFEST_INVALID'],
] as const)('a manifest with %s is refused', async (_, manifest, code) => {
  const { download, into } = await stage(manifest);
  await expect(download()).rejects.toMatchObject({ code });
  expect(readTree(into)).toEqual({});
});

test('a snapshot that does not fit on the disk is refused before anything is written', async () => {
  const { download, into } = await stage(
    (() => {
      const entries = [{ path: 'huge', size: Number.MAX_SAFE_INTEGER, crc32: 0 }];
      const snapshot = {
        id: 'snapshot-1',
        sequence: 1,
        created_at_ms: 0,
        engine: 'lsm',
        tool: 'test',
        total_bytes: 0,
      };
      return encodeManifest({ version: 1, entries, snapshot });
    })(),
  );
  await expect(download()).rejects.toMatchObject({ code: 'NO_SPACE' });
  expect(readTree(into)).toEqual({});
});

test.each([
  ['longer', (response: ServerResponse) => response.end(Buffer.alloc(1000, 1)), 'NODE_REPLY_INVALID'],
  [
    'endless',
    (response: ServerResponse) => {
      const more = (): void => {
        if (!response.destroyed && response.write(Buffer.alloc(64 * 1024, 1))) setImmediate(more);
        else response.once('drain', more);
      };
      more();
    },
    'NODE_REPLY_INVALID',
  ],
  ['shorter', (response: ServerResponse) => response.end('fir'), 'NODE_UNREACHABLE'],
  ['another', (response: ServerResponse) => response.end('FIRST'), 'COPY_DAMAGED'],
  ['not there', (response: ServerResponse) => response.writeHead(404).end(), 'NODE_REPLY_INVALID'],
  [
    'elsewhere',
    (response: ServerResponse) => response.writeHead(302, { location: '/x' }).end(),
    'NODE_REPLY_INVALID',
  ],
  ['never sent', () => {}, 'NODE_UNREACHABLE'],
] as const)('a file that is %s than its manifest says is not kept as whole', async (_, send, code) => {
  const { download, into } = await stage(manifestOf(), (path, _request, response) => {
    if (path !== 'a.txt') return false;
    send(response);
    return true;
  });
  await expect(download()).rejects.toMatchObject({ code });
  expect(existsSync(join(into, 'snapshot.manifest'))).toBe(false);
});
