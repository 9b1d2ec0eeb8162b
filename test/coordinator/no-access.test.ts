import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { BackupCoordinator, openLsm, Snapshots } from '../../src/index.ts';
import { COMMAND } from '../support/command.ts';
import { needsPrograms, testAsRoot } from '../support/needs.ts';
import { rot } from '../support/rot.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// What a user may not read is not known: it is no damage, it never goes for that, and it hides nothing else.

/** Two snapshots that share no file, of somebody who may read all of them. */
async function twoSnapshots() {
  const root = await temporaryFolder();
  const dataDir = join(root, 'data');
  const backup = new BackupCoordinator({ dataDir });
  const taken: string[] = [];
  for (const value of ['one', 'two']) {
    const database = await openLsm(dataDir, SMALL_LOG);
    await database.put('key', value);
    await database.checkpoint();
    await database.close();
    taken.push((await backup.backup({ reuse: false })).location);
  }
  return { dataDir, taken };
}

/** The command as one to whom the rights of files apply. */
function bound(...args: string[]): { readonly code: number; readonly stdout: string } {
  const without = ['--inh-caps=-all', '--bounding-set=-dac_override,-dac_read_search'];
  try {
    return {
      code: 0,
      stdout: execFileSync('setpriv', [...without, ...COMMAND, ...args], { encoding: 'utf8', stdio: 'pipe' }),
    };
  } catch (error) {
    const { status, stdout } = error as { status: number; stdout: string };
    return { code: status, stdout };
  }
}

testAsRoot(
  'a table that the user may not read is unread, and its snapshot stays (needs root)',
  async (context) => {
    needsPrograms(context, 'setpriv');
    const { dataDir, taken } = await twoSnapshots();
    const [first] = taken as [string];
    const table = join(first, 'sst', readdirSync(join(first, 'sst'))[0]!);
    chmodSync(table, 0);
    for (const args of [[dataDir, '--all'], [first]]) {
      const { code, stdout } = bound('verify', ...args);
      expect({ code, stdout }).toEqual({ code: 7, stdout: expect.stringContaining('FILE_UNREADABLE') });
    }
    chmodSync(table, 0o600);
    const { snapshots } = await new Snapshots({ dataDir }).list();
    expect(snapshots.map(({ state }) => state)).toEqual(['good', 'good']);
    const { removed } = await new Snapshots({ dataDir }).prune({ keep: 10 });
    expect(removed).toEqual([]);
  },
);

testAsRoot(
  'a snapshot that the user may not look into hides no other, and stays (needs root)',
  async (context) => {
    needsPrograms(context, 'setpriv');
    const { dataDir, taken } = await twoSnapshots();
    const [first, second] = taken as [string, string];
    chmodSync(first, 0);
    onTestFinished(() => chmodSync(first, 0o700));
    const states = JSON.parse(bound('list', dataDir, '--json').stdout).snapshots;
    expect(states.map(({ state }: { state: string }) => state)).toEqual(['unread', 'good']);
    expect(bound('status', dataDir).stdout).toMatch(/^Safe: .*not all could be read\s+of/s);
    const { code, stdout } = bound('verify', dataDir, '--all', '--json');
    expect(code).toBe(7);
    const verdicts = JSON.parse(stdout).snapshots.map(
      ({ report }: { report: { verdict: string } }) => report.verdict,
    );
    expect(verdicts).toEqual(['unread', 'faithful']);
    const pruned = bound('prune', dataDir, '--keep', '1');
    expect({ ...pruned }).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('nobody knows what it is'),
    });
    expect(readdirSync(join(dataDir, '.lifecycle/backup'))).toEqual(
      expect.arrayContaining([first, second].map((place) => place.split('/').at(-1))),
    );
  },
);

testAsRoot(
  'one that may not be looked at is not the newest good one; where the ledger may not be read, none is (needs root)',
  async (context) => {
    needsPrograms(context, 'setpriv');
    const { dataDir, taken } = await twoSnapshots();
    const [first, second] = taken as [string, string];
    const listed = () => JSON.parse(bound('list', dataDir, '--json').stdout);
    chmodSync(second, 0);
    expect(listed()).toMatchObject({
      latest_good: basename(first),
      snapshots: [{ state: 'good' }, { state: 'unread' }],
    });
    chmodSync(second, 0o700);
    const proofs = join(dirname(first), 'proofs');
    chmodSync(proofs, 0);
    const status = bound('status', dataDir, '--json');
    expect(status.code).toBe(3);
    expect(JSON.parse(status.stdout)).toMatchObject({ safe: false, latest_good: null });
    expect(listed().snapshots).toMatchObject([{ state: 'unread' }, { state: 'unread' }]);
    chmodSync(proofs, 0o700);
  },
);

testAsRoot(
  'who may not read a ledger does not replace it: the damage on record stays (needs root)',
  async (context) => {
    needsPrograms(context, 'setpriv');
    const { dataDir, taken } = await twoSnapshots();
    const [first] = taken as [string];
    const table = join(first, 'sst', readdirSync(join(first, 'sst'))[0]!);
    const whole = readFileSync(table);
    rot(table);
    const { code } = bound('verify', dataDir, '--all');
    expect(code).toBe(3);
    writeFileSync(table, whole); // so that the next look finds nothing
    const ledger = join(dirname(first), 'proofs', `${basename(first)}.json`);
    const before = readFileSync(ledger, 'utf8');
    chmodSync(ledger, 0);
    bound('verify', first);
    chmodSync(ledger, 0o600);
    expect(readFileSync(ledger, 'utf8')).toBe(before);
  },
);

testAsRoot(
  'a ledger that may not be read keeps no damage from the record of those that share the file (needs root)',
  async (context) => {
    needsPrograms(context, 'setpriv');
    for (const refused of perTier([1], [0, 1])) {
      const { dataDir, taken } = await twoSnapshots();
      const [, second] = taken as [string, string];
      const { name: third } = await new BackupCoordinator({ dataDir }).backup();
      rot(join(second, 'sst', readdirSync(join(second, 'sst'))[0]!));
      const ledger = join(dirname(second), 'proofs', `${basename(taken[refused]!)}.json`);
      chmodSync(ledger, 0);
      expect(bound('verify', second).code).toBe(3);
      chmodSync(ledger, 0o600);
      const { snapshots } = await new Snapshots({ dataDir }).list();
      expect(snapshots.find(({ name }) => name === third)!.state).toBe('damaged');
    }
  },
);
