import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { byteCount, period } from '../../src/cli/quantities.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory } from '../support/folders.ts';
import { rot } from '../support/rot.ts';

const TABLE = 'deep/er/b.bin';

/** Two snapshots that share a file of 300,000 bytes. */
async function twoSnapshots() {
  const dir = await plainDirectory();
  const plan = { items: [{ kind: 'immutable' as const, path: TABLE }] };
  const backup = new BackupCoordinator({
    dataDir: dir,
    engine: 'files',
    checkpoint: () => ({ plan, release() {} }),
  });
  const first = await backup.backup();
  return { dir, names: [first.name, (await backup.backup()).name], first };
}

it('verifies all snapshots, for people and for programs', async () => {
  const { dir, names } = await twoSnapshots();
  const json = await stillpoint(['verify', dir, '--all', '--json']);
  expect([json.code, json.stderr]).toEqual([0, '']);
  expect(Object.keys(json.json)).toEqual([
    'ok',
    'level',
    'location',
    'snapshots',
    'gone',
    'totals',
    'warnings',
  ]);
  expect(json.json.totals).toMatchObject({ files: 2, distinct_files: 1, read_bytes: 300_000 });
  expect(json.json.snapshots).toMatchObject(
    names.map((name) => ({ name, complete: true, report: { ok: true } })),
  );
  const people = await stillpoint(['verify', dir, '--all']);
  expect(people.stdout.split('\n')).toEqual([
    `${names[0]}: faithful`,
    `${names[1]}: faithful`,
    `${join(dir, '.lifecycle/backup')}: 2 snapshots  (level full)`,
    '  1 file, 293 KiB read',
    '  293 KiB more are shared, and on disk only once',
    '',
  ]);
  const skipped = await stillpoint(['verify', dir, '--all', '--older-than', '1d', '--max-bytes', '500M']);
  expect(skipped.stdout).toMatch(/ {2}1 file, 293 KiB skipped, their oldest proof is of \d{4}-.*Z\n$/);
});

it('exits with 3 when any snapshot is damaged, and names each one', async () => {
  const { dir, names, first } = await twoSnapshots();
  rot(join(first.location, TABLE), 99);
  const { code, stdout } = await stillpoint(['verify', dir, '--all']);
  expect(code).toBe(3);
  // The file is told once, with the snapshots that have it.
  const file = `${TABLE} FILE_CRC .*\n  in ${names[0]}, ${names[1]}\n`;
  const each = names.map((name) => `${name}: copy-damaged: 1 error, shared with others\n`);
  expect(stdout).toMatch(new RegExp(`^${each.join('')}${file}`));
  expect(stdout.split(TABLE)).toHaveLength(2);
  expect(stdout).toContain('2 snapshots, 2 of them damaged');
});

it('reports what was neither read nor proven, and a ledger that cannot be written', async () => {
  const { dir, names } = await twoSnapshots();
  const proofs = join(dir, '.lifecycle/backup/proofs');
  rmSync(proofs, { recursive: true });
  writeFileSync(proofs, '');
  writeFileSync(join(dir, 'other'), 'a file of another size');
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  await backup.backup({ reuse: false });
  const { code, stdout } = await stillpoint(['verify', dir, '--all', '--max-bytes', '1']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/: faithful, as far as it was read\n/);
  expect(stdout).toMatch(/\d files, .* skipped, \d of them never proven\n/);
  expect(stdout).toContain('LEDGER_NOT_WRITTEN');
  expect(stdout).toContain(names[0]);
});

it('explains a wrong call', async () => {
  const { dir } = await twoSnapshots();
  for (const [args, message] of [
    [['--max-bytes', '1G'], '--max-bytes goes with --all'],
    [['--older-than', '1d'], '--older-than goes with --all'],
    [['--all', '--data-dir', dir], 'cannot be used with'],
    [['--all', '--engine', 'lsm'], 'cannot be used with'],
    [['--all', '--max-bytes', '0'], 'number of bytes above 0'],
    [['--all', '--older-than', '0d'], 'a time above 0'],
    [['--all', '--older-than', 'yesterday'], 'such as 30m, 12h or 7d'],
  ] as const) {
    const { code, stderr } = await stillpoint(['verify', dir, ...args]);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  }
});

it('reads sizes and periods', () => {
  const MiB = 1024 * 1024;
  const sizes = ['4096', '500M', '1.5K', '2G', '2gib', '1 G', '-1', '1e9', '', 'M', '99999999T'];
  const read =
    <T>(parse: (text: string) => T) =>
    (text: string): T | undefined => {
      try {
        return parse(text);
      } catch {
        return undefined;
      }
    };
  expect(sizes.map(read(byteCount))).toEqual([4096, 500 * MiB, 1536, 2048 * MiB, 2048 * MiB, ...Array(6)]);
  const periods = ['90s', '30m', '12h', '7d', '2w', '7', 'd', '1.5h', '-1d'];
  const hour = 3_600_000;
  expect(periods.map(read(period))).toEqual([
    90_000,
    1_800_000,
    12 * hour,
    168 * hour,
    336 * hour,
    ...Array(4),
  ]);
});
