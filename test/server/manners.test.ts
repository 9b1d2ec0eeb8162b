import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { injected, smallLsm, untilFinished } from '../support/server.ts';

const NEVER_DONE = { max_bytes_per_second: 64 * 1024 };

async function server() {
  let asked = 0;
  const isBusy = () => {
    asked++;
    return false;
  };
  const { rpc } = await injected({ backend: smallLsm(), backup: { background: { isBusy } } });
  for (const key of 'abcdefghijklmnop') {
    const { status, json } = await rpc('PUT', `/kv/${key}`, randomBytes(64 * 1024).toString('hex'));
    expect(status, JSON.stringify(json)).toBeLessThan(300);
  }
  const finished = (what: string, handle: string) =>
    untilFinished(async () => (await rpc('GET', `/api/admin/${what}/${handle}`)).json);
  return { rpc, finished, asked: () => asked };
}

test('a rate limit in the body holds: the backup is still running, and can be cancelled', async () => {
  const { rpc } = await server();
  const { handle } = (await rpc('POST', '/api/admin/backup', { ...NEVER_DONE, background: false })).json;
  const url = `/api/admin/backup/${handle}`;
  const state = async () => (await rpc('GET', url)).json.state;
  while (((await state()).progress?.bytes_processed ?? 0) === 0) await setTimeout(20);
  expect(await state()).toMatchObject({ status: 'running' });
  expect((await rpc('DELETE', url)).json.state).toMatchObject({ status: 'cancelled' });
});

test('with `background` the server means what it was started with, unless the body says no', async () => {
  const { rpc, asked } = await server();
  for (const body of [NEVER_DONE, { ...NEVER_DONE, background: true, concurrency: 2 }]) {
    const before = asked();
    const { handle } = (await rpc('POST', '/api/admin/backup', body)).json;
    const url = `/api/admin/backup/${handle}`;
    while (asked() === before) {
      expect((await rpc('GET', url)).json.state).toMatchObject({ status: 'running' });
      await setTimeout(20);
    }
    expect((await rpc('DELETE', url)).json.state).toMatchObject({ status: 'cancelled' });
  }
  const before = asked();
  const { handle } = (await rpc('POST', '/api/admin/backup', { ...NEVER_DONE, background: false })).json;
  const url = `/api/admin/backup/${handle}`;
  await setTimeout(500); // several times the interval in which a host would be asked
  await rpc('DELETE', url);
  expect(asked()).toBe(before);
});

test('verifying and restoring take the same fields', async () => {
  const { rpc, finished } = await server();
  const throttle = { max_bytes_per_second: 100 * 1024 * 1024, background: true, concurrency: 1 };
  const { handle } = (await rpc('POST', '/api/admin/backup', throttle)).json;
  expect(await finished('backup', handle)).toMatchObject({ state: { status: 'completed' } });
  const report = await rpc('POST', `/api/admin/backup/${handle}/verify`, { level: 'open', ...throttle });
  expect(report).toMatchObject({ status: 200, json: { ok: true, level: 'open' } });
  const restore = (await rpc('POST', '/api/admin/restore', { source: handle, ...throttle })).json;
  expect(await finished('restore', restore.handle)).toMatchObject({ state: { status: 'completed' } });
});

test('an invalid limit is refused by name', async () => {
  const { rpc } = await server();
  const bodies = [
    { max_bytes_per_second: 65_535 },
    { concurrency: 0.5 },
    { background: 'yes' },
    { maxBytesPerSecond: 1 },
  ];
  for (const body of bodies) {
    for (const url of ['/api/admin/backup', '/api/admin/restore']) {
      const { status, json } = await rpc('POST', url, body);
      expect({ status, code: json.error?.code }, JSON.stringify(body)).toEqual({
        status: 400,
        code: 'INVALID_REQUEST',
      });
      expect(json.error.message).toContain(Object.keys(body)[0]);
    }
  }
});
