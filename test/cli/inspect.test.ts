import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documentLines } from '../../src/cli/document-text.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { copyFixture, describeWithFixtures } from '../support/fixtures.ts';
import { plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

describeWithFixtures('lsm', 'inspect', () => {
  it('prints logs, tables and manifests, readable and as JSON', async () => {
    const data = await copyFixture('lsm/small');
    const log = join(data, 'lsm.wal');
    const [asJson, forPeople, table] = await Promise.all([
      stillpoint(['inspect', log, '--limit', '2', '--json']),
      stillpoint(['inspect', log, '--limit', '2']),
      stillpoint(['inspect', join(data, 'sst/1.sst'), '--keys', '--limit', '3']),
    ]);
    expect(asJson.json).toMatchObject({
      path: log,
      engine: 'lsm',
      kind: 'log',
      entries_total: 17,
      problems: [],
    });
    expect(asJson.json.entries).toMatchObject([{ lsn: '200' }, { lsn: '202' }]);
    expect(forPeople).toMatchObject({ code: 0, stderr: '' });
    expect(forPeople.stdout).toMatch(/^entries total +17$/m);
    expect(forPeople.stdout).toMatch(/^ +200 +44 +1407 +30 +put "user:000000" 13 bytes; /m);
    expect(table.stdout).toMatch(/^frame compression +none$/m);
    expect(table.stdout).toMatch(/^ +put +124 +1 +"big" +10000$/m);
  });
});

describe('inspect', () => {
  it('shows what is wrong with a manifest, and lets nothing in it reach the terminal raw', async () => {
    const manifest = join(await temporaryFolder(), 'snapshot.manifest');
    await writeFile(
      manifest,
      JSON.stringify({ version: 1, entries: [{ path: '/etc/\u001b[2Jx', size: 1, crc32: 1 }] }),
    );
    const shown = await stillpoint(['inspect', manifest]);
    expect(shown).toMatchObject({ code: 0, stderr: '' });
    expect(shown.stdout).toMatch(/\nproblems\n {2}.*is absolute/);
    expect(shown.stdout).not.toContain('\u001b');
  });

  it('follows `latest` to the snapshot that it names, and names what is missing', async () => {
    const data = await plainDirectory();
    const { name, location } = await new BackupCoordinator({ dataDir: data, engine: 'files' }).backup();
    const backup = dirname(location);
    const manifest = await stillpoint(['inspect', join(backup, 'latest/snapshot.manifest'), '--json']);
    expect(manifest.json).toMatchObject({ path: join(backup, name, 'snapshot.manifest'), problems: [] });
    for (const absent of ['latest/absent', 'latest/a.txt/x', 'records.jsonl/latest/x', `${name}/a.txt/x`]) {
      const { code, json } = await stillpoint(['inspect', join(backup, absent), '--json']);
      expect({ absent, code, error: json.error.code }).toEqual({ absent, code: 5, error: 'NOT_FOUND' });
    }
  });

  it('renders documents of any shape', () => {
    const style = new Proxy({}, { get: () => (text: string) => text }) as never;
    const document = {
      kind: 'log',
      none: null,
      frame: { a: 1, b: 2 },
      state: { tables: [{ number: 5, smallest: { bytes: 2, hex: '6b31', text: 'k1' } }] },
      ops: [
        { type: 'delete', key: { bytes: 70, hex: '00ff' } },
        { type: 'put', key: { bytes: 1, hex: '00' } },
      ],
      nothing: [],
      problems: ['at byte 1: \u0007'],
    };
    expect(documentLines(document, style)).toEqual([
      'kind   log',
      'none   -',
      'frame  a 1, b 2',
      '',
      'state tables (1)',
      '  number  smallest',
      '       5  "k1"',
      '',
      'ops (2)',
      '  type    key',
      '  delete  0x00ff… (70 bytes)',
      '  put     0x00',
      '',
      'problems',
      '  at byte 1: \\u0007',
    ]);
  });

  it('keeps lists within 100 columns, whatever the keys are', () => {
    const style = new Proxy({}, { get: () => (text: string) => text }) as never;
    const key = (name: string) => ({ bytes: 60, hex: '', text: `customer:${name}:${'orders:'.repeat(6)}` });
    const op = (name: string) => ({ type: 'put', key: key(name), value_bytes: 7 });
    const facts = { log_number: 29, prev_log_number: 0, next_file: 30, last_sequence: '3500' };
    const table = { level: 2, number: 24, size_bytes: 70_126, smallest: key('a'), largest: key('b') };
    const document = {
      blocks: [{ offset: 0, size_bytes: 584, first_key: key('a'), last_key: key('b') }],
      records: [{ offset: 0, ops: [op('a'), op('b'), op('c')], sequence: '4861' }],
      edits: [
        { offset: 0, comparator: 'leveldb.BytewiseComparator', deleted_tables: [], new_tables: [] },
        { offset: 306, ...facts, deleted_tables: [{ level: 0, number: 7 }], new_tables: [table] },
      ],
    };
    const lines = documentLines(document, style);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(100);
    expect(lines).toEqual([
      '',
      'blocks (1)',
      '  offset  size bytes  first key                             last key',
      '       0         584  "customer:a:orders…s:orders:orders:"  "customer:b:orders…s:orders:orders:"',
      '',
      'records (1)',
      '  offset  sequence  ops',
      '       0      4861  put "customer:a:o…ers:orders:" 7 bytes; put "customer:b:o…ers:orders:" 7 bytes;',
      '                    put "customer:c:o…ers:orders:" 7 bytes',
      '',
      'edits (2)',
      '  offset 0, comparator leveldb.BytewiseComparator',
      '  offset 306, log number 29, prev log number 0, next file 30, last sequence 3500',
      '    deleted tables',
      '      level 0, number 7',
      '    new tables',
      '      level 2, number 24, size bytes 70126, smallest "customer…orders:",',
      '        largest "customer…orders:"',
    ]);
  });
});
