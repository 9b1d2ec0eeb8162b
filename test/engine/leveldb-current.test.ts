import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, verifySnapshot } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { entry, writeCraftedFolder } from '../support/leveldb-table.ts';
import { temporaryFolder } from '../support/temp.ts';

// What power loss and mistakes do to CURRENT: damage that says what is there and what could be named instead.

const BESIDE = 'whole beside: MANIFEST-000002';

const CASES: Readonly<Record<string, readonly [Buffer | null, string, string]>> = {
  absent: [null, 'LEVELDB_CURRENT_MISSING', `there is no CURRENT; ${BESIDE}`],
  empty: [Buffer.alloc(0), 'LEVELDB_CURRENT', `is empty; ${BESIDE}`],
  'full of NUL': [Buffer.alloc(16), 'LEVELDB_CURRENT', `holds 16 bytes, all NUL; ${BESIDE}`],
  'a page of NUL': [Buffer.alloc(4096), 'LEVELDB_CURRENT', `holds 4096 bytes, all NUL; ${BESIDE}`],
  'followed by NUL': [
    Buffer.concat([Buffer.from('MANIFEST-000002\n'), Buffer.alloc(4080)]),
    'LEVELDB_CURRENT',
    'holds 4096 bytes that are no text',
  ],
  doubled: [
    Buffer.from('MANIFEST-000002\n'.repeat(2)),
    'LEVELDB_CURRENT',
    'holds "MANIFEST-000002\\nMANIFEST',
  ],
  'cut short': [Buffer.from('MANIFEST-00'), 'LEVELDB_CURRENT', 'holds "MANIFEST-00", which is not one line'],
  'the name of a MANIFEST that is gone': [
    Buffer.from('MANIFEST-000009\n'),
    'LEVELDB_MANIFEST_MISSING',
    `names MANIFEST-000009, which does not exist; ${BESIDE}`,
  ],
  encrypted: [Buffer.from([0x80, 0x1d, 0x30, 0x01, 1, 2, 3]), 'LEVELDB_CURRENT', 'is encrypted'],
  'no text': [Buffer.from([0x99, 0xfe, 1]), 'LEVELDB_CURRENT', 'holds 3 bytes that are no text'],
};

test.each(Object.keys(CASES))(
  'a CURRENT that is %s is damage of a LevelDB, and the message says what helps',
  async (name) => {
    const [content, code, message] = CASES[name]!;
    const dir = await temporaryFolder();
    await writeCraftedFolder(dir, { table: { blocks: [[entry('a', 1)]] } });
    if (content === null) await rm(join(dir, 'CURRENT'));
    else await writeFile(join(dir, 'CURRENT'), content);
    for (const engine of ['auto', 'leveldb'] as const) {
      const { verdict, findings } = await verifySnapshot(dir, { engine });
      expect(verdict).toBe('source-damaged');
      expect(findings[0]).toMatchObject({ code, message: expect.stringContaining(message) });
    }
    expect((await stillpoint(['verify', dir])).code).toBe(3);
    await expect(new BackupCoordinator({ dataDir: dir }).backup()).rejects.toMatchObject({
      code: 'SOURCE_DAMAGED',
      hint: expect.stringContaining('stillpoint salvage'),
    });
    const copy = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
    expect(await readFile(join(copy.location, '000004.ldb'))).toEqual(
      await readFile(join(dir, '000004.ldb')),
    );
  },
);
