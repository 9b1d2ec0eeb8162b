import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { encodeEntry } from '../../src/format/lsm/wal-entry.ts';
import { groupLsns } from '../../src/lsm-database/commit-queue.ts';
import { type LsmDatabase, openLsm } from '../../src/lsm-database/database.ts';
import { RingLog } from '../../src/lsm-database/ring-log.ts';
import { compiled } from '../support/build.ts';
import { copyFixture, describeWithFixtures, fixturesRoot } from '../support/fixtures.ts';
import { dumpLsm, proveLsm } from '../support/lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

const hex = (text: string) => Buffer.from(text).toString('hex');
const tinyLog = { segmentBytes: 1024, segmentCount: 4 };

describeWithFixtures('lsm', 'directories of the real engine', () => {
  it.each(['small', 'wrapped'])('%s is read, written on and read again', async (name) => {
    const dir = await copyFixture(`lsm/${name}`);
    const expected: Record<string, string> = JSON.parse(
      readFileSync(join(fixturesRoot, `lsm/${name}.expected.json`), 'utf8'),
    );
    const before = await openLsm(dir);
    expect(await dumpLsm(before)).toEqual(expected);
    for (const key of Object.keys(expected).slice(0, 50)) {
      expect((await before.get(Buffer.from(key, 'hex')))?.toString('hex')).toBe(expected[key]);
    }
    const lastLsn = BigInt(before.stats().lastLsn);
    const [deleted] = Object.keys(expected);
    delete expected[deleted!];
    const { lsn } = await before.delete(Buffer.from(deleted!, 'hex'));
    expect(BigInt(lsn)).toBe(lastLsn + 2n);
    for (let i = 0; i < 20; i++) {
      await before.put(`added${i}`, 'x'.repeat(i * 10));
      expected[hex(`added${i}`)] = hex('x'.repeat(i * 10));
    }
    await before.close();
    expect(await proveLsm(dir)).toEqual([]);

    const after = await openLsm(dir);
    expect(await dumpLsm(after)).toEqual(expected);
    await after.checkpoint();
    await after.compact();
    expect(after.stats()).toMatchObject({ tables: 1, logUsedBytes: 0 });
    expect(await dumpLsm(after)).toEqual(expected);
    await after.close();
    expect(await proveLsm(dir)).toEqual([]);
    expect((await readdir(join(dir, 'sst'))).length).toBe(1);
  });

  it('writes the log byte for byte as the engine does', async () => {
    const path = join(await temporaryFolder(), 'lsm.wal');
    await RingLog.create(nodeFileSystem, path, { segmentBytes: 4096, segmentCount: 2 });
    expect(await readFile(path)).toEqual(await readFile(join(fixturesRoot, 'lsm/vectors/empty.wal')));
    const log = await RingLog.open(nodeFileSystem, path);
    const op = { type: 'put' as const, key: Buffer.from('k'), value: Buffer.from('v') };
    await log.append([{ lsn: 1n, bytes: encodeEntry(1n, [op], 'batch') }]);
    await log.close();
    expect(await readFile(path)).toEqual(await readFile(join(fixturesRoot, 'lsm/vectors/batch.wal')));
  });
});

describe('LSNs', () => {
  it('tell where a group begins', () => {
    expect(groupLsns(0n, 1)).toEqual([2n]);
    expect(groupLsns(2n, 3)).toEqual([4n, 5n, 7n]);
    expect(groupLsns(7n, 2)).toEqual([8n, 9n]);
    expect(groupLsns(9n, 1)).toEqual([10n]);
  });

  it('come back from the writes: 2 for the first, then rising in the order of commits', async () => {
    const database = await openLsm(await temporaryFolder());
    expect(await database.put('a', '1')).toEqual({ lsn: '2' });
    expect(await database.delete('a')).toEqual({ lsn: '4' });
    expect(await database.batch([])).toEqual({ lsn: '4' });
    const together = await Promise.all(['x', 'y', 'z'].map((key) => database.put(key, key)));
    expect(together.map(({ lsn }) => lsn)).toEqual(['6', '7', '9']);
    expect(database.stats()).toMatchObject({ commitGroups: 3, lastLsn: '9' });
    await database.close();
  });
});

describe('reading', () => {
  async function filled(): Promise<LsmDatabase> {
    const database = await openLsm(await temporaryFolder());
    await database.batch(['a', 'b', 'c', 'd'].map((key) => ({ type: 'put', key, value: `old ${key}` })));
    await database.checkpoint();
    await database.batch([
      { type: 'put', key: 'b', value: 'new b' },
      { type: 'delete', key: 'c' },
    ]);
    return database;
  }

  it('walks over the state of the moment when the walk was asked for', async () => {
    const database = await filled();
    const walks = [database.iterate(), database.iterate({ reverse: true })];
    await database.batch([
      { type: 'put', key: 'aa', value: 'later' },
      { type: 'put', key: 'b', value: 'later' },
      { type: 'delete', key: 'd' },
    ]);
    await database.checkpoint();
    await database.compact();
    await database.put('a', 'later');
    const expected = ['a=old a', 'b=new b', 'd=old d'];
    for (const [i, walk] of walks.entries()) {
      const seen: string[] = [];
      for await (const [key, value] of walk) seen.push(`${key}=${value}`);
      expect(i === 0 ? seen : seen.reverse()).toEqual(expected);
    }
    await database.close();
  });

  it('takes the tightest of several bounds', async () => {
    const database = await filled();
    const keys = async (range: Parameters<LsmDatabase['iterate']>[0]): Promise<string> => {
      let found = '';
      for await (const [key] of database.iterate(range)) found += key;
      return found;
    };
    expect(await keys({ gte: 'b', gt: 'b' })).toBe('d');
    expect(await keys({ gt: 'b', gte: 'a' })).toBe('d');
    expect(await keys({ lt: 'b', lte: 'b' })).toBe('a');
    expect(await keys({ lte: 'b', lt: 'd' })).toBe('ab');
    expect(await keys({ prefix: 'b', gte: 'a' })).toBe('b');
    expect(await keys({ prefix: '' })).toBe('abd');
    expect(await keys({ prefix: new Uint8Array([0xff]) })).toBe('');
    expect(await keys({ reverse: true, limit: 2 })).toBe('db');
    await database.close();
  });

  it('gives copies: changing them changes nothing', async () => {
    const database = await filled();
    const given = Buffer.from('mine');
    await database.put('k', given);
    given.fill(0);
    (await database.get('k'))!.fill(1);
    for await (const [key, value] of database.iterate()) {
      key.fill(2);
      value.fill(2);
    }
    expect(String(await database.get('k'))).toBe('mine');
    expect(String(await database.get('a'))).toBe('old a');
    expect(String(await database.get('a'))).toBe('old a');
    await database.close();
  });

  it('releases tables when an iteration ends early, and refuses it after closing', async () => {
    const database = await filled();
    const [left, begun, untouched] = [database.iterate(), database.iterate(), database.iterate()];
    for await (const _ of left) break;
    expect((await left.next()).done).toBe(true);
    await begun.next();
    const descriptors = () => readdir('/proc/self/fd').catch(() => []);
    await database.close();
    for (const walk of [begun, untouched]) {
      await expect(walk.next()).rejects.toMatchObject({ code: 'DATABASE_CLOSED' });
    }
    const open = await Promise.all(
      (await descriptors()).map((fd) => nodeFileSystem.realPath(`/proc/self/fd/${fd}`).catch(() => '')),
    );
    expect(open.filter((path) => path.startsWith(database.dir))).toEqual([]);
  });

  it('distinguishes keys with a common prefix', async () => {
    const database = await openLsm(await temporaryFolder());
    const keys = ['', 'a', 'a\0', 'a\0b', 'a\0\0', 'b'];
    for (const key of keys) await database.put(key, `<${key}>`);
    await database.checkpoint();
    for (const key of keys) expect(String(await database.get(key))).toBe(`<${key}>`);
    expect(await database.get('a\0c')).toBeUndefined();
    await database.close();
  });

  it('sees an empty value as a value', async () => {
    const database = await openLsm(await temporaryFolder());
    await database.put('empty', '');
    expect(await database.get('empty')).toEqual(Buffer.alloc(0));
    await database.checkpoint();
    expect(await database.get('empty')).toEqual(Buffer.alloc(0));
    await database.close();
  });
});

describe('a full log', () => {
  it('makes writers wait for a flush and fails none of them', async () => {
    const dir = await temporaryFolder();
    const database = await openLsm(dir, { walGeometry: tinyLog });
    const values = Array.from({ length: 60 }, (_, i) => `${i}`.repeat(200));
    await Promise.all(values.map((value, i) => database.put(`k${i}`, value)));
    expect(database.stats().tables).toBeGreaterThan(1);
    for (const [i, value] of values.entries()) expect(String(await database.get(`k${i}`))).toBe(value);
    await database.close();
    expect(await proveLsm(dir)).toEqual([]);
  });

  it('can be filled to its last byte', async () => {
    const dir = await temporaryFolder();
    const database = await openLsm(dir, { walGeometry: tinyLog });
    const ring = database.stats().logBytes;
    const overhead = 12 + 4 + 1 + 1 + 1 + 1 + 1 + 2; // lsn and len, CRC, batch, count, op, key length, key, value length
    await database.put('k', 'v'.repeat(ring - overhead));
    expect(database.stats().logUsedBytes).toBe(ring);
    await database.close();
    expect(await proveLsm(dir)).toEqual([]);
    const again = await openLsm(dir);
    expect((await again.get('k'))?.byteLength).toBe(ring - overhead);
    expect(again.stats().logUsedBytes).toBe(ring);
    await expect(again.put('k', 'v'.repeat(ring - overhead + 1))).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
    });
    expect(await again.put('k', 'small')).toEqual({ lsn: '4' });
    await again.close();
  });
});

describe('one database, one owner', () => {
  it('refuses a second one in this process and in another, and frees the folder when closed', async () => {
    const dir = await temporaryFolder();
    const database = await openLsm(dir);
    await expect(openLsm(dir)).rejects.toMatchObject({ code: 'CONFLICT', path: dir });
    const { href } = pathToFileURL(compiled('src/lsm-database/database.ts'));
    const script = `import(${JSON.stringify(href)}).then((m) => m.openLsm(process.argv[1])).then(
      () => console.log('opened'), (error) => console.log(error.code))`;
    const other = () => spawnSync(process.execPath, ['-e', script, dir], { encoding: 'utf8' }).stdout.trim();
    expect(other()).toBe('CONFLICT');
    await database.close();
    expect(other()).toBe('opened');
  });

  it('refuses everything after closing; closing twice is fine', async () => {
    const database = await openLsm(await temporaryFolder());
    const writes = Promise.all([database.put('a', '1'), database.put('b', '2')]);
    await Promise.all([database.close(), database.close()]);
    await writes;
    expect(database.closed).toBe(true);
    expect(database.stats().state).toBe('closed');
    const closed = { code: 'DATABASE_CLOSED' };
    await expect(database.get('a')).rejects.toMatchObject(closed);
    await expect(database.put('a', '1')).rejects.toMatchObject(closed);
    await expect(database.checkpoint()).rejects.toMatchObject(closed);
    await expect(database.compact()).rejects.toMatchObject(closed);
    await expect(database.hold()).rejects.toMatchObject(closed);
    expect(() => database.iterate()).toThrow(expect.objectContaining(closed));
  });

  it('finishes a checkpoint that was running when close was called', async () => {
    const dir = await temporaryFolder();
    const database = await openLsm(dir);
    await database.put('a', '1');
    const [checkpoint] = await Promise.all([database.checkpoint(), database.close()]);
    expect(checkpoint).toEqual({ lsn: '2' });
    expect(await readdir(join(dir, 'sst'))).toEqual(['1.sst']);
  });
});

describe('mistakes in a call', () => {
  it.each([
    [{ memtableBytes: 0 }, 'openLsm: memtableBytes'],
    [{ compactAtTables: 1 }, 'openLsm: compactAtTables'],
    [{ createIfMissing: 'yes' }, 'openLsm: createIfMissing'],
    [{ walGeometry: { segmentBytes: 10, segmentCount: 1 } }, 'openLsm: walGeometry.segmentBytes'],
    [{ walGeometry: { segmentBytes: 4096 } }, 'openLsm: walGeometry.segmentCount'],
    [{ memtableSize: 1 }, 'openLsm: there is no option "memtableSize"'],
  ])('%j is a TypeError that names it', async (options, name) => {
    const error = await openLsm('/nowhere', options as never).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toContain(name);
  });

  it('are TypeErrors before anything happens', async () => {
    const database = await openLsm(await temporaryFolder());
    await expect(database.put(1 as never, 'x')).rejects.toThrow(TypeError);
    await expect(database.put('x', undefined as never)).rejects.toThrow('ops[0].value');
    await expect(database.batch([{ type: 'get', key: 'x' } as never])).rejects.toThrow('ops[0].type');
    await expect(database.batch('x' as never)).rejects.toThrow(TypeError);
    await expect(database.get(null as never)).rejects.toThrow(TypeError);
    expect(() => database.iterate({ limit: -1 })).toThrow('options.limit');
    expect(() => database.iterate({ from: 'a' } as never)).toThrow('options.from');
    expect(database.stats().commitGroups).toBe(0);
    await database.close();
  });

  it('a checkpoint can be cancelled', async () => {
    const database = await openLsm(await temporaryFolder());
    await database.put('a', '1');
    await expect(database.checkpoint({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    const cancel = new AbortController();
    const checkpoint = database.checkpoint({ signal: cancel.signal });
    cancel.abort();
    await expect(checkpoint).rejects.toMatchObject({ code: 'CANCELLED' });
    await database.close();
  });
});
