import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documentLines } from '../../src/cli/document-text.ts';
import { stillpoint } from '../support/command.ts';
import { copyFixture, describeWithFixtures } from '../support/fixtures.ts';
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
});
