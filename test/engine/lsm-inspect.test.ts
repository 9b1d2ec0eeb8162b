import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { InspectOptions } from '../../src/engine/describe.ts';
import { inspectLsmFile } from '../../src/engine/lsm/inspect.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { describeWithFixtures, fixturesRoot } from '../support/fixtures.ts';
import { temporaryFolder } from '../support/temp.ts';

const real = join(fixturesRoot, 'lsm');

async function inspect(path: string, options?: InspectOptions) {
  const description = await inspectLsmFile(nodeFileSystem, path, options);
  expect(JSON.parse(JSON.stringify(description ?? null))).toEqual(description ?? null);
  return description;
}

async function inspectBytes(name: string, bytes: Uint8Array) {
  const path = join(await temporaryFolder(), name);
  await writeFile(path, bytes);
  return inspect(path);
}

const k = { bytes: 1, hex: '6b', text: 'k' };

describeWithFixtures('lsm', 'the inspection of one file', () => {
  it('shows a log', async () => {
    expect(await inspect(join(real, 'vectors/put.wal'))).toEqual({
      kind: 'log',
      size_bytes: 8208,
      geometry: { segment_bytes: 4096, segment_count: 2 },
      header: { start: 0, end: 21, full: false },
      live_bytes: 21,
      segments: [
        { offset: 16, id: '1', first_lsn: '1' },
        { offset: 4112, id: '2', first_lsn: '0' },
      ],
      entries_total: 1,
      entries: [
        {
          lsn: '1',
          offset: 44,
          size_bytes: 21,
          ops_total: 1,
          ops: [{ type: 'put', key: k, value_bytes: 1 }],
        },
      ],
      problems: [],
    });
    const wrapped = await inspect(join(real, 'vectors/wrapped.wal'), { limit: 2 });
    expect(wrapped).toMatchObject({ entries_total: 5, entries: [{ lsn: '5' }, { lsn: '6' }] });
  });

  it('shows a table', async () => {
    expect(await inspect(join(real, 'vectors/one.sst'), { entries: true })).toEqual({
      kind: 'table',
      size_bytes: 155,
      frame: {
        compression: 'none',
        blocks: 1,
        entries: '1',
        min_key_bytes: 1,
        max_key_bytes: 1,
        index: { offset: 71, size_bytes: 26 },
        filter: { offset: 97, size_bytes: 10, hashes: 7 },
        min_timestamp: '1',
        max_timestamp: '1',
        crc32: 0xeb773f9a,
      },
      blocks_total: 1,
      blocks: [{ offset: 32, size_bytes: 39, entries: 1, first_key: k, last_key: k }],
      entries: [{ type: 'put', timestamp: '1', sequence: '1', key: k, value_bytes: 1 }],
      problems: [],
    });
    const small = await inspect(join(real, 'small/sst/1.sst'), { limit: 3, entries: true });
    if (small?.kind !== 'table') expect.unreachable();
    expect(small.blocks).toHaveLength(3);
    expect(small.entries).toHaveLength(3);
    expect(small.blocks_total).toBeGreaterThan(3);
  });

  it('shows a checkpoint, and knows what it cannot read', async () => {
    const path = join(real, 'vectors/checkpoint.meta');
    expect(await inspect(path)).toEqual({
      kind: 'checkpoint',
      lsn: '42',
      created_at_ms: '123',
      problems: [],
    });
    const bytes = await readFile(path);
    bytes[5]! ^= 1;
    expect(await inspectBytes('checkpoint.meta', bytes)).toMatchObject({
      kind: 'checkpoint',
      lsn: null,
      problems: [expect.stringContaining('checksum')],
    });
    expect(await inspectBytes('notes.txt', Buffer.from('nothing of ours'))).toBeUndefined();
    expect(await inspect(join(real, 'nothing-there'))).toBeUndefined();
  });

  it('reports damage and shows the rest', async () => {
    const table = await readFile(join(real, 'wrapped/sst/1.sst'));
    table[60]! ^= 1; // in the first block
    const path = join(await temporaryFolder(), '1.sst');
    await writeFile(path, table);
    const description = await inspect(path, { entries: true });
    const problems = [
      'at byte 32: the checksum of a block does not match',
      expect.stringContaining('whole table'),
    ];
    expect(description).toMatchObject({ problems });
    // However little of it is listed.
    expect(await inspect(path, { limit: 0 })).toMatchObject({ problems });
    const log = await readFile(join(real, 'vectors/wrapped.wal'));
    log[16 + 256]! ^= 1;
    const damaged = await inspectBytes('lsm.wal', log);
    expect(damaged).toMatchObject({ entries_total: 5, segments: [{ id: '1' }, { id: '3' }] });
    expect(damaged?.problems).toHaveLength(1);
    expect(await inspectBytes('lsm.wal', Buffer.alloc(3))).toMatchObject({ kind: 'log', geometry: null });
    expect(await inspectBytes('7.sst', Buffer.alloc(100))).toMatchObject({ kind: 'table', frame: null });
  });
});
