import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { leveldbBackend } from '../../src/server/index.ts';
import { type Injected, injected, untilFinished } from '../support/server.ts';
import { smallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// What the restore of a fleet asks of one node: to be held without writes, to take a snapshot, to restore it once and to undo that once.

const RUN = 'restore-1';
const call = (path: string) => `/api/admin/${path}`;
const hold = ({ rpc }: Injected, run = RUN, more: object = {}) => rpc('POST', call('hold'), { run, ...more });
const release = ({ rpc }: Injected, run = RUN) => rpc('POST', call('release'), { run });
const put = ({ rpc }: Injected, value: string) => rpc('PUT', '/kv/a', value);
const value = async ({ rpc }: Injected) => (await rpc('GET', '/kv/a')).bytes.toString();
const CONFLICT = { status: 409, json: { error: { code: 'CONFLICT' } } };

async function finished({ rpc }: Injected, kind: 'backup' | 'restore', reply: { json: { handle: string } }) {
  const { handle } = reply.json;
  expect(handle, JSON.stringify(reply.json)).toBeDefined();
  return untilFinished(async () => (await rpc('GET', call(`${kind}/${handle}`))).json);
}

/** Sends a snapshot of the server as it is now back to it, as a controller would. */
async function sent(server: Injected, run = RUN): Promise<string> {
  const { location } = await finished(server, 'backup', await server.rpc('POST', call('backup')));
  const { entries } = JSON.parse(readFileSync(join(location, 'snapshot.manifest'), 'utf8'));
  for (const path of ['snapshot.manifest', ...entries.map(({ path }: { path: string }) => path)]) {
    const bytes = readFileSync(join(location, path));
    const url = call(`incoming/${run}/files/${encodeURIComponent(path)}`);
    const half = Math.floor(bytes.byteLength / 2);
    await server.rpc('PUT', `${url}?from=0`, bytes.subarray(0, half));
    expect((await server.rpc('GET', url)).json).toEqual({ bytes: half });
    const reply = await server.rpc(
      'PUT',
      `${url}?from=${half}&size=${bytes.byteLength}`,
      bytes.subarray(half),
    );
    expect(reply.json).toEqual({ bytes: bytes.byteLength });
  }
  return prove(server, run);
}

async function prove({ rpc }: Injected, run = RUN): Promise<string> {
  for (;;) {
    const { status, json } = await rpc('POST', call(`incoming/${run}/prove`), {});
    expect(status, JSON.stringify(json)).toBe(200);
    if (json.state === 'proven') return json.location;
    if (json.state === 'failed') throw new Error(`${json.code} ${json.reason}`);
  }
}

test('a held node takes no writes until it is released, also after a restart; reads go on', async () => {
  const server = await injected();
  await put(server, 'old');
  expect((await hold(server)).json).toEqual({ state: 'before', held: true, written: false });
  const refused = await put(server, 'new');
  expect(refused).toMatchObject({ status: 503, json: { error: { code: 'QUIESCED' } } });
  expect(refused.headers['retry-after']).toBe('60');
  expect(await hold(server, 'restore-2')).toMatchObject(CONFLICT);
  for (const path of ['backup', 'restore', 'restore/undo', 'export'])
    expect(await server.rpc('POST', call(path)), path).toMatchObject(CONFLICT);
  expect(await server.rpc('POST', call('quiesce'), { run: 'run-1', ttl_ms: 1000 })).toMatchObject(CONFLICT);
  expect(await release(server, 'restore-2')).toMatchObject(CONFLICT);
  await server.app.close();
  const again = await injected({ dataDir: server.dataDir });
  expect((await again.rpc('GET', call('status'))).json.quiesced).toEqual({ run: RUN, expires_at_ms: null });
  expect((await put(again, 'new')).status).toBe(503);
  expect(await value(again)).toBe('old');
  expect((await release(again)).json).toEqual({ released: true });
  expect((await release(again)).json).toEqual({ released: true });
  expect((await put(again, 'new')).status).toBe(200);
  expect(existsSync(join(server.dataDir, '.lifecycle/restore-hold.json'))).toBe(false);
});

test('a hold takes the place of a lease that lives, and is refused for one that ran out or is of another run', async () => {
  const server = await injected();
  const quiesce = async (ttl_ms: number, run = RUN) =>
    (await server.rpc('POST', call('quiesce'), { run, ttl_ms })).json.epoch as string;
  const LOST = { status: 409, json: { error: { code: 'LEASE_LOST' } } };
  const short = await quiesce(300);
  while ((await put(server, 'old')).status !== 200); // it runs out
  expect(await hold(server, RUN, { epoch: short })).toMatchObject(LOST);
  expect((await put(server, 'old')).status).toBe(200);
  const epoch = await quiesce(60_000);
  expect(await hold(server, 'restore-2', { epoch })).toMatchObject(CONFLICT);
  expect(await hold(server, RUN, { epoch: 'f'.repeat(32) })).toMatchObject(LOST);
  expect((await hold(server, RUN, { epoch })).json).toMatchObject({ held: true });
  expect((await hold(server, RUN, { epoch })).json).toMatchObject({ held: true }); // its answer was lost
  expect((await server.rpc('GET', call('status'))).json.quiesced).toEqual({ run: RUN, expires_at_ms: null });
  await release(server);
  expect((await put(server, 'new')).status).toBe(200);
});

test('a held node restores what was sent once, and takes that back once', async () => {
  const server = await injected();
  await put(server, 'old');
  const source = await sent(server);
  await put(server, 'new');
  const begin = (key: string) => server.rpc('POST', call('restore'), { key, run: RUN, source });
  const undo = (key: string) => server.rpc('POST', call('restore/undo'), { key, run: RUN });
  expect(await begin('k0')).toMatchObject({ status: 409, json: { error: { code: 'LEASE_LOST' } } });
  await hold(server);
  expect(await undo('k0')).toMatchObject(CONFLICT);
  const first = await begin('k1');
  expect((await finished(server, 'restore', first)).state.status).toBe('completed');
  expect((await begin('k1')).json.handle).toBe(first.json.handle);
  expect(await begin('k2')).toMatchObject(CONFLICT);
  expect(await value(server)).toBe('old');
  expect((await hold(server)).json.state).toBe('restored');
  expect((await put(server, 'x')).status).toBe(503);
  const back = await undo('k3');
  expect((await finished(server, 'restore', back)).state.status).toBe('completed');
  expect((await undo('k3')).json.handle).toBe(back.json.handle);
  expect(await undo('k4')).toMatchObject(CONFLICT);
  expect((await hold(server)).json.state).toBe('undone');
  expect(await value(server)).toBe('new');
  await release(server);
  expect((await put(server, 'x')).status).toBe(200);
});

test('after it was released a node tells whether writes came, also after a restart, and whether it was restored again', async () => {
  const server = await injected();
  await put(server, 'old');
  const source = await sent(server);
  await put(server, 'new');
  await hold(server);
  await finished(server, 'restore', await server.rpc('POST', call('restore'), { run: RUN, source }));
  await release(server);
  expect((await hold(server, RUN, { dry: true })).json).toEqual({
    state: 'restored',
    held: false,
    written: false,
  });
  await server.app.close();
  const again = await injected({ dataDir: server.dataDir });
  await put(again, 'later');
  expect((await hold(again, RUN, { dry: true })).json).toEqual({
    state: 'restored',
    held: false,
    written: true,
  });
  await finished(again, 'restore', await again.rpc('POST', call('restore'), { source }));
  expect((await hold(again)).json).toEqual({ state: 'replaced', held: true, written: true });
  expect(await again.rpc('POST', call('restore/undo'), { run: RUN })).toMatchObject(CONFLICT);
});

test('a snapshot that did not arrive whole is not proven, and paths lead nowhere else', async () => {
  const server = await injected();
  await put(server, 'old');
  expect(await server.rpc('POST', call(`incoming/${RUN}/prove`), {})).toMatchObject({ status: 404 });
  const location = await sent(server);
  const manifest = readFileSync(join(location, 'snapshot.manifest'), 'utf8');
  const { path, size } = JSON.parse(manifest).entries.find(({ size }: { size: number }) => size > 100);
  const url = call(`incoming/${RUN}/files/${encodeURIComponent(path)}`);
  await server.rpc('PUT', `${url}?from=50&size=${size}`, 'x');
  await expect(prove(server)).rejects.toThrow(/COPY_DAMAGED/);
  for (const bad of ['../x', '/etc/x', '.lifecycle/x', 'a//b', 'a/../b'])
    expect(
      await server.rpc('PUT', call(`incoming/${RUN}/files/${encodeURIComponent(bad)}`), 'x'),
      bad,
    ).toMatchObject({ status: 400 });
  for (const bad of ['..', '.', 'a%2Fb', 'a.b'])
    expect((await server.rpc('PUT', call(`incoming/${bad}/files/a`), 'x')).status, bad).not.toBe(200);
  const large = Buffer.alloc(4 * 1024 * 1024 + 1);
  expect(await server.rpc('PUT', url, large)).toMatchObject({ status: 413 });
  expect((await server.rpc('PUT', call('incoming/another/files/a'), 'x')).status).toBe(200);
  expect(existsSync(location)).toBe(false);
  expect((await server.rpc('DELETE', call('incoming/another'))).status).toBe(200);
});

test('a note of the hold that nobody can read keeps the server from starting, and says what to do', async () => {
  const server = await injected();
  await hold(server);
  await server.app.close();
  writeFileSync(join(server.dataDir, '.lifecycle/restore-hold.json'), '{"version":1,');
  await expect(injected({ dataDir: server.dataDir })).rejects.toMatchObject({ code: 'STORE_INVALID' });
});

/** A node that was restored and let go of, and whose server has ended. */
async function restoredAndClosed(): Promise<string> {
  const server = await injected();
  await put(server, 'old');
  const source = await sent(server);
  await hold(server);
  const reply = await server.rpc('POST', call('restore'), { key: 'k', run: RUN, source });
  expect((await finished(server, 'restore', reply)).state.status).toBe('completed');
  await release(server);
  await server.app.close();
  return server.dataDir;
}

const written = async (server: Injected) => (await hold(server, RUN, { dry: true })).json.written;

test('a restart is no write; one made while no server ran is, and stays one', async () => {
  const dataDir = await restoredAndClosed();
  const restarted = await injected({ dataDir });
  expect(await written(restarted)).toBe(false);
  await restarted.app.close();
  const database = await smallLsm().open(dataDir);
  await database.write([{ type: 'put', key: Buffer.from('a'), value: Buffer.from('precious') }]);
  await database.close();
  for (let i = 0; i < 2; i++) {
    const again = await injected({ dataDir });
    expect((await hold(again, RUN, { dry: true })).json).toEqual({
      state: 'restored',
      held: false,
      written: true,
    });
    await again.app.close();
  }
});

/** What the folder is when its server dies at this moment. */
async function diedNow(dataDir: string): Promise<string> {
  const died = join(await temporaryFolder(), 'died');
  execFileSync('cp', ['-a', dataDir, died]); // with the whole time of each file
  return died;
}

test.each([smallLsm, leveldbBackend])('a server that died without a write leaves none', async (backend) => {
  const server = await injected({ backend: backend() });
  await put(server, 'old');
  const source = await sent(server);
  await hold(server);
  await finished(server, 'restore', await server.rpc('POST', call('restore'), { run: RUN, source }));
  await release(server);
  const restarted = await injected({ backend: backend(), dataDir: await diedNow(server.dataDir) });
  expect(await written(restarted)).toBe(false);
  const died = await diedNow(restarted.dataDir);
  const meddled = await diedNow(restarted.dataDir);
  expect(await written(await injected({ backend: backend(), dataDir: died }))).toBe(false);
  const database = await backend().open(meddled);
  await database.write([{ type: 'put', key: Buffer.from('a'), value: Buffer.from('precious') }]);
  await database.close();
  expect(await written(await injected({ backend: backend(), dataDir: meddled }))).toBe(true);
  await put(restarted, 'later');
  const later = await injected({ backend: backend(), dataDir: await diedNow(restarted.dataDir) });
  expect(await written(later)).toBe(true);
});

test('a server that died while it was held again by the run has no writes, whatever its files say', async () => {
  let server = await injected({ dataDir: await restoredAndClosed() });
  await hold(server);
  for (let i = 0; i < 2; i++) {
    const died = await diedNow(server.dataDir);
    const log = join(died, 'lsm.wal');
    writeFileSync(log, readFileSync(log)); // as after an exchange that was cut off
    server = await injected({ dataDir: died });
    const report = { state: 'restored', held: true, written: false };
    expect((await hold(server, RUN, { dry: true })).json, `${i}`).toEqual(report);
  }
});
