import { expect, test } from 'vitest';
import type { Database } from '../../src/server/database.ts';
import { DatabaseHandle } from '../../src/server/database-handle.ts';
import { barrier, smallLsm } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

async function gateOver(alter: (database: Database) => Partial<Database> = () => ({})) {
  const dir = await temporaryFolder();
  const open = async () => {
    const database = await smallLsm().open(dir);
    return Object.assign(database, alter(database));
  };
  const gate = new DatabaseHandle(open, () => 'normal');
  await gate.open();
  return gate;
}

const a = Buffer.from('a');
const put = (gate: DatabaseHandle) => gate.write((db) => db.write([{ type: 'put', key: a, value: a }]));
const unavailable = { code: 'UNAVAILABLE' };

test('closing waits for operations under way and refuses new ones', async () => {
  const gate = await gateOver();
  const work = barrier();
  let hasEnded = false;
  const underWay = gate.read(async (db) => {
    await work.wait();
    await db.write([{ type: 'put', key: a, value: a }]); // the database is open still
    hasEnded = true;
  });
  const closing = gate.close().then(() => hasEnded);
  await expect(put(gate)).rejects.toMatchObject(unavailable);
  await expect(gate.close()).rejects.toMatchObject({ code: 'CONFLICT' });
  work.open();
  expect(await closing).toBe(true);
  await underWay;
  await expect(put(gate)).rejects.toMatchObject(unavailable);
  await gate.close(); // is closed already
  await gate.open();
  expect(await gate.read((db) => db.get(a))).toEqual(a);
  await gate.close();
});

test('a close that is given up while it waits leaves the database open', async () => {
  const gate = await gateOver();
  const work = barrier();
  const underWay = gate.read(() => work.wait());
  const controller = new AbortController();
  const closing = gate.close({ signal: controller.signal });
  controller.abort(new Error('took too long'));
  await expect(closing).rejects.toThrow('took too long');
  await put(gate);
  work.open();
  await underWay;
  await put(gate);
  await expect(gate.close({ signal: controller.signal })).rejects.toThrow('took too long');
  await put(gate);
  await gate.close();
});

test('a close that is given up while the database closes ends with an open one', async () => {
  const atClose = barrier();
  const gate = await gateOver((database) => {
    const close = database.close.bind(database);
    return {
      async close() {
        await atClose.wait();
        await close();
      },
    };
  });
  const controller = new AbortController();
  const closing = gate.close({ signal: controller.signal });
  await atClose.reached;
  controller.abort(new Error('took too long'));
  atClose.open();
  await expect(closing).rejects.toThrow('took too long');
  await put(gate);
  await gate.close();
});

test('an operation that fails counts as ended', async () => {
  const gate = await gateOver();
  await expect(gate.read(() => Promise.reject(new RangeError('of the work')))).rejects.toThrow('of the work');
  await gate.close();
  expect(gate.isOpen).toBe(false);
});
