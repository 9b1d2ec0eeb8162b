import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { stillpoint } from '../support/command.ts';
import { needsPrograms } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';
import { isLong } from '../support/tier.ts';

const PAGE = readFileSync(resolve(import.meta.dirname, '../../src/guides/field.md'), 'utf8');
const PACKS = ['actors', 'items', 'journal'];

/** Folders as those of Foundry VTT: a `classic-level` database for each pack, beside a JSON file. */
async function openPacks(dir: string, createIfMissing: boolean): Promise<ClassicLevel<string, unknown>[]> {
  const packs = PACKS.map(
    (pack) =>
      new ClassicLevel<string, unknown>(join(dir, 'packs', pack), { valueEncoding: 'json', createIfMissing }),
  );
  for (const pack of packs) await pack.open();
  return packs;
}

async function countsOf(dir: string): Promise<number[]> {
  const packs = await openPacks(dir, false);
  const counts: number[] = [];
  for (const pack of packs) {
    counts.push((await pack.keys().all()).length);
    await pack.close();
  }
  return counts;
}

test('every command of the page works on a world with several open databases, and classic-level opens what was restored', async (context) => {
  if (isLong) needsPrograms(context, 'restic');
  const root = await temporaryFolder();
  const world = join(root, 'world');
  mkdirSync(join(world, 'packs'), { recursive: true });
  writeFileSync(join(world, 'world.json'), '{"title":"World"}');
  const packs = await openPacks(world, true);
  for (let n = 0; n < 100; n++) for (const pack of packs) await pack.put(`!pack!${n}`, { n });

  const commands = [...PAGE.matchAll(/^npx stillpoint (.*)$/gm)].map(([, line]) => line!.split(' '));
  expect(commands).toHaveLength(5);
  for (const args of commands) {
    if (args.includes('./copied')) copySnapshot(world, join(root, 'copied'));
    const places = args.map((arg) => (arg.startsWith('./') ? join(root, arg) : arg));
    const { code, stdout, stderr } = await stillpoint(places);
    expect([args.join(' '), code, stderr]).toEqual([args.join(' '), 0, '']);
    if (args.includes('--quiet')) expect(stdout).toBe('');
  }
  for (const pack of packs) await pack.close();
  for (const restored of ['restored', 'from-copy']) {
    expect(await countsOf(join(root, restored))).toEqual([100, 100, 100]);
    expect(readFileSync(join(root, restored, 'world.json'), 'utf8')).toBe('{"title":"World"}');
  }
});

/** As another program copies it: restic, in the long tier. */
function copySnapshot(world: string, to: string): void {
  if (existsSync(to)) return;
  const backup = join(world, '.lifecycle', 'backup');
  const snapshot = join(backup, readFileSync(join(backup, 'latest'), 'utf8').trim());
  if (!isLong) {
    cpSync(snapshot, to, { recursive: true });
    return;
  }
  const env = { ...process.env, RESTIC_PASSWORD: 'x', RESTIC_REPOSITORY: `${to}.restic` };
  for (const args of [['init'], ['backup', snapshot], ['restore', 'latest', '--target', `${to}.out`]])
    execFileSync('restic', ['-q', ...args], { env });
  cpSync(join(`${to}.out`, snapshot), to, { recursive: true });
}
