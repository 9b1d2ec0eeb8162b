import { getEventListeners, once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { drillBackup } from '../../src/backup/drill-backup.ts';
import { cancelJob, showJob } from '../../src/backup/list-jobs.ts';
import { pruneBackups } from '../../src/backup/prune-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { BackupCoordinator } from '../../src/coordinator/backup.ts';
import type { GetOptions } from '../../src/destination/destination.ts';
import { openDestination } from '../../src/destination/open.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { errandReplySchema } from '../../src/rpc/elsewhere.ts';
import { startRepositoryConsole } from '../../src/server/elsewhere/repository-console.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { s3Url, useKeys } from '../support/s3.ts';
import { injected } from '../support/server.ts';
import { withPlans } from '../support/server-plans.ts';
import { temporaryFolder } from '../support/temp.ts';

// A server that takes requests and never answers. What waits for it ends soon after it was cancelled.

const before = { id: process.env.AWS_ACCESS_KEY_ID, secret: process.env.AWS_SECRET_ACCESS_KEY };
beforeAll(() => useKeys('key', 'secret'));
afterAll(() => useKeys(before.id, before.secret));

interface RecordedOptions {
  readonly from: string;
  readonly dataDir: string;
  readonly onJobCreated: (job: { readonly id: string }) => void;
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** The address of a bucket whose server answers as it is told. */
async function bucketThat(answer: Answer): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  return s3Url('bucket/p', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

const isOfBucket = ({ method, url }: IncomingMessage) => method === 'HEAD' && !url!.startsWith('/bucket/p');

test('a backup into a bucket that hangs ends when it is cancelled', async () => {
  const dataDir = join(await temporaryFolder(), 'data');
  mkdirSync(dataDir);
  const cancel = new AbortController();
  const to = await bucketThat(() => cancel.abort());
  await expect(backUp(dataDir, { to, signal: cancel.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
});

test.each([
  ['verify', (options: RecordedOptions) => verifyBackup('latest', options)],
  ['drill', (options: RecordedOptions) => drillBackup('latest', options)],
  ['prune', (options: RecordedOptions) => pruneBackups({ ...options, keepLast: 1 })],
])('a %s that waits for a bucket that hangs ends when its job is cancelled', async (_, run) => {
  const dataDir = await temporaryFolder();
  const repository = await temporaryFolder();
  await initRepository(repository);
  writeFileSync(join(dataDir, 'file'), 'x');
  await backUp(dataDir, {
    to: repository,
    coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
  });
  let id = '';
  const from = await bucketThat(() => void cancelJob(dataDir, id).catch(() => {})); // asked again, it is over
  const onJobCreated = (job: { readonly id: string }) => {
    id = job.id;
  };
  await expect(run({ from, dataDir, onJobCreated })).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(await showJob(dataDir, id)).toMatchObject({ status: 'interrupted', errorCode: 'CANCELLED' });
});

test('a restore from a bucket that hangs ends when it is cancelled', async () => {
  const into = join(await temporaryFolder(), 'into');
  const cancel = new AbortController();
  const from = await bucketThat(() => cancel.abort());
  await expect(restoreBackup('latest', { from, into, signal: cancel.signal })).rejects.toMatchObject({
    code: 'CANCELLED',
  });
});

test.each([
  ['GET', '/api/admin/repositories/offsite/backups', undefined],
  ['POST', '/api/admin/restore', { repository: 'offsite' }],
] as const)('a server that is closed waits for no bucket: %s %s', async (method, path, body) => {
  const given = await withPlans();
  const bucket = await bucketThat(() => void server.app.close());
  const settings = JSON.parse(readFileSync(given.settings, 'utf8'));
  settings.repositories.offsite.destination = bucket;
  writeFileSync(given.settings, JSON.stringify(settings));
  const server = await injected(given);
  const { json } = await server.rpc(method, path, body);
  expect(json).toMatchObject({ error: { code: 'CANCELLED' } });
});

test('an answer that stays away in its middle ends when the reading is cancelled', async () => {
  const cancel = new AbortController();
  const url = await bucketThat((request, response) => {
    if (isOfBucket(request)) return response.end();
    response.writeHead(200, { 'content-length': 10 });
    response.write('half');
  });
  const chunks = await (await openDestination(url, { signal: cancel.signal })).get('object');
  const read = async () => {
    for await (const _ of chunks!) cancel.abort();
  };
  await expect(read()).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('a server that ignores what range was asked for is not believed, not even when it goes on', async () => {
  const content = '0123456789';
  let isCut = false;
  const url = await bucketThat((request, response) => {
    response.writeHead(200, { 'content-length': content.length, etag: '"x"' });
    if (!isCut || request.method === 'HEAD') return response.end(content);
    isCut = false;
    response.write(content.slice(0, 4));
    setImmediate(() => response.destroy());
  });
  const destination = await openDestination(url);
  const read = async (options?: GetOptions) => {
    const parts: Uint8Array[] = [];
    for await (const part of (await destination.get('object', options))!) parts.push(part);
    return `${Buffer.concat(parts)}`;
  };
  const refused = { code: 'DESTINATION_UNREACHABLE', message: expect.stringContaining('range') };
  await expect(read({ range: { offset: 5, length: 3 } })).rejects.toMatchObject(refused);
  isCut = true;
  await expect(read()).rejects.toMatchObject(refused);
  expect(await read()).toBe(content);
});

test('an answer without a reason is told by its status', async () => {
  const url = await bucketThat((_, response) => response.writeHead(403).end());
  await expect(openDestination(url).then((destination) => destination.head('object'))).rejects.toMatchObject({
    code: 'DESTINATION_PERMISSION_DENIED',
    message: expect.stringContaining('answered 403: the keys are wrong, or lack a right'),
  });
});

test('what the server still answers right after a cancel counts', async () => {
  const cancel = new AbortController();
  const url = await bucketThat((_, response) => response.end());
  const destination = await openDestination(url, { signal: cancel.signal });
  vi.useFakeTimers({ toFake: ['setInterval'] }); // however slow this machine is
  onTestFinished(() => void vi.useRealTimers());
  cancel.abort();
  expect(await destination.head('object')).toMatchObject({ sizeBytes: 0 });
});

test('a client that is not used listens to nothing: the signal may live for months', async () => {
  const { signal } = new AbortController();
  const url = await bucketThat((_, response) => response.end('0123456789'));
  const destination = await openDestination(url, { signal });
  const warnings: Error[] = [];
  const keep = (warning: Error) => void warnings.push(warning);
  process.on('warning', keep);
  onTestFinished(() => void process.off('warning', keep));
  await Promise.all(Array.from({ length: 20 }, () => destination.head('object')));
  for await (const _ of (await destination.get('object'))!);
  expect(warnings).toEqual([]);
  await expect.poll(() => getEventListeners(signal, 'abort')).toHaveLength(0);
});

test('the console of a bucket that hangs ends what it waits for when it is told to, and when it is closed', async () => {
  const folder = await temporaryFolder();
  await initRepository(folder);
  const identity = readFileSync(join(folder, 'stillpoint-repository.json'));
  let hang: (() => void) | undefined;
  const url = await bucketThat((request, response) => {
    if (hang !== undefined) hang();
    else if (request.url!.includes('stillpoint-repository.json')) response.end(identity);
    else response.end('<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>');
  });
  const server = await startRepositoryConsole({
    ...{ from: { from: url }, port: 0, environment: systemEnvironment, audit: () => {} },
  });
  const ask = (method: string, path: string, body?: object) => {
    const headers = { 'x-api-key': server.key, 'content-type': 'application/json' };
    return fetch(`${server.url}/api/admin/${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    });
  };
  const hanging = () =>
    new Promise<void>((resolve) => {
      hang = resolve;
    });

  let isWaiting = hanging();
  const [store_id, backup_id] = [newUlid(Date.now()), newUlid(Date.now())];
  await ask('POST', 'errand', { action: 'verify', store_id, backup_id });
  await isWaiting;
  await ask('DELETE', 'errand');
  const stateOf = async () =>
    errandReplySchema.parse(await (await ask('GET', 'errand')).json()).errand?.status;
  await expect.poll(stateOf, { timeout: 30_000 }).toBe('cancelled');

  isWaiting = hanging();
  const page = ask('GET', 'repository');
  await isWaiting;
  await server.close();
  expect((await page).ok).toBe(false);
});
