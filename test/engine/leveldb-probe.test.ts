import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { describe, expect, test } from 'vitest';
import { probeWithClassicLevel } from '../../src/engine/leveldb/probe.ts';
import { fillDisk, mountInMemory } from '../support/file-systems.ts';
import { fill, namesOf, writeFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';

/** The first entries are in a table, the others in a log. */
async function database(): Promise<string> {
  const dir = await writeFolder(join(await temporaryFolder(), 'db'), (db) => fill(db, 2000));
  return writeFolder(dir, (db) => fill(db, 1000));
}

const codeOf = (dir: string): Promise<unknown> =>
  probeWithClassicLevel()(dir).then(
    () => 'none',
    (error) => error.code,
  );

describe('a probe calls a folder damaged', () => {
  test.each<[string, (dir: string) => unknown]>([
    ['without CURRENT', (dir) => rmSync(join(dir, 'CURRENT'))],
    ['with a CURRENT of nonsense', (dir) => writeFileSync(join(dir, 'CURRENT'), 'nonsense')],
    ['without its MANIFEST', (dir) => writeFileSync(join(dir, 'CURRENT'), 'MANIFEST-009999\n')],
    ['without a table', async (dir) => rmSync(join(dir, (await namesOf(dir, /\.ldb$/))[0]!))],
    [
      'with a table cut off',
      async (dir) => truncateSync(join(dir, (await namesOf(dir, /\.ldb$/))[0]!), 1000),
    ],
  ])('%s', async (_, damage) => {
    const dir = await database();
    await damage(dir);
    expect(await codeOf(dir)).toBe('COPY_DAMAGED');
  });
});

describe('a probe says nothing of the data', () => {
  test('when the system refuses it a file', async () => {
    const dir = await database();
    rmSync(join(dir, 'LOCK'), { force: true });
    mkdirSync(join(dir, 'LOCK'));
    expect(await codeOf(dir)).toBe('IO_ERROR');
  });

  test('when another has the lock', async () => {
    const dir = await database();
    const holder = new ClassicLevel(dir);
    await holder.open();
    try {
      expect(await codeOf(dir)).toBe('IO_ERROR');
    } finally {
      await holder.close();
    }
  });

  test('when the disk is full, or may not be written', async (context) => {
    const disk = join(await temporaryFolder(), 'disk');
    mountInMemory(context, disk, 4 * 1024 * 1024);
    cpSync(await database(), disk, { recursive: true });
    fillDisk(disk);
    expect(await codeOf(disk)).toBe('NO_SPACE');
    execFileSync('mount', ['-o', 'remount,ro', disk]);
    expect(await codeOf(disk)).toBe('ACCESS_DENIED');
  });
});
