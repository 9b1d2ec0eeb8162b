import { chownSync, lstatSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Backend, type KeyRange, leveldbBackend } from '../../src/server/index.ts';
import { entriesBelow } from '../support/folders.ts';
import { testAsRoot } from '../support/needs.ts';
import { injected, smallLsm, untilFinished } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

testAsRoot.each([
  ['leveldb', leveldbBackend, 1],
  ['lsm', smallLsm, 0],
] as const)(
  'root on a folder of another user: %s warns once where its files stay those of root',
  async (_, make, count) => {
    const dataDir = await temporaryFolder();
    chownSync(dataDir, 1234, 1234);
    const warnings: (Error & { code?: string })[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    onTestFinished(() => void process.off('warning', onWarning));
    const server = await injected({ dataDir, backend: make() });
    await server.rpc('PUT', '/kv/a', 'value');
    const told = warnings.filter(({ message }) => message.includes(dataDir));
    expect(told.map(({ code }) => code)).toEqual(Array(count).fill('ACCESS_DENIED'));
    for (const { message } of told) expect(message).toContain('setpriv --reuid=1234 --regid=1234');
    const owners = entriesBelow(dataDir).map((entry) => lstatSync(join(entry.parentPath, entry.name)).uid);
    expect(owners.some((uid) => uid !== 1234)).toBe(count > 0);
  },
);

const BACKENDS: Readonly<Record<string, () => Backend>> = { lsm: smallLsm, leveldb: leveldbBackend };

describe.each(Object.entries(BACKENDS))('the backend %s', (name, make) => {
  const b = (text: string) => Buffer.from(text);

  test('reads what was written, in one commit or none, in the order of bytes', async () => {
    const dir = await temporaryFolder();
    const database = await make().open(dir);
    expect(await database.get(b('a'))).toBeUndefined();
    const put = (key: string, value: string) => ({ type: 'put', key: b(key), value: b(value) }) as const;
    const { lsn } = await database.write([put('b', '2'), put('a', '1'), put('c', '3'), put('c', '4')]);
    expect(lsn).toBe(name === 'lsm' ? '2' : null);
    await database.write([{ type: 'delete', key: b('b') }]);
    await database.write([{ type: 'delete', key: b('never was') }]);
    await database.write([{ type: 'put', key: Buffer.from([0xff, 0]), value: Buffer.alloc(0) }]);
    expect(await database.get(b('b'))).toBeUndefined();
    expect((await database.get(b('c')))?.toString()).toBe('4');
    expect(await database.get(Buffer.from([0xff, 0]))).toHaveLength(0);

    const keys = async (range: Partial<KeyRange>) => {
      const found: string[] = [];
      for await (const [key] of database.iterate({ reverse: false, limit: 100, ...range }))
        found.push(key.toString('latin1'));
      return found;
    };
    expect(await keys({})).toEqual(['a', 'c', '\xff\0']);
    expect(await keys({ reverse: true })).toEqual(['\xff\0', 'c', 'a']);
    expect(await keys({ gte: b('a'), lt: b('c') })).toEqual(['a']);
    expect(await keys({ limit: 2 })).toEqual(['a', 'c']);
    for await (const _ of database.iterate({ reverse: false, limit: 100 })) break; // frees what it uses
    await database.compact?.();
    expect(await keys({})).toEqual(['a', 'c', '\xff\0']);
    await database.close();
    const again = await make().open(dir);
    expect((await again.get(b('a')))?.toString()).toBe('1');
    await again.close();
  });

  test('refuses a folder that is open, and tells damage from that', async () => {
    const dir = await temporaryFolder();
    const database = await make().open(dir);
    await expect(make().open(dir)).rejects.toMatchObject({ code: 'CONFLICT' });
    await database.close();
    writeFileSync(join(dir, name === 'lsm' ? 'lsm.wal' : 'CURRENT'), 'damaged');
    await expect(make().open(dir)).rejects.toMatchObject({ code: 'DATABASE_DAMAGED' });
  });

  test('makes no database among files that are not its own, and leaves nothing there', async () => {
    const other = name === 'lsm' ? 'leveldb' : 'lsm';
    const foreign = await temporaryFolder();
    await (await BACKENDS[other]!().open(foreign)).close();
    const letters = await temporaryFolder();
    for (const file of ['d', 'c', 'b', 'a']) writeFileSync(join(letters, file), 'a letter');
    mkdirSync(join(letters, '.lifecycle'));
    const before = [foreign, letters].map((dir) => readdirSync(dir));
    await expect(make().open(foreign)).rejects.toMatchObject({
      code: 'ENGINE_MISMATCH',
      message: `${foreign} holds a database of ${other}, not of ${name}`,
      hint: expect.stringContaining(`--engine ${other}`),
    });
    await expect(make().open(letters)).rejects.toMatchObject({
      code: 'ENGINE_MISMATCH',
      message: `${letters} holds no database of ${name} but other files: a, b, c and 1 more`,
    });
    expect([foreign, letters].map((dir) => readdirSync(dir))).toEqual(before);
  });

  test('makes one beside the lifecycle folder and what a start that was cut off has left', async () => {
    const dir = await temporaryFolder();
    mkdirSync(join(dir, '.lifecycle'));
    const own =
      name === 'lsm'
        ? ['lsm.alopex.lock', '.lsm.wal.tmp']
        : ['LOCK', 'LOG', 'MANIFEST-000001', '000001.dbtmp'];
    for (const file of own) writeFileSync(join(dir, file), '');
    const database = await make().open(dir);
    await database.write([{ type: 'put', key: b('a'), value: b('1') }]);
    await database.close();
    writeFileSync(join(dir, 'note.txt'), 'beside a database');
    await (await make().open(dir)).close();
    rmSync(join(dir, name === 'lsm' ? 'lsm.wal' : 'CURRENT'));
    rmSync(join(dir, 'note.txt'));
    if (name === 'lsm') writeFileSync(join(dir, 'checkpoint.meta'), '');
    const left = readdirSync(dir);
    await expect(make().open(dir)).rejects.toMatchObject({ code: 'DATABASE_DAMAGED' });
    expect(readdirSync(dir)).toEqual(left);
  });

  test('is snapshotted, restored and served again', async () => {
    const { rpc } = await injected({ backend: make() });
    const finish = async (url: string) => {
      const { json } = await rpc('POST', url);
      const kind = url.split('/')[3];
      return untilFinished(async () => (await rpc('GET', `/api/admin/${kind}/${json.handle}`)).json);
    };
    await rpc('PUT', '/kv/a', 'old');
    expect((await finish('/api/admin/backup')).state).toMatchObject({ status: 'completed', reason: null });
    await rpc('PUT', '/kv/a', 'new');
    await rpc('PUT', '/kv/b', 'new');
    expect((await finish('/api/admin/restore')).state).toMatchObject({ status: 'completed', reason: null });
    expect((await rpc('GET', '/kv/a')).bytes.toString()).toBe('old');
    expect((await rpc('GET', '/kv/b')).status).toBe(404);
    expect((await finish('/api/admin/restore/undo')).state.status).toBe('completed');
    expect((await rpc('GET', '/kv/a')).bytes.toString()).toBe('new');
    expect((await rpc('GET', '/api/admin/status')).json).toMatchObject({
      engine: name,
      overall_status: 'ok',
    });
    expect((await rpc('POST', '/api/admin/compaction')).json.success).toBe(true);
  });
});
