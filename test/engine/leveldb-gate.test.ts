import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, test } from 'vitest';
import { createLeveldbEngine } from '../../src/engine/leveldb/create-engine.ts';
import { attachWriteBarrier } from '../../src/engine/leveldb/write-barrier.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { captureInto, prove, readAll } from '../support/leveldb.ts';
import { temporaryFolder } from '../support/temp.ts';

type Database = ClassicLevel<string, string>;

async function openDatabase(): Promise<{ db: Database; dir: string }> {
  const dir = join(await temporaryFolder(), 'db');
  const db: Database = new ClassicLevel(dir, { writeBufferSize: 64 * 1024 });
  await db.open();
  onTestFinished(() => db.close());
  return { db, dir };
}

const ways = [
  ['window', 24],
  ['logs-first', 0],
] as const;

test.each(ways)(
  'with the gate, a capture by %s holds exactly what was acknowledged',
  {
    timeout: 30_000,
  },
  async (way, windowRounds) => {
    const { db, dir } = await openDatabase();
    const engine = createLeveldbEngine({ database: db, windowRounds });
    const acknowledged = new Map<string, string>();
    const sublevel = db.sublevel('sub');
    let isRunning = true;
    const value = (number: number): string => String(number).padEnd(200 + ((number * 131) % 900), '.');
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (let number = 1; isRunning; number++) {
        const key = `w${writer}-${number % 50}`;
        const kind = (writer + number) % 5;
        if (kind === 0) await db.put(key, value(number));
        else if (kind === 1) await db.batch([{ type: 'put', key, value: value(number) }]);
        else if (kind === 2) await db.batch().put(key, value(number)).write();
        else if (kind === 3) await sublevel.put(key, value(number));
        else await db.del(key);
        if (kind === 3) acknowledged.set(`!sub!${key}`, value(number));
        else if (kind === 4) acknowledged.delete(key);
        else acknowledged.set(key, value(number));
      }
    });
    for (let capture = 0; capture < 6; capture++) {
      // The folder is looked at only while the gate is closed: the last look sees the state that is captured.
      let expected = new Map<string, string>();
      const original = nodeFileSystem.list;
      const plan = await captureInto(
        {
          ...engine,
          plan: (context) =>
            engine.plan({
              ...context,
              fs: {
                ...context.fs,
                async list(path) {
                  const entries = await original(path);
                  expected = new Map(acknowledged);
                  return entries;
                },
              },
            }),
        },
        dir,
        `${dir}-${capture}`,
      );
      expect(plan.rounds!.way).toBe(way);
      expect((await prove(`${dir}-${capture}`)).findings).toEqual([]);
      expect(await readAll(`${dir}-${capture}`)).toEqual(expected);
    }
    isRunning = false;
    await Promise.all(writers);
    engine.detach();
  },
);

test('writes wait in order while the barrier is closed, and none is lost', async () => {
  const { db } = await openDatabase();
  // The order in which the database gets them; what its threads make of that is its own affair.
  const order: unknown[] = [];
  const put = Reflect.get(db, '_put') as (...args: unknown[]) => unknown;
  const spy = (...args: unknown[]): unknown => {
    order.push(args[1]);
    return put.apply(db, args);
  };
  Object.assign(db, { _put: spy });
  const gate = attachWriteBarrier(db);
  const open = await gate.close();
  const writes = ['1', '2', '3'].map((number) => db.put(`key-${number}`, number));
  expect(await db.get('key-1')).toBeUndefined(); // reads go on
  expect(order).toEqual([]);
  open();
  const late = db.put('key-4', '4'); // made after the gate opened: it must not overtake the others
  await Promise.all([...writes, late]);
  expect(order).toEqual(['1', '2', '3', '4']);
  expect(await db.values().all()).toEqual(['1', '2', '3', '4']);
  gate.detach();
  expect(Reflect.get(db, '_put')).toBe(spy);
});

test('the barrier closes when running writes have ended, and opens with its last holder', async () => {
  const { db } = await openDatabase();
  // A write that takes as long as the test likes.
  let end = () => {};
  const put = Reflect.get(db, '_put') as (...args: unknown[]) => unknown;
  const slowly = async (...args: unknown[]): Promise<unknown> => {
    if (args[0] === 'slow') {
      await new Promise<void>((resolve) => {
        end = resolve;
      });
    }
    return put.apply(db, args);
  };
  Object.assign(db, { _put: slowly });
  const gate = attachWriteBarrier(db);
  const writing = db.put('slow', 'x');
  const events: string[] = [];
  const closing = Promise.all([gate.close(), gate.close()]).then((opens) => {
    events.push('closed');
    return opens;
  });
  await new Promise((resolve) => setImmediate(resolve)); // a gate that does not wait is closed by now
  events.push('write ends');
  end();
  const [first, second] = await closing;
  await writing;
  expect(events).toEqual(['write ends', 'closed']);
  expect(await db.get('slow')).toBe('x');
  let isLateWritten = false;
  const late = db.put('late', 'x').then(() => {
    isLateWritten = true;
  });
  first();
  first(); // twice counts once
  expect(await db.get('late')).toBeUndefined();
  expect(isLateWritten).toBe(false);
  second();
  await late;
  gate.detach();
});

test('a waiting write is refused when the database was closed meanwhile', async () => {
  const { db } = await openDatabase();
  const gate = attachWriteBarrier(db);
  const open = await gate.close();
  const waiting = db.put('key', 'value');
  await db.close();
  open();
  await expect(waiting).rejects.toMatchObject({ code: 'DATABASE_CLOSED' });
  gate.detach();
});

test('detaching restores the methods; a failed plan opens the barrier', async () => {
  const { db, dir } = await openDatabase();
  const methods = ['_put', '_del', '_batch', '_clear', '_chainedBatch'];
  const before = methods.map((name) => Reflect.get(db, name));
  const engine = createLeveldbEngine({ database: db });
  const again = createLeveldbEngine({ database: db });
  const failure = new Error('no pin');
  await db.put('a', 'b');
  await db.compactRange('a', 'z');
  const context = {
    fs: nodeFileSystem,
    dir: await nodeFileSystem.realPath(dir),
    pin: () => Promise.reject(failure),
    confirmPin: async () => true,
    expectFiles() {},
    checkCancelled() {},
  };
  await expect(engine.plan(context)).rejects.toBe(failure);
  const list = () => Promise.reject(failure);
  let looks = 0;
  const failing = {
    ...nodeFileSystem,
    list: (path: string) => (++looks > 1 ? list() : nodeFileSystem.list(path)),
  };
  await expect(engine.plan({ ...context, fs: failing, pin: async () => true })).rejects.toBe(failure);
  await db.put('c', 'd');
  expect(await db.get('c')).toBe('d');

  engine.detach();
  expect(Object.hasOwn(db, '_put')).toBe(true); // the other engine still has it
  again.detach();
  expect(methods.map((name) => Reflect.get(db, name))).toEqual(before);
  expect(methods.some((name) => Object.hasOwn(db, name))).toBe(false);
});

test('a database that lives elsewhere is refused', async () => {
  const { db } = await openDatabase();
  const other = await openDatabase();
  const engine = createLeveldbEngine({ database: db });
  await expect(captureInto(engine, other.dir, `${other.dir}-copy`)).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
  });
  engine.detach();
});
