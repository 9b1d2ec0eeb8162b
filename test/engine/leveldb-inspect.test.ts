import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inspectLeveldbFile } from '../../src/engine/leveldb/inspect.ts';
import { probeWithClassicLevel } from '../../src/engine/leveldb/probe.ts';
import { nodeFileSystem as fs } from '../../src/env/node-file-system.ts';
import { fill, flipBit, namesOf, writeFolder, writeMixedFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test('inspect: what each kind of file holds', async () => {
  const dir = await writeMixedFolder(join(await temporaryFolder(), 'db'));
  const [log] = await namesOf(dir, /\.log$/);
  const [manifest] = await namesOf(dir, /^MANIFEST/);
  const tables = await namesOf(dir, /\.ldb$/);

  expect(await inspectLeveldbFile(fs, join(dir, 'CURRENT'))).toEqual({
    kind: 'current',
    manifest,
    problems: [],
  });
  expect(await inspectLeveldbFile(fs, join(dir, log!), { limit: 2 })).toMatchObject({
    kind: 'log',
    records_total: 2,
    records: [
      {
        offset: 0,
        ops_total: 500,
        ops: [{ type: 'put', key: { text: 'later-00000000' }, value_bytes: 40 }, {}],
      },
      { ops_total: 1, ops: [{ type: 'delete', key: { text: 'key-00000007' } }] },
    ],
    problems: [],
  });
  expect(await inspectLeveldbFile(fs, join(dir, manifest!))).toMatchObject({
    kind: 'manifest',
    state: {
      comparator: 'leveldb.BytewiseComparator',
      tables_total: tables.length,
      tables: expect.arrayContaining([
        expect.objectContaining({ smallest: expect.objectContaining({ text: 'key-00000000' }) }),
      ]),
    },
    problems: [],
  });
  const table = await inspectLeveldbFile(fs, join(dir, tables[0]!), { limit: 3, entries: true });
  expect(table).toMatchObject({
    kind: 'table',
    frame: [{ name: 'filter.leveldb.BuiltinBloomFilter2' }, { name: 'metaindex' }, { name: 'index' }],
    problems: [],
  });
  if (table?.kind !== 'table') throw new Error('no table');
  expect(table.blocks).toHaveLength(3);
  expect(table.blocks_total).toBeGreaterThan(3);
  expect(table.entries).toHaveLength(3);
  expect(JSON.parse(JSON.stringify(table))).toEqual(table);

  expect(await inspectLeveldbFile(fs, join(dir, 'LOCK'))).toBeUndefined();
  expect(await inspectLeveldbFile(fs, join(dir, '999999.ldb'))).toBeUndefined();
});

test('inspect: damage is listed as a problem, and the readable rest is shown', async () => {
  const dir = await writeMixedFolder(join(await temporaryFolder(), 'db'));
  const names = await namesOf(dir, /^(\d+\.(log|ldb)|MANIFEST-\d+)$/);
  for (const name of names) {
    await flipBit(join(dir, name), 8 * 100);
    const description = await inspectLeveldbFile(fs, join(dir, name));
    expect(description!.problems.length).toBeGreaterThan(0);
    // However little of it is listed.
    if (name.endsWith('.ldb'))
      expect(await inspectLeveldbFile(fs, join(dir, name), { limit: 0 })).toMatchObject({
        problems: description!.problems,
      });
  }
  await writeFile(join(dir, 'CURRENT'), 'nonsense');
  expect(await inspectLeveldbFile(fs, join(dir, 'CURRENT'))).toMatchObject({
    manifest: null,
    problems: [{}],
  });
});

test('probe: opens a clone and counts or samples its keys', async () => {
  const dir = join(await temporaryFolder(), 'db');
  await writeFolder(dir, (db) => fill(db, 321));
  const clone = async (name: string): Promise<string> => {
    await cp(dir, `${dir}-${name}`, { recursive: true });
    return `${dir}-${name}`;
  };
  expect(await probeWithClassicLevel()(await clone('a'))).toEqual({ keys: 321 });
  expect(await probeWithClassicLevel({ count: false, sample: 10 })(await clone('b'))).toEqual({ keys: 10 });
  await expect(probeWithClassicLevel()(await temporaryFolder())).rejects.toMatchObject({
    code: 'COPY_DAMAGED',
    message: expect.stringContaining('does not exist'),
  });
  expect(() => probeWithClassicLevel({ sample: -1 })).toThrow(TypeError);
});
