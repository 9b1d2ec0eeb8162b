import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openLsm } from '../../src/lsm-database/index.ts';
import { startServer } from '../../src/server/index.ts';
import { altered, barrier, listening, smallLsm, untilFinished, withSlowHold } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// biome-ignore lint/suspicious/noExplicitAny: each route has a reply of its own
type Json = any;
const post = async (url: string, body?: object): Promise<Json> =>
  (await fetch(url, { method: 'POST', ...(body && { body: JSON.stringify(body) }) })).json();
const get = async (url: string): Promise<Json> => (await fetch(url)).json();

/** Reads server-sent events as they come. */
async function* eventsOf(
  response: Response,
): AsyncGenerator<{ event: string; data: { state: { status: string } } }> {
  let text = '';
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const [, event = '', data = ''] = /^event: (\w+)\ndata: (.*)$/s.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      yield { event, data: JSON.parse(data) };
    }
  }
  expect(text).toBe('');
}

test('events tell the state at once, each change and the progress, and end with the run', async () => {
  const { backend, atHold } = withSlowHold();
  const { server } = await listening({ backend });
  const { handle, location } = await post(`${server.url}/api/admin/backup`);
  await atHold.reached;
  const url = `${server.url}/api/admin/backup/${handle}/events`;
  const response = await fetch(url);
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  const seen: string[] = [];
  const phases: unknown[] = [];
  for await (const { event, data } of eventsOf(response)) {
    expect(data).toMatchObject({ handle, location, state: { status: expect.any(String) } });
    if (event === 'progress') atHold.open(); // the run stood still, and was told of all the same
    seen.push(event);
    if (event === 'state') phases.push((data.state as { phase?: unknown }).phase);
  }
  expect(seen[0]).toBe('state');
  expect(seen).toContain('progress');
  expect(seen.at(-1)).toBe('state');
  expect(phases).toEqual(expect.arrayContaining(['checkpoint', 'capture', 'prove', 'mark']));

  // Whoever comes later gets the end alone; and the next run can begin.
  const late = [];
  for await (const { event, data } of eventsOf(await fetch(url))) late.push([event, data.state.status]);
  expect(late).toEqual([['state', 'completed']]);
  expect((await post(`${server.url}/api/admin/backup`)).state.status).toBe('running');
});

test('clients that leave in the middle of a stream leave nothing behind', async () => {
  const { backend, atHold } = withSlowHold();
  const { server } = await listening({ backend });
  const { handle } = await post(`${server.url}/api/admin/backup`);
  await atHold.reached;
  const url = `${server.url}/api/admin/backup/${handle}/events`;
  for (let i = 0; i < 20; i++) {
    const controller = new AbortController();
    const events = eventsOf(await fetch(url, { signal: controller.signal }));
    expect((await events.next()).value?.event).toBe('state');
    controller.abort();
    await events.next().catch(() => undefined);
  }
  atHold.open();
  const done = await untilFinished(() => get(`${server.url}/api/admin/backup/${handle}`));
  expect(done.state.status).toBe('completed');
});

test('closing ends streams, cancels the snapshot under way and frees the folder', async () => {
  const { backend, atHold } = withSlowHold();
  const { server, dataDir, audit } = await listening({ backend });
  await fetch(`${server.url}/kv/a`, { method: 'PUT', body: '1' });
  const { handle } = await post(`${server.url}/api/admin/backup`);
  await atHold.reached;
  const events = eventsOf(await fetch(`${server.url}/api/admin/backup/${handle}/events`));
  await events.next();
  const closing = server.close();
  atHold.open(); // the late hold is let go by the coordinator
  for await (const _ of events);
  await closing;
  await expect(fetch(`${server.url}/api/admin/health`)).rejects.toThrow();
  expect(audit.at(-1)).toMatchObject({
    action: 'backup',
    outcome: 'cancelled',
    code: 'CANCELLED',
    id: handle,
  });
  expect(readdirSync(join(dataDir, '.lifecycle/backup'))).toEqual(['records.jsonl']);
  const db = await openLsm(dataDir);
  expect((await db.get('a'))?.toString()).toBe('1');
  await db.close();
  expect(server.close()).toBe(closing);
});

test('closing lets requests under way end', async () => {
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
  const { server, dataDir } = await listening({ backend });
  const put = fetch(`${server.url}/kv/a`, { method: 'PUT', body: '1' });
  await atWrite.reached;
  const closing = server.close();
  atWrite.open();
  expect((await put).status).toBe(200);
  await closing;
  const db = await openLsm(dataDir);
  expect((await db.get('a'))?.toString()).toBe('1');
  await db.close();
});

test('a request that never ends does not keep the server from closing', async () => {
  const atRead = barrier();
  const backend = altered(smallLsm(), () => ({
    get: () => atRead.wait() as never,
  }));
  const { server } = await listening({ backend, limits: { shutdownMs: 50 } });
  const stuck = fetch(`${server.url}/kv/a`);
  await atRead.reached;
  const closing = server.close();
  await expect(stuck).rejects.toThrow(); // cut off
  atRead.open();
  await closing;
});

test('snapshots under concurrent writers hold what was acknowledged before them (invariant 5)', async () => {
  const { server } = await listening();
  const acknowledged = new Set<string>();
  let isOver = false;
  const writer = async (name: string) => {
    for (let i = 0; !isOver; i++) {
      const key = `${name}-${String(i).padStart(6, '0')}`;
      const { status } = await fetch(`${server.url}/kv/${key}`, { method: 'PUT', body: 'v'.repeat(100) });
      expect(status).toBe(200);
      acknowledged.add(key);
    }
  };
  const writers = ['w0', 'w1', 'w2', 'w3'].map(writer);
  try {
    for (let round = 0; round < perTier(2, 5); round++) {
      const before = [...acknowledged];
      const { handle, location } = await post(`${server.url}/api/admin/backup`);
      const done = await untilFinished(() => get(`${server.url}/api/admin/backup/${handle}`));
      expect(done.state).toMatchObject({ status: 'completed', reason: null });
      const keys = await keysOf(location);
      for (const key of before) expect(keys.has(key), key).toBe(true);
      for (const key of keys) expectPredecessor(keys, key);
    }
  } finally {
    isOver = true;
    await Promise.all(writers);
  }
  expect(acknowledged.size).toBeGreaterThan(20);
});

/** A writer waits for each write before the next: a state that has one has all before it. */
function expectPredecessor(keys: ReadonlySet<string>, key: string): void {
  const [name, number] = key.split('-') as [string, string];
  if (Number(number) === 0) return;
  const before = `${name}-${String(Number(number) - 1).padStart(6, '0')}`;
  expect(keys.has(before), `${before} before ${key}`).toBe(true);
}

/** The keys of the database in a folder, read from a copy of it. */
async function keysOf(location: string): Promise<Set<string>> {
  const copy = join(await temporaryFolder(), 'copy');
  cpSync(location, copy, { recursive: true });
  const db = await openLsm(copy);
  const keys = new Set<string>();
  for await (const [key] of db.iterate()) keys.add(key.toString());
  await db.close();
  return keys;
}

test('no acknowledged write is lost to a restore: it is in the undo folder or in the new database (invariant 7)', async () => {
  const { server, dataDir } = await listening();
  const url = `${server.url}/kv`;
  await fetch(`${url}/base`, { method: 'PUT', body: 'x' });
  const backup = await post(`${server.url}/api/admin/backup`);
  await untilFinished(() => get(`${server.url}/api/admin/backup/${backup.handle}`));

  const acknowledged = new Set<string>();
  const refused = new Map<number, string>();
  let isOver = false;
  const writer = async (name: string) => {
    for (let i = 0; !isOver; i++) {
      const key = `${name}-${i}`;
      const response = await fetch(`${url}/${key}`, { method: 'PUT', body: 'x' });
      if (response.status === 200) acknowledged.add(key);
      else refused.set(response.status, ((await response.json()) as Json).error.code);
    }
  };
  const writers = ['w0', 'w1', 'w2', 'w3'].map(writer);
  const rounds = perTier(2, 5);
  try {
    for (let round = 0; round < rounds; round++) {
      const size = acknowledged.size;
      while (acknowledged.size < size + 10) await get(`${server.url}/api/admin/health`);
      const { handle } = await post(`${server.url}/api/admin/restore`, {});
      const done = await untilFinished(() => get(`${server.url}/api/admin/restore/${handle}`));
      expect(done.state).toMatchObject({ status: 'completed', reason: null });
    }
  } finally {
    isOver = true;
    await Promise.all(writers);
  }
  await server.close();
  // Only these two: the mode blocks writes, or the database is closed for the moment.
  for (const [status, code] of refused)
    expect([status, code]).toEqual(status === 409 ? [409, 'CONFLICT'] : [503, 'UNAVAILABLE']);

  const undo = join(dataDir, '.lifecycle/restore-backup');
  const undoFolders = readdirSync(undo);
  expect(undoFolders).toHaveLength(rounds);
  const found = await keysOf(dataDir);
  for (const name of undoFolders) for (const key of await keysOf(join(undo, name))) found.add(key);
  expect([...acknowledged].filter((key) => !found.has(key))).toEqual([]);
  expect(found.has('base')).toBe(true);
  expect(acknowledged.size).toBeGreaterThanOrEqual(10 * rounds);
});

test('while a restore has the database closed, requests are told so, and health too', async () => {
  const atOpen = barrier();
  let opened = 0;
  const inner = smallLsm();
  const backend = {
    engine: inner.engine,
    async open(dir: string) {
      if (opened++ > 0) await atOpen.wait();
      return inner.open(dir);
    },
  };
  const { server } = await listening({ backend });
  const answer = async (method: string, path: string) => {
    const response = await fetch(`${server.url}${path}`, { method });
    return [response.status, ((await response.json()) as Json).error?.code];
  };
  await fetch(`${server.url}/kv/a`, { method: 'PUT', body: 'x' });
  const backup = await post(`${server.url}/api/admin/backup`);
  await untilFinished(() => get(`${server.url}/api/admin/backup/${backup.handle}`));
  const restore = await post(`${server.url}/api/admin/restore`);
  await atOpen.reached;
  expect(await answer('GET', '/kv/a')).toEqual([503, 'UNAVAILABLE']);
  expect(await answer('GET', '/kv')).toEqual([503, 'UNAVAILABLE']);
  expect(await answer('PUT', '/kv/a')).toEqual([409, 'CONFLICT']);
  expect(await answer('GET', '/api/admin/health')).toEqual([503, 'UNAVAILABLE']);
  expect(await answer('POST', '/api/admin/backup')).toEqual([409, 'CONFLICT']);
  expect(await get(`${server.url}/api/admin/status`)).toMatchObject({
    maintenance: true,
    overall_status: 'degraded',
  });
  expect(await get(`${server.url}/api/admin/capabilities`)).toEqual({
    scope: 'restricted',
    allowed_actions: [],
  });
  atOpen.open();
  const done = await untilFinished(() => get(`${server.url}/api/admin/restore/${restore.handle}`));
  expect(done.state.status).toBe('completed');
  expect(await (await fetch(`${server.url}/kv/a`)).text()).toBe('x');
  expect(await get(`${server.url}/api/admin/status`)).toMatchObject({ mode: 'normal', overall_status: 'ok' });
});

test('a database that cannot be opened after a restore is put back, and served again', async () => {
  const inner = smallLsm();
  let failures = 0;
  const backend = {
    engine: inner.engine,
    async open(dir: string) {
      if (failures-- > 0) throw new Error('not this time');
      return inner.open(dir);
    },
  };
  const { server } = await listening({ backend });
  const put = (value: string) => fetch(`${server.url}/kv/a`, { method: 'PUT', body: value });
  const read = async () => (await fetch(`${server.url}/kv/a`)).text();
  const restore = async () => {
    const { handle } = await post(`${server.url}/api/admin/restore`);
    return (await untilFinished(() => get(`${server.url}/api/admin/restore/${handle}`))).state;
  };
  await put('old');
  const backup = await post(`${server.url}/api/admin/backup`);
  await untilFinished(() => get(`${server.url}/api/admin/backup/${backup.handle}`));
  await put('new');

  failures = 1;
  expect(await restore()).toMatchObject({ status: 'failed', code: 'HOOK_FAILED' });
  expect(await read()).toBe('new');
  expect(await get(`${server.url}/api/admin/status`)).toMatchObject({ mode: 'normal', overall_status: 'ok' });

  // Neither the new nor the old state opens: reads are refused, and a restore that works is the way out.
  failures = 2;
  expect(await restore()).toMatchObject({ status: 'failed' });
  expect((await fetch(`${server.url}/kv/a`)).status).toBe(503);
  expect((await put('x')).status).toBe(409);
  expect(await get(`${server.url}/api/admin/status`)).toMatchObject({
    mode: 'read_only',
    overall_status: 'degraded',
    recovery_state: { outcome: 'failed', reason: 'not this time' },
  });
  expect(await restore()).toMatchObject({ status: 'completed' });
  expect(await read()).toBe('old');
  expect((await put('newest')).status).toBe(200);
});

test('a start that fails leaves nothing open', async () => {
  const { server } = await listening();
  const dataDir = join(await temporaryFolder(), 'data');
  const options = { dataDir, backend: smallLsm() };
  await expect(startServer({ ...options, port: server.port })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringContaining(String(server.port)),
  });
  expect(existsSync(dataDir)).toBe(false); // no new database, where a typing error would leave one unseen
  await expect(
    startServer({ ...options, host: '192.0.2.1', plainHttp: true, apiKey: 'key' }),
  ).rejects.toThrow();
  expect(existsSync(dataDir)).toBe(false);
  const second = await startServer(options); // so the first one has let go of the folder
  await expect(startServer(options)).rejects.toMatchObject({ code: 'CONFLICT' });
  await second.close();
  const missing = { ...options, dataDir: join(dataDir, 'missing'), createDataDir: false };
  await expect(startServer(missing)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  mkdirSync(join(dataDir, 'damaged/sst'), { recursive: true });
  writeFileSync(join(dataDir, 'damaged/sst/1.sst'), 'no table');
  const damaged = { ...options, dataDir: join(dataDir, 'damaged') };
  await expect(startServer(damaged)).rejects.toMatchObject({ code: 'DATABASE_DAMAGED' });
});
