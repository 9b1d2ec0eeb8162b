import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Lifecycle } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { SetClock } from '../support/fleet.ts';
import {
  altered,
  barrier,
  type Injected,
  injected,
  listening,
  smallLsm,
  untilFinished,
} from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

// What the controller of a fleet asks of one node.

const TTL = { run: 'run-1', ttl_ms: 60_000 };
const NEVER = '0'.repeat(32);

async function withClock(): Promise<Injected & { clock: SetClock }> {
  const clock = new SetClock();
  const dataDir = join(await temporaryFolder(), 'data');
  const environment = { ...systemEnvironment, clock };
  const server = await injected({ dataDir, lifecycle: new Lifecycle({ dataDir, environment }) });
  return Object.assign(server, { clock });
}

const quiesce = ({ rpc }: Injected, body: object = TTL) => rpc('POST', '/api/admin/quiesce', body);
const resume = ({ rpc }: Injected, epoch: string, run = 'run-1') =>
  rpc('POST', '/api/admin/resume', { run, epoch });
const put = ({ rpc }: Injected, key = 'a') => rpc('PUT', `/kv/${key}`, 'value');

async function takeBackup({ rpc }: Injected): Promise<string> {
  const { handle } = (await rpc('POST', '/api/admin/backup')).json;
  const { location } = await untilFinished(
    async () => (await rpc('GET', `/api/admin/backup/${handle}`)).json,
  );
  return location;
}

test('a quiesced node refuses writes and tells when to come again; reads go on; resuming ends it', async () => {
  const server = await withClock();
  await put(server);
  const { status, json } = await quiesce(server);
  expect(status).toBe(200);
  expect(json).toEqual({
    epoch: expect.stringMatching(/^[0-9a-f]{32}$/),
    expires_at_ms: server.clock.ms + 60_000,
  });
  for (const refused of [
    await put(server),
    await server.rpc('DELETE', '/kv/a'),
    await server.rpc('POST', '/kv/_batch', { ops: [{ op: 'put', key: 'b', value: '' }] }),
    await server.rpc('POST', '/api/admin/compaction'),
  ]) {
    expect(refused).toMatchObject({ status: 503, json: { error: { code: 'QUIESCED' } } });
    expect(refused.headers['retry-after']).toBe('60');
  }
  expect((await server.rpc('GET', '/kv/a')).bytes.toString()).toBe('value');
  expect((await server.rpc('GET', '/kv/b')).status).toBe(404);
  expect((await server.rpc('GET', '/api/admin/status')).json.quiesced).toEqual({
    run: 'run-1',
    expires_at_ms: server.clock.ms + 60_000,
  });
  expect((await resume(server, json.epoch)).json).toEqual({ resumed: true });
  expect((await resume(server, json.epoch)).json).toEqual({ resumed: true });
  expect((await put(server)).status).toBe(200);
  expect((await server.rpc('GET', '/api/admin/status')).json.quiesced).toBeNull();
});

test('a lease runs out by itself, is not renewed then, and a renewed one lives on', async () => {
  const server = await withClock();
  const { epoch } = (await quiesce(server)).json;
  server.clock.ms += 59_000;
  expect((await quiesce(server, { ...TTL, epoch })).json.expires_at_ms).toBe(server.clock.ms + 60_000);
  server.clock.ms += 59_000;
  expect((await put(server)).status).toBe(503);
  server.clock.ms += 1_000;
  const lost = { status: 409, json: { error: { code: 'LEASE_LOST' } } };
  expect(await quiesce(server, { ...TTL, epoch })).toMatchObject(lost);
  expect(await resume(server, epoch)).toMatchObject(lost);
  expect((await put(server)).status).toBe(200);
});

test('a stale controller opens nobody else’s window, and gets none of its own meanwhile', async () => {
  const server = await withClock();
  const old = (await quiesce(server)).json.epoch;
  server.clock.ms += 60_000;
  const { epoch } = (await quiesce(server, { ...TTL, run: 'run-2' })).json;
  for (const reply of [
    await resume(server, old),
    await resume(server, NEVER),
    await resume(server, epoch, 'run-1'),
    await quiesce(server, { ...TTL, epoch: old }),
    await quiesce(server, { ...TTL, epoch }),
  ])
    expect(reply).toMatchObject({ status: 409, json: { error: { code: 'LEASE_LOST' } } });
  for (const reply of [await quiesce(server), await quiesce(server, { ...TTL, dry: true })])
    expect(reply).toMatchObject({
      status: 409,
      json: { error: { code: 'CONFLICT', message: expect.stringContaining('run-2') } },
    });
  expect((await put(server)).status).toBe(503);
  expect((await resume(server, epoch, 'run-2')).status).toBe(200);
});

test('the same run gets a new epoch when its answer was lost, and the old one is dead', async () => {
  const server = await withClock();
  const first = (await quiesce(server)).json.epoch;
  const second = (await quiesce(server)).json.epoch;
  expect(second).not.toBe(first);
  expect((await resume(server, first)).status).toBe(409);
  expect((await put(server)).status).toBe(503);
  expect((await resume(server, second)).status).toBe(200);
});

test('a dry one changes nothing', async () => {
  const server = await withClock();
  expect((await quiesce(server, { ...TTL, dry: true })).json).toEqual({ epoch: null, expires_at_ms: null });
  expect((await put(server)).status).toBe(200);
});

test.each([
  [{ run: 'r', ttl_ms: 600_001 }],
  [{ run: 'r', ttl_ms: 0 }],
  [{ run: 'r' }],
  [{ ttl_ms: 1 }],
  [{ run: 'a b', ttl_ms: 1 }],
  [{ run: 'r', ttl_ms: 1, epoch: 'short' }],
  [{ run: 'r', ttl_ms: 1, more: 1 }],
])('%j is no request to quiesce', async (body) => {
  const server = await injected();
  expect(await quiesce(server, body)).toMatchObject({
    status: 400,
    json: { error: { code: 'INVALID_REQUEST' } },
  });
  expect((await put(server)).status).toBe(200);
});

test('the answer waits for the writes under way, and for the checkpoint', async () => {
  const atWrite = barrier();
  const steps: string[] = [];
  const backend = altered(smallLsm(), (database) => {
    const { write, checkpoint } = database;
    return {
      async write(ops) {
        await atWrite.wait();
        const written = await write.call(database, ops);
        steps.push('written');
        return written;
      },
      async checkpoint(context) {
        steps.push('checkpoint');
        return checkpoint?.call(database, context);
      },
    };
  });
  const server = await injected({ backend });
  const writing = put(server);
  await atWrite.reached;
  const quiescing = quiesce(server).then((reply) => {
    steps.push('quiesced');
    return reply;
  });
  await server.rpc('GET', '/kv/a');
  expect((await put(server, 'b')).status).toBe(503); // refused from the beginning
  expect(steps).toEqual([]);
  atWrite.open();
  expect((await writing).status).toBe(200);
  expect((await quiescing).status).toBe(200);
  expect(steps).toEqual(['written', 'checkpoint', 'quiesced']);
});

test('writes that do not end in time leave the node as it was', async () => {
  const atWrite = barrier();
  const backend = altered(smallLsm(), (database) => {
    const write = database.write.bind(database);
    return {
      async write(ops) {
        await atWrite.wait();
        return write(ops);
      },
    };
  });
  const server = await injected({ backend });
  const writing = put(server);
  await atWrite.reached;
  expect(await quiesce(server, { run: 'r', ttl_ms: 50 })).toMatchObject({
    status: 503,
    json: { error: { code: 'UNAVAILABLE' } },
  });
  expect((await server.rpc('GET', '/api/admin/status')).json.quiesced).toBeNull();
  atWrite.open();
  expect((await writing).status).toBe(200);
});

test('a checkpoint that does not end in time leaves the node as it was, and is not called cancelled', async () => {
  const backend = altered(smallLsm(), (database) => {
    const checkpoint = database.checkpoint!.bind(database);
    return {
      async checkpoint(context) {
        const { signal } = context!;
        await new Promise((resolve) => signal!.addEventListener('abort', resolve));
        return checkpoint(context);
      },
    };
  });
  const server = await injected({ backend });
  expect(await quiesce(server, { run: 'r', ttl_ms: 50 })).toMatchObject({
    status: 503,
    json: { error: { code: 'UNAVAILABLE', message: expect.stringContaining('before the lease ran out') } },
  });
  expect((await server.rpc('GET', '/api/admin/status')).json.quiesced).toBeNull();
  expect((await put(server)).status).toBe(200);
});

test('while a node is quiesced nothing else begins on it, and while something runs it is not quiesced', async () => {
  const server = await injected();
  await put(server);
  const { epoch } = (await quiesce(server)).json;
  for (const [method, url, body] of [
    ['POST', '/api/admin/backup'],
    ['POST', '/api/admin/restore'],
    ['POST', '/api/admin/restore/undo'],
    ['POST', '/api/admin/export'],
    ['POST', '/api/admin/lifecycle', { action: 'archive' }],
    ['DELETE', '/api/admin/backups/ts-1'],
  ] as const)
    expect(await server.rpc(method, url, body), url).toMatchObject({
      status: 409,
      json: { error: { code: 'CONFLICT', message: expect.stringContaining('run-1') } },
    });
  await resume(server, epoch);
  await takeBackup(server);
});

test('an identity is told, and survives a restart and a restore', async () => {
  const first = await injected();
  const { store_id, engine } = (await first.rpc('GET', '/api/admin/identity')).json;
  expect(engine).toBe('lsm');
  await put(first);
  await takeBackup(first);
  const { handle } = (await first.rpc('POST', '/api/admin/restore')).json;
  await untilFinished(async () => (await first.rpc('GET', `/api/admin/restore/${handle}`)).json);
  expect((await first.rpc('GET', '/api/admin/identity')).json.store_id).toBe(store_id);
  await first.app.close();
  const again = await injected({ dataDir: first.dataDir });
  expect((await again.rpc('GET', '/api/admin/identity')).json.store_id).toBe(store_id);
  expect((await (await injected()).rpc('GET', '/api/admin/identity')).json.store_id).not.toBe(store_id);
});

test('a pinned snapshot is not deleted, neither by name nor by keep, until its pin runs out', async () => {
  const server = await withClock();
  const { rpc, clock } = server;
  const names: string[] = [];
  for (let i = 0; i < 3; i++) {
    await put(server, `k${i}`);
    clock.ms += 1_000;
    names.push((await takeBackup(server)).split('/').at(-1)!);
  }
  const [first, second] = names;
  const pin = (name: string, ttl_ms: number, run = 'run-1') =>
    rpc('POST', `/api/admin/backups/${name}/pin`, { run, ttl_ms });
  expect((await pin(first!, 60_000)).json).toEqual({ name: first, expires_at_ms: clock.ms + 60_000 });
  expect((await pin(first!, 10_000, 'run-2')).status).toBe(200);
  expect(await rpc('DELETE', `/api/admin/backups/${first}`)).toMatchObject({
    status: 409,
    json: { error: { message: expect.stringContaining('pinned') } },
  });
  expect((await rpc('DELETE', `/api/admin/backups/${second}`)).status).toBe(200);
  await pin(first!, 0); // the other run's pin stays
  expect((await rpc('DELETE', `/api/admin/backups/${first}`)).status).toBe(409);
  clock.ms += 10_000;
  expect((await rpc('DELETE', `/api/admin/backups/${first}`)).status).toBe(200);
  for (const name of ['ts-1', '%2Fetc', '..%2F..%2F..'])
    expect((await pin(name, 1)).status, name).toBeGreaterThanOrEqual(400);
});

test('a snapshot that is not needed any more goes before a later backup, unless it is the newest or is pinned', async () => {
  const server = await injected();
  const { rpc } = server;
  const next = async () => {
    await put(server);
    return (await takeBackup(server)).split('/').at(-1)!;
  };
  const pin = (name: string, ttl_ms: number, discard: boolean) =>
    rpc('POST', `/api/admin/backups/${name}/pin`, { run: 'run-1', ttl_ms, discard });
  const there = async () =>
    (await rpc('GET', '/api/admin/backups')).json.snapshots.map(({ name }: { name: string }) => name);
  const kept = await next();
  const first = await next();
  await pin(first, 0, true); // the newest
  const second = await next();
  expect(await there()).toEqual([kept, first, second]);
  await pin(second, 600_000, true);
  const third = await next();
  expect(await there()).toEqual([kept, second, third]);
  await pin(second, 0, false);
  const fourth = await next();
  expect(await there()).toEqual([kept, third, fourth]);
});

test('a list of pins that cannot be read keeps every snapshot', async () => {
  const server = await injected();
  await put(server);
  const name = (await takeBackup(server)).split('/').at(-1)!;
  await put(server, 'b');
  await takeBackup(server);
  writeFileSync(join(server.dataDir, '.lifecycle/pins.json'), '{');
  expect((await server.rpc('DELETE', `/api/admin/backups/${name}`)).status).toBe(500);
  expect(existsSync(join(server.dataDir, '.lifecycle/backup', name))).toBe(true);
});

test('a snapshot is fetched byte for byte, in ranges too, and only what its manifest names', async () => {
  const server = await injected();
  const { rpc } = server;
  for (let i = 0; i < 50; i++) await put(server, `key${i}`);
  await rpc('POST', '/api/admin/compaction');
  const location = await takeBackup(server);
  const url = `/api/admin/backups/${location.split('/').at(-1)}`;
  const manifest = await rpc('GET', `${url}/manifest`);
  expect(manifest.bytes).toEqual(readFileSync(join(location, 'snapshot.manifest')));
  const { entries } = JSON.parse(manifest.bytes.toString());
  expect(entries.length).toBeGreaterThan(1);
  for (const { path, size } of entries) {
    const file = `${url}/files/${encodeURIComponent(path)}`;
    const bytes = readFileSync(join(location, path));
    const whole = await rpc('GET', file);
    expect(whole.status, path).toBe(200);
    expect(whole.bytes.equals(bytes), path).toBe(true);
    expect(whole.headers).toMatchObject({ 'accept-ranges': 'bytes', 'content-length': String(size) });
    const etag = String(whole.headers.etag);
    const ask = (range: string, more = {}) => rpc('GET', file, undefined, { range, ...more });
    const middle = Math.floor(size / 2);
    const rest = await ask(`bytes=${middle}-`, { 'if-range': etag });
    expect(rest.status).toBe(206);
    expect(rest.headers['content-range']).toBe(`bytes ${middle}-${size - 1}/${size}`);
    expect(rest.bytes.equals(bytes.subarray(middle))).toBe(true);
    expect((await ask('bytes=0-0')).bytes).toEqual(bytes.subarray(0, 1));
    expect((await ask(`bytes=1-${size * 2}`)).bytes.byteLength).toBe(size - 1);
    expect(await ask(`bytes=${size}-`)).toMatchObject({
      status: 416,
      json: { error: { code: 'RANGE_INVALID' } },
    });
    expect((await ask(`bytes=${middle}-`, { 'if-range': '"other"' })).bytes.byteLength).toBe(size);
  }
  for (const path of ['nothing', '../latest', 'snapshot.manifest', '/etc/passwd', '.lifecycle'])
    expect((await rpc('GET', `${url}/files/${encodeURIComponent(path)}`)).status, path).toBe(404);
  for (const name of [
    'ts-1',
    encodeURIComponent('/etc'),
    encodeURIComponent('../../..'),
    encodeURIComponent(server.dataDir),
  ])
    expect((await rpc('GET', `/api/admin/backups/${name}/manifest`)).status, name).toBeGreaterThanOrEqual(
      400,
    );
});

test('a file that is not as its manifest says is not served', async () => {
  const server = await injected();
  await put(server);
  const location = await takeBackup(server);
  const url = `/api/admin/backups/${location.split('/').at(-1)}/files/checkpoint.meta`;
  writeFileSync(join(location, 'checkpoint.meta'), 'longer than it was, by far, and by more than that');
  expect(await server.rpc('GET', url)).toMatchObject({
    status: 500,
    json: { error: { code: 'COPY_DAMAGED' } },
  });
});

test('a reader that leaves frees the snapshot', async () => {
  const { server } = await listening();
  const call = (path: string, init?: RequestInit) => fetch(`${server.url}${path}`, init);
  // biome-ignore lint/suspicious/noExplicitAny: a reply of any shape
  const json = async (path: string, init?: RequestInit): Promise<any> => (await call(path, init)).json();
  await call('/kv/a', { method: 'PUT', body: createHash('sha256').update('').digest('hex').repeat(20_000) });
  const { handle } = await json('/api/admin/backup', { method: 'POST' });
  const { location } = await untilFinished(() => json(`/api/admin/backup/${handle}`));
  const url = `/api/admin/backups/${location.split('/').at(-1)}`;
  const { entries } = await json(`${url}/manifest`);
  const [{ path }] = [...entries].sort((a, b) => b.size - a.size);
  const controller = new AbortController();
  const reply = await call(`${url}/files/${encodeURIComponent(path)}`, { signal: controller.signal });
  await reply.body!.getReader().read();
  controller.abort();
  await call('/kv/b', { method: 'PUT', body: '1' });
  const next = await json('/api/admin/backup', { method: 'POST' });
  await untilFinished(() => json(`/api/admin/backup/${next.handle}`));
  await expect
    .poll(async () => (await call(url, { method: 'DELETE' })).status, { timeout: 10_000 })
    .toBe(200);
});

const backup = ({ rpc }: Injected, body: object) => rpc('POST', '/api/admin/backup', body);
const outcome = ({ rpc }: Injected, handle: string) =>
  untilFinished(async () => (await rpc('GET', `/api/admin/backup/${handle}`)).json);

test('the same key gives the same run, also after it ended, after a restart, and with a lease that is gone', async () => {
  const server = await injected();
  await put(server);
  const { epoch } = (await quiesce(server)).json;
  const body = { key: 'run-1/snapshot-a/1/1', epoch, keep: 5 };
  const first = (await backup(server, body)).json;
  const second = (await backup(server, body)).json;
  expect(second.handle).toBe(first.handle);
  expect(await outcome(server, first.handle)).toMatchObject({ state: { status: 'completed' } });
  await resume(server, epoch);
  expect((await backup(server, body)).json).toMatchObject({
    handle: first.handle,
    state: { status: 'completed' },
  });
  await server.app.close();
  const again = await injected({ dataDir: server.dataDir });
  expect((await backup(again, body)).json).toMatchObject({ handle: first.handle, location: first.location });
  expect((await again.rpc('GET', '/api/admin/backups')).json.snapshots).toHaveLength(1);
});

test('a key stands for one request, and one that was refused may be sent again', async () => {
  const server = await injected();
  await put(server);
  const lease = (await quiesce(server)).json;
  expect((await backup(server, { key: 'k' })).status).toBe(409); // quiesced, and no epoch
  await resume(server, lease.epoch);
  const { handle } = (await backup(server, { key: 'k' })).json;
  expect(await backup(server, { key: 'k', keep: 1 })).toMatchObject({
    status: 409,
    json: { error: { code: 'KEY_REUSED' } },
  });
  await outcome(server, handle);
});

test('a key whose run is not known any more begins no second one', async () => {
  const server = await withClock();
  await put(server);
  const { handle } = (await backup(server, { key: 'k' })).json;
  await outcome(server, handle);
  const gone = { status: 410, json: { error: { code: 'KEY_FORGOTTEN' } } };
  server.clock.ms += 31 * 24 * 60 * 60 * 1000;
  expect(await backup(server, { key: 'k' })).toMatchObject(gone);
  // A server that died in the middle of beginning a run leaves this.
  const file = join(server.dataDir, '.lifecycle/backup-keys.json');
  const document = JSON.parse(readFileSync(file, 'utf8'));
  document.keys.push({
    key: 'cut',
    digest: createHash('sha256').update('{"key":"cut"}').digest('hex'),
    at_ms: server.clock.ms,
    id: null,
  });
  writeFileSync(file, JSON.stringify(document));
  expect(await backup(server, { key: 'cut' })).toMatchObject(gone);
  expect((await server.rpc('GET', '/api/admin/backups')).json.snapshots).toHaveLength(1);
});
