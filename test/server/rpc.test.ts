import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { Lifecycle } from '../../src/index.ts';
import {
  altered,
  type Injected,
  injected,
  smallLsm,
  UUID,
  untilFinished,
  withSlowHold,
} from '../support/server.ts';

const UNKNOWN = '00000000-0000-4000-8000-000000000000';

async function takeBackup({ rpc }: Injected, body?: object) {
  const { handle } = (await rpc('POST', '/api/admin/backup', body)).json;
  return untilFinished(async () => (await rpc('GET', `/api/admin/backup/${handle}`)).json);
}

async function restored({ rpc }: Injected, url: string, body?: object) {
  const { status, json } = await rpc('POST', url, body);
  expect(status, JSON.stringify(json)).toBe(200);
  return untilFinished(async () => (await rpc('GET', `/api/admin/restore/${json.handle}`)).json);
}

test('a backup answers at once with every key of its state, and ends as the newest snapshot', async () => {
  const server = await injected();
  await server.rpc('PUT', '/kv/a', '1');
  const { status, json } = await server.rpc('POST', '/api/admin/backup');
  expect(status).toBe(200);
  expect(Object.keys(json)).toEqual(['handle', 'location', 'state', 'result']);
  expect(json.handle).toMatch(UUID);
  expect(json.location).toMatch(/\.lifecycle\/backup\/ts-\d+$/);
  expect(json.state).toMatchObject({ status: 'running', finished_at_ms: null, reason: null });
  expect(Object.keys(json.state)).toEqual(
    expect.arrayContaining(['status', 'started_at_ms', 'finished_at_ms', 'progress', 'reason']),
  );

  const url = `/api/admin/backup/${json.handle}`;
  const done = await untilFinished(async () => (await server.rpc('GET', url)).json);
  expect(done).toMatchObject({
    handle: json.handle,
    location: json.location,
    state: { status: 'completed', started_at_ms: json.state.started_at_ms, progress: { percent: 100 } },
  });
  const list = (await server.rpc('GET', '/api/admin/backups')).json;
  expect(list.snapshots).toHaveLength(1);
  expect(list.snapshots[0]).toMatchObject({
    name: list.latest,
    id: json.handle,
    engine: 'lsm',
    problem: null,
  });
});

test('a backup and a restore can start as soon as the one before reads as completed', async () => {
  const server = await injected();
  await server.rpc('PUT', '/kv/a', '1');
  for (let i = 0; i < 3; i++) {
    expect(await takeBackup(server)).toMatchObject({ state: { status: 'completed' } });
    expect(await restored(server, '/api/admin/restore')).toMatchObject({ state: { status: 'completed' } });
  }
});

test('a second backup, restore, archive or deletion while one runs is refused with the documented message', async () => {
  const { backend, atHold } = withSlowHold();
  const server = await injected({ backend });
  const { rpc } = server;
  await rpc('POST', '/api/admin/backup');
  await atHold.reached;
  const headers = { 'x-correlation-id': 'of-the-test' };
  const second = await rpc('POST', '/api/admin/backup', undefined, headers);
  expect(second.status).toBe(409);
  expect(second.bytes.toString()).toBe(
    '{"error":{"code":"CONFLICT","message":"conflict: backup already running","correlation_id":"of-the-test","hint":"Wait until what is running has ended, then try again."}}',
  );
  for (const [method, url, body] of [
    ['POST', '/api/admin/restore', undefined],
    ['POST', '/api/admin/restore/undo', undefined],
    ['POST', '/api/admin/lifecycle', { action: 'archive' }],
    ['POST', '/api/admin/export', undefined],
    ['DELETE', '/api/admin/backups/ts-1', undefined],
  ] as const) {
    expect(await rpc(method, url, body), url).toMatchObject({
      status: 409,
      json: { error: { code: 'CONFLICT', message: 'conflict: backup already running' } },
    });
  }
  // Reads and writes go on meanwhile.
  expect((await rpc('PUT', '/kv/a', '1')).status).toBe(200);
  expect((await rpc('GET', '/kv/a')).status).toBe(200);
  atHold.open();
});

test('cancelling ends the backup, and the next one starts at once', async () => {
  const { backend, atHold } = withSlowHold();
  const server = await injected({ backend });
  const { handle } = (await server.rpc('POST', '/api/admin/backup')).json;
  await atHold.reached;
  const cancelled = await server.rpc('DELETE', `/api/admin/backup/${handle}`);
  const cancels = () =>
    server.audit.filter(({ action }) => action === 'cancel').map(({ outcome }) => outcome);
  expect(cancels()).toEqual(['completed']);
  expect(cancelled).toMatchObject({
    status: 200,
    json: { handle, state: { status: 'cancelled', code: 'CANCELLED', reason: expect.any(String) } },
  });
  expect((await server.rpc('GET', '/api/admin/backups')).json).toMatchObject({
    latest: null,
    snapshots: [],
  });
  atHold.open();
  const next = await takeBackup(server);
  expect(next.state.status).toBe('completed');
  // One that has ended stays what it is.
  const late = await server.rpc('DELETE', `/api/admin/backup/${next.handle}`);
  expect(late).toMatchObject({ status: 200, json: { state: { status: 'completed' } } });
  expect(cancels()).toEqual(['completed', 'ended']);
});

test('a malformed handle is 400, and an unknown one is 404', async () => {
  const { rpc } = await injected();
  for (const [method, url, kind] of [
    ['GET', '/api/admin/backup/HANDLE', 'backup'],
    ['DELETE', '/api/admin/backup/HANDLE', 'backup'],
    ['GET', '/api/admin/backup/HANDLE/events', 'backup'],
    ['POST', '/api/admin/backup/HANDLE/verify', 'backup'],
    ['GET', '/api/admin/restore/HANDLE', 'restore'],
  ] as const) {
    for (const bad of ['1', `${UNKNOWN}0`, 'latest', '..%2f..']) {
      expect(await rpc(method, url.replace('HANDLE', bad)), url).toMatchObject({
        status: 400,
        json: { error: { code: 'INVALID_REQUEST', message: `bad request: invalid ${kind} handle` } },
      });
    }
    expect(await rpc(method, url.replace('HANDLE', UNKNOWN)), url).toMatchObject({
      status: 404,
      json: { error: { code: 'NOT_FOUND', message: expect.stringMatching(/^not found: /) } },
    });
  }
});

test('a route that has other methods names them; what is no route at all is 404', async () => {
  const { rpc } = await injected();
  for (const [method, url, allow] of [
    ['DELETE', '/api/admin/backup', 'POST'],
    ['POST', `/api/admin/backup/${UNKNOWN}?x=1`, 'DELETE, GET'],
    ['PUT', '/api/admin/restore/undo', 'GET, POST'],
    ['DELETE', '/kv', 'GET'],
    ['GET', '/api/admin/export', 'POST'],
  ] as const) {
    const { status, json, headers } = await rpc(method, url);
    expect({ url, status, allow: headers.allow }).toEqual({ url, status: 405, allow });
    expect(json.error).toMatchObject({
      code: 'INVALID_REQUEST',
      message: `method not allowed: there is no ${method} on this route, only ${allow}`,
    });
  }
  for (const url of ['/api/admin', '/kv_', '/api/admin/backup/a/b/c']) {
    const { status, json, headers } = await rpc('DELETE', url);
    expect({ url, status, allow: headers.allow }).toEqual({ url, status: 404, allow: undefined });
    expect(json.error.code).toBe('NOT_FOUND');
  }
});

test('the options of a backup take effect, and wrong ones are refused', async () => {
  const server = await injected();
  for (let i = 0; i < 3; i++) {
    await server.rpc('PUT', '/kv/a', String(i));
    const body = { level: 'open', reuse: false, mode: 'copy', keep: 2 };
    expect((await takeBackup(server, body)).state.status).toBe('completed');
  }
  expect((await server.rpc('GET', '/api/admin/backups')).json.snapshots).toHaveLength(2);
  for (const body of [
    { level: 'some' },
    { mode: 'move' },
    { keep: 0 },
    { kepp: 1 },
    { reuse: 'yes' },
    [],
    'text',
  ]) {
    const { status, json } = await server.rpc('POST', '/api/admin/backup', JSON.stringify(body));
    expect(status, JSON.stringify(body)).toBe(400);
    expect(json.error).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringMatching(/^bad request: body/),
    });
  }
});

test('a restore brings back the state of the snapshot, and can be undone', async () => {
  const server = await injected();
  const { rpc, dataDir } = server;
  const value = async () => (await rpc('GET', '/kv/a')).bytes.toString();
  await rpc('PUT', '/kv/a', 'old');
  const backup = await takeBackup(server);
  await rpc('PUT', '/kv/a', 'new');

  const begun = (await rpc('POST', '/api/admin/restore', {})).json;
  expect(Object.keys(begun)).toEqual(['handle', 'state', 'metadata', 'result']);
  expect(begun.metadata).toBeNull();
  const ask = async () => (await rpc('GET', `/api/admin/restore/${begun.handle}`)).json;
  const done = await untilFinished(ask);
  expect(done.state).toMatchObject({ status: 'completed' });
  expect(done.metadata).toEqual({
    backup_id: backup.location.split('/').at(-1),
    location: backup.location,
    restored_at_ms: expect.any(Number),
    size_bytes: expect.any(Number),
  });
  expect(await value()).toBe('old');
  expect((await rpc('PUT', '/kv/b', 'after')).status).toBe(200);

  expect((await restored(server, '/api/admin/restore/undo')).state.status).toBe('completed');
  expect(await value()).toBe('new');
  expect((await rpc('GET', '/kv/b')).status).toBe(404);

  const names = ['latest', backup.handle, backup.location.split('/').at(-1), backup.location, null];
  for (const source of names) {
    await rpc('PUT', '/kv/a', 'newer');
    expect((await restored(server, '/api/admin/restore', { source })).state.status).toBe('completed');
    expect(await value()).toBe('old');
  }
  expect((await rpc('GET', '/api/admin/status')).json).toMatchObject({
    overall_status: 'ok',
    restore_state: { status: 'completed' },
    restore_metadata: { location: backup.location },
  });
  expect(dataDir).toBeTruthy();
});

test('a restore of what is not there, not allowed or damaged changes nothing, the mode included', async () => {
  const server = await injected();
  const { rpc, dataDir } = server;
  await rpc('PUT', '/kv/a', '1');
  const refused = async (source: string | undefined, status: number, code: string) => {
    expect(
      await rpc('POST', '/api/admin/restore', source === undefined ? undefined : { source }),
    ).toMatchObject({
      status,
      json: { error: { code } },
    });
    expect((await rpc('GET', '/api/admin/status')).json).toMatchObject({
      mode: 'normal',
      overall_status: 'ok',
    });
    expect((await rpc('PUT', '/kv/a', '1')).status).toBe(200);
  };
  await refused(undefined, 404, 'NOT_FOUND');
  expect((await rpc('POST', '/api/admin/restore/undo')).status).toBe(404);
  const { location } = await takeBackup(server);
  await refused('ts-1', 404, 'NOT_FOUND');
  await refused(UNKNOWN, 404, 'NOT_FOUND');
  await refused('/etc', 400, 'PATH_OUTSIDE');
  await refused(join(dataDir, '.lifecycle/../../..'), 400, 'PATH_OUTSIDE');
  await refused('', 400, 'INVALID_REQUEST');
  writeFileSync(join(location, 'stranger'), 'x');
  await refused('latest', 409, 'RESTORE_INTEGRITY_MISMATCH');
});

test('a path is a source only inside a folder that the operator allowed', async () => {
  const first = await injected();
  await first.rpc('PUT', '/kv/a', 'from elsewhere');
  const { location } = await takeBackup(first);
  const shelf = join(first.dataDir, '../shelf');
  mkdirSync(shelf);
  renameSync(location, join(shelf, 'ts-1'));
  const second = await injected({ allowedSources: [shelf] });
  await restored(second, '/api/admin/restore', { source: join(shelf, 'ts-1') });
  expect((await second.rpc('GET', '/kv/a')).bytes.toString()).toBe('from elsewhere');
  const third = await injected();
  const refusal = await third.rpc('POST', '/api/admin/restore', { source: join(shelf, 'ts-1') });
  expect(refusal).toMatchObject({ status: 400, json: { error: { code: 'PATH_OUTSIDE' } } });
});

test('archive and export answer when they are done, with the words of the first server', async () => {
  const server = await injected();
  await server.rpc('PUT', '/kv/a', '1');
  const archive = await server.rpc('POST', '/api/admin/lifecycle', { action: 'archive' });
  expect(archive.status).toBe(200);
  expect(archive.json).toEqual({
    status: 'OK',
    message: expect.stringMatching(/^Archived data to \/.*\/archive\/ts-\d+$/),
  });
  const exported = await server.rpc('POST', '/api/admin/lifecycle', { action: 'export' });
  expect(exported.json).toEqual({
    status: 'OK',
    message: expect.stringMatching(/^Exported data to \/.*\/export\/ts-/),
  });
  const direct = await server.rpc('POST', '/api/admin/export');
  expect(direct.json).toEqual({ status: 'OK', location: expect.stringMatching(/\/export\/ts-/) });
  const unknown = await server.rpc('POST', '/api/admin/lifecycle', { action: 'burn' });
  expect(unknown.status).toBe(400);
  expect(unknown.bytes.toString()).toBe('{"status":"Error","message":"Unknown lifecycle action."}');
  expect((await server.rpc('POST', '/api/admin/lifecycle', {})).json.error.code).toBe('INVALID_REQUEST');

  // Without any backup a restore takes the archive.
  await server.rpc('PUT', '/kv/a', '2');
  await restored(server, '/api/admin/restore');
  expect((await server.rpc('GET', '/kv/a')).bytes.toString()).toBe('1');
  const { backup_state, last_backup_at_ms } = (await server.rpc('GET', '/api/admin/status')).json;
  expect([backup_state, last_backup_at_ms]).toEqual([null, null]);
});

test('verify reads the snapshot again and names what is wrong', async () => {
  const server = await injected();
  await server.rpc('PUT', '/kv/a', '1');
  const { handle, location } = await takeBackup(server);
  const verify = (body?: object) => server.rpc('POST', `/api/admin/backup/${handle}/verify`, body);
  expect(await verify()).toMatchObject({
    status: 200,
    json: { ok: true, verdict: 'faithful', level: 'full' },
  });
  expect(await verify({ level: 'files' })).toMatchObject({ status: 200, json: { ok: true, level: 'files' } });
  expect((await verify({ level: 'deep' })).status).toBe(400);
  writeFileSync(join(location, 'checkpoint.meta'), 'something else');
  const { status, json } = await verify();
  expect(status).toBe(200);
  expect(json).toMatchObject({ ok: false, verdict: 'copy-damaged' });
  expect(json.findings[0]).toMatchObject({ path: 'checkpoint.meta', severity: 'error' });
});

test('a snapshot can be deleted by name or id, the newest cannot', async () => {
  const server = await injected();
  const remove = (name: string) => server.rpc('DELETE', `/api/admin/backups/${encodeURIComponent(name)}`);
  await server.rpc('PUT', '/kv/a', '1');
  const [one, two, three] = [await takeBackup(server), await takeBackup(server), await takeBackup(server)];
  const nameOf = ({ location }: { location: string }) => location.split('/').at(-1)!;
  expect(await remove(nameOf(one))).toMatchObject({
    status: 200,
    json: { name: nameOf(one), id: one.handle },
  });
  expect(await remove(two.handle)).toMatchObject({ status: 200, json: { name: nameOf(two) } });
  expect(await remove(nameOf(one))).toMatchObject({ status: 404, json: { error: { code: 'NOT_FOUND' } } });
  expect(await remove(nameOf(three))).toMatchObject({ status: 409, json: { error: { code: 'CONFLICT' } } });
  expect(await remove('latest')).toMatchObject({ status: 409 });
  for (const outside of ['..', '../..', server.dataDir, '/etc']) {
    const { status } = await remove(outside);
    expect([400, 404], outside).toContain(status);
  }
  expect((await server.rpc('GET', '/api/admin/backups')).json.snapshots).toHaveLength(1);
});

test('status has every field, before and after', async () => {
  const server = await injected();
  const fresh = (await server.rpc('GET', '/api/admin/status')).json;
  expect(fresh).toEqual({
    version: '0.1.0',
    uptime_secs: expect.any(Number),
    connections: 0,
    queries_per_second: expect.any(Number),
    overall_status: 'ok',
    read_only: false,
    maintenance: false,
    recovery_state: {
      outcome: 'success',
      duration_ms: expect.any(Number),
      entries_replayed: 0,
      warnings: [],
      finished_at_ms: expect.any(Number),
      reason: null,
    },
    backup_state: null,
    restore_state: null,
    restore_metadata: null,
    last_recovery_at_ms: fresh.recovery_state.finished_at_ms,
    last_backup_at_ms: null,
    last_restore_at_ms: null,
    quiesced: null,
    mode: 'normal',
    engine: 'lsm',
    data_dir: server.dataDir,
    database_failure: null,
    safety: expect.objectContaining({ safe: false, problems: ['there is no snapshot yet'] }),
  });
  await server.rpc('PUT', '/kv/a', '1');
  const { state } = await takeBackup(server);
  const later = (await server.rpc('GET', '/api/admin/status')).json;
  expect(later.backup_state).toEqual(state);
  expect(later.last_backup_at_ms).toBe(state.finished_at_ms);
});

test('states and times survive a restart of the server', async () => {
  const first = await injected();
  await first.rpc('PUT', '/kv/a', '1');
  const backup = await takeBackup(first);
  const restore = await restored(first, '/api/admin/restore');
  const before = (await first.rpc('GET', '/api/admin/status')).json;
  await first.app.close();
  const second = await injected({ dataDir: first.dataDir });
  // What a run resolved to goes with its process.
  expect((await second.rpc('GET', `/api/admin/backup/${backup.handle}`)).json).toEqual({
    ...backup,
    result: null,
  });
  expect((await second.rpc('GET', `/api/admin/restore/${restore.handle}`)).json).toEqual({
    ...restore,
    result: null,
  });
  const after = (await second.rpc('GET', '/api/admin/status')).json;
  for (const key of [
    'backup_state',
    'restore_state',
    'restore_metadata',
    'last_backup_at_ms',
    'last_restore_at_ms',
  ])
    expect(after[key], key).toEqual(before[key]);
});

test('modes block writes and say so; reads go on in read_only', async () => {
  const dataDir = `${(await injected()).dataDir}-2`;
  const lifecycle = new Lifecycle({ dataDir });
  const { rpc } = await injected({ dataDir, lifecycle });
  await rpc('PUT', '/kv/a', '1');
  for (const mode of ['read_only', 'maintenance'] as const) {
    lifecycle.setMode(mode);
    for (const [method, url, body] of [
      ['PUT', '/kv/a', 'x'],
      ['DELETE', '/kv/a', undefined],
      ['POST', '/kv/_batch', { ops: [{ op: 'delete', key: 'a' }] }],
      ['POST', '/api/admin/compaction', undefined],
    ] as const) {
      expect(await rpc(method, url, body), url).toMatchObject({
        status: 409,
        json: { error: { code: 'CONFLICT', message: `conflict: writes are blocked in ${mode} mode` } },
      });
    }
    expect((await rpc('GET', '/kv/a')).bytes.toString()).toBe('1');
    expect((await rpc('GET', '/api/admin/status')).json).toMatchObject({
      overall_status: 'degraded',
      read_only: mode === 'read_only',
      maintenance: mode === 'maintenance',
      recovery_state: { outcome: mode === 'read_only' ? 'read_only' : 'success' },
    });
    expect((await rpc('GET', '/api/admin/capabilities')).json.scope).toBe('restricted');
  }
  lifecycle.setMode('normal');
  expect((await rpc('GET', '/api/admin/capabilities')).json).toEqual({
    scope: 'full',
    allowed_actions: ['read', 'create', 'update', 'delete', 'archive', 'restore', 'backup', 'export'],
  });
  expect((await rpc('PUT', '/kv/a', '2')).status).toBe(200);
});

test('health, metrics and compaction answer as the first server did', async () => {
  const { rpc } = await injected();
  await rpc('PUT', '/kv/a', '1');
  expect((await rpc('GET', '/api/admin/health')).bytes.toString()).toBe('{"status":"ok","message":"ready"}');
  expect((await rpc('GET', '/api/admin/metrics')).json).toEqual({
    qps: expect.any(Number),
    avg_latency_ms: expect.toSatisfy((value: number) => value > 0),
    p99_latency_ms: expect.toSatisfy((value: number) => value > 0),
    memory_usage_mb: expect.toSatisfy((value: number) => value > 10),
    active_connections: 0,
  });
  const text = await rpc('GET', '/api/admin/metrics', undefined, { accept: 'text/plain' });
  expect(text.headers['content-type']).toMatch(/^text\/plain/);
  expect(text.bytes.toString()).toMatch(/^stillpoint_connections 0$/m);
  expect((await rpc('POST', '/api/admin/compaction')).json).toEqual({
    success: true,
    message: 'Compaction finished.',
  });
});

test('an unexpected error is logged in full and shown to no client', async () => {
  const backend = altered(smallLsm(), () => ({
    get: () => Promise.reject(new RangeError('the inside of the server')),
  }));
  const { rpc, log } = await injected({ backend });
  const reply = await rpc('GET', '/kv/a', undefined, { 'x-request-id': 'seven' });
  expect(reply.status).toBe(500);
  expect(reply.json).toEqual({
    error: {
      code: 'INTERNAL',
      message: 'internal: unexpected error',
      correlation_id: 'seven',
      hint: expect.any(String),
    },
  });
  expect(log).toEqual([
    expect.objectContaining({
      level: 'error',
      correlation_id: 'seven',
      message: 'the inside of the server',
      stack: expect.stringContaining('RangeError'),
    }),
  ]);
});

test('each admin action that changes something or is refused is audited', async () => {
  const server = await injected();
  const { rpc, audit } = server;
  const headers = { 'x-correlation-id': 'c1' };
  const linesOf = async (work: () => Promise<unknown>) => {
    const before = audit.length;
    await work();
    return audit.slice(before).map(({ time, remote, correlation_id, ...line }) => {
      expect(new Date(time).toISOString()).toBe(time);
      expect(remote).toBe('127.0.0.1');
      expect(correlation_id).toBeTruthy();
      return line;
    });
  };
  await rpc('PUT', '/kv/a', '1');
  expect(audit).toEqual([]);
  let backup = { handle: '', location: '' };
  const id = expect.stringMatching(UUID);
  expect(await linesOf(async () => (backup = await takeBackup(server)))).toEqual([
    { action: 'backup', outcome: 'accepted', id },
    { action: 'backup', outcome: 'completed', id },
  ]);
  expect(await linesOf(() => restored(server, '/api/admin/restore'))).toEqual([
    { action: 'restore', outcome: 'accepted', id },
    { action: 'restore', outcome: 'completed', id },
  ]);
  expect(await linesOf(() => restored(server, '/api/admin/restore/undo'))).toMatchObject([
    { action: 'undo', outcome: 'accepted' },
    { action: 'undo', outcome: 'completed' },
  ]);
  expect(await linesOf(() => rpc('POST', '/api/admin/lifecycle', { action: 'archive' }))).toMatchObject([
    { action: 'archive', outcome: 'accepted' },
    { action: 'archive', outcome: 'completed' },
  ]);
  expect(await linesOf(() => rpc('POST', '/api/admin/export'))).toMatchObject([
    { action: 'export', outcome: 'accepted' },
    { action: 'export', outcome: 'completed' },
  ]);
  expect(await linesOf(() => rpc('POST', '/api/admin/compaction'))).toEqual([
    { action: 'compaction', outcome: 'completed' },
  ]);
  expect(await linesOf(() => rpc('DELETE', `/api/admin/backup/${backup.handle}`))).toEqual([
    { action: 'cancel', outcome: 'ended', id: backup.handle },
  ]);
  for (const [path, action] of [
    ['prune', 'prune'],
    ['prune/undo', 'prune-undo'],
  ] as const) {
    const asked = (dry_run: boolean) =>
      linesOf(() => rpc('POST', `/api/admin/${path}`, { keep: 5, dry_run }));
    expect(await asked(true)).toEqual([{ action, outcome: 'dry-run' }]);
    expect(await asked(false)).toEqual([{ action, outcome: 'completed' }]);
  }
  const name = backup.location.split('/').at(-1)!;
  expect(await linesOf(() => rpc('DELETE', `/api/admin/backups/${name}`))).toEqual([
    { action: 'delete', outcome: 'refused', code: 'CONFLICT', id: name },
  ]);
  expect(await linesOf(() => rpc('POST', '/api/admin/restore', { source: 'ts-1' }))).toEqual([
    { action: 'restore', outcome: 'refused', code: 'NOT_FOUND' },
  ]);
  expect(await linesOf(() => rpc('POST', '/api/admin/lifecycle', { action: 'x' }))).toEqual([
    { action: 'lifecycle', outcome: 'refused', code: 'INVALID_REQUEST' },
  ]);
  await rpc('POST', '/api/admin/backup', { keep: 0 }, headers);
  expect(audit.at(-1)).toMatchObject({ action: 'backup', outcome: 'refused', correlation_id: 'c1' });
  expect(
    await linesOf(async () => {
      await rpc('GET', '/api/admin/status');
      await rpc('GET', '/kv/a');
      await rpc('DELETE', '/kv/a');
    }),
  ).toEqual([]);
});

test('what a verify finds, the next status says', async () => {
  const server = await injected();
  await server.rpc('PUT', '/kv/a', 'value');
  const { location } = await takeBackup(server);
  const safety = async () => (await server.rpc('GET', '/api/admin/status')).json.safety.safe;
  expect(await safety()).toBe(true);
  const log = join(location, 'lsm.wal');
  const bytes = readFileSync(log);
  bytes[20]! ^= 1;
  writeFileSync(log, bytes);
  const { json } = await server.rpc('POST', `/api/admin/backups/${basename(location)}/verify`, {});
  expect(json.ok).toBe(false);
  expect(await safety()).toBe(false);
});
