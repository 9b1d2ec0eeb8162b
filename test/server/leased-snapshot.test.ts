import { expect, test } from 'vitest';
import { altered, barrier, type Injected, injected, smallLsm, untilFinished } from '../support/server.ts';
import { ran, withPlans } from '../support/server-plans.ts';
import { beforeTables } from '../support/slow-tables.ts';

// Snapshots that a fleet takes of one node, under a lease of its writes.

const NEVER = '0'.repeat(32);

const quiesce = ({ rpc }: Injected) => rpc('POST', '/api/admin/quiesce', { run: 'run-1', ttl_ms: 60_000 });
const resume = ({ rpc }: Injected, epoch: string) =>
  rpc('POST', '/api/admin/resume', { run: 'run-1', epoch });
const put = ({ rpc }: Injected, key = 'a', value = 'value') => rpc('PUT', `/kv/${key}`, value);
const backup = ({ rpc }: Injected, body: object) => rpc('POST', '/api/admin/backup', body);
const outcome = ({ rpc }: Injected, handle: string) =>
  untilFinished(async () => (await rpc('GET', `/api/admin/backup/${handle}`)).json);

test('a snapshot counts only if the lease of its epoch lives at its start and when its state is fixed', async () => {
  const atHold = barrier();
  let isHeld = false;
  const backend = altered(smallLsm(), (database) => {
    const hold = database.hold!.bind(database);
    return {
      async hold() {
        if (isHeld) await atHold.wait();
        return hold();
      },
    };
  });
  const server = await injected({ backend });
  await put(server);
  expect(await backup(server, { epoch: NEVER })).toMatchObject({
    status: 409,
    json: { error: { code: 'LEASE_LOST' } },
  });
  isHeld = true;
  const { epoch } = (await quiesce(server)).json;
  const { handle } = (await backup(server, { epoch })).json;
  await atHold.reached;
  await resume(server, epoch); // writes are possible from here on
  await put(server, 'later');
  atHold.open();
  const { state } = await outcome(server, handle);
  expect(state).toMatchObject({ status: 'failed', reason: expect.stringContaining('lease') });
  expect((await server.rpc('GET', '/api/admin/backups')).json.snapshots).toEqual([]);
  isHeld = false;
  const next = (await backup(server, {})).json; // needs no lease
  expect((await outcome(server, next.handle)).state.status).toBe('completed');
});

test('a snapshot needs its lease only until no write changes it: tables are copied while writes go on', async () => {
  const atTables = barrier();
  const server = await injected({ environment: beforeTables(() => atTables.wait()) });
  await put(server);
  const { epoch } = (await quiesce(server)).json; // its checkpoint makes a table
  const { handle } = (await backup(server, { epoch })).json;
  await atTables.reached;
  const state = async () => (await server.rpc('GET', `/api/admin/backup/${handle}`)).json.state;
  expect(await state()).toMatchObject({ status: 'running', phase: 'copy' });
  expect((await resume(server, epoch)).status).toBe(200);
  expect((await put(server, 'later')).status).toBe(200);
  expect(await state()).toMatchObject({ status: 'running', phase: 'copy' });
  atTables.open();
  expect((await outcome(server, handle)).state).toMatchObject({ status: 'completed' });
});

test('while its tables are copied a database takes more writes than its log has room for', async () => {
  const atTables = barrier();
  const server = await injected({ environment: beforeTables(() => atTables.wait()) });
  await put(server);
  const { epoch } = (await quiesce(server)).json;
  const { handle } = (await backup(server, { epoch })).json;
  await atTables.reached;
  await resume(server, epoch);
  const value = 'x'.repeat(8000); // 60 of them are twice its log
  for (let i = 0; i < 60; i++) expect((await put(server, `k${i}`, value)).status).toBe(200);
  atTables.open();
  expect((await outcome(server, handle)).state).toMatchObject({ status: 'completed' });
});

test("the snapshots of the server's own plans need no lease, whatever became of those that did", async () => {
  const server = await injected(await withPlans());
  await put(server);
  const { epoch } = (await quiesce(server)).json;
  const { handle } = (await backup(server, { epoch })).json;
  expect((await outcome(server, handle)).state).toMatchObject({ status: 'completed' });
  const again = (await backup(server, { epoch })).json;
  await server.rpc('DELETE', `/api/admin/backup/${again.handle}`);
  await outcome(server, again.handle);
  await resume(server, epoch);
  expect(await ran(server)).toMatchObject({ status: 'succeeded' });
});

test('a leased snapshot is one of the open database, and of no other folder', async () => {
  const backend = altered(smallLsm(), (database) => {
    const hold = database.hold!.bind(database);
    return { hold: async () => ({ ...(await hold()), isIn: () => false }) };
  });
  const server = await injected({ backend });
  await put(server);
  const { epoch } = (await quiesce(server)).json;
  const { handle } = (await backup(server, { epoch })).json;
  expect((await outcome(server, handle)).state).toMatchObject({ status: 'failed', code: 'FOLDER_REPLACED' });
});
