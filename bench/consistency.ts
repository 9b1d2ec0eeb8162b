import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { BackupCoordinator, restoreSnapshot } from '../src/index.ts';
import { openLsm } from '../src/lsm-database/database.ts';
import { BUSY, Workload } from '../test/support/lsm-workload.ts';

// Many snapshots in a row of an lsm database under writers at full speed, each restored into a new folder, opened, and
// held against what was acknowledged before and against the order of all commits (invariant 5). Beside them, in the
// same way, a plain recursive copy: so that the check is known to be able to fail.

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '200' },
    'ballast-mb': { type: 'string', default: '16' },
    writers: { type: 'string', default: '4' },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const count = Number(values.count);
const writers = Number(values.writers);

interface Outcome {
  readonly way: string;
  readonly taken: number;
  readonly bad: number;
  readonly failed: number;
  readonly commits: number;
  readonly firstProblem: string | null;
}

type Take = (dir: string, into: string) => Promise<void>;

async function measure(
  way: string,
  makeTake: (dir: string, hold: () => Promise<object>) => Take,
): Promise<Outcome> {
  const root = await mkdtemp(join(values.dir, 'stillpoint-consistency-'));
  const dir = join(root, 'data');
  const database = await openLsm(dir, BUSY);
  const workload = new Workload(database, { writers });
  const take = makeTake(dir, () => database.hold());
  const taken: { into: string; before: readonly number[] }[] = [];
  const problems: string[] = [];
  let failed = 0;
  for (let i = 0; i < 8 * Number(values['ballast-mb']); i++)
    await database.put(`ballast:${i}`, randomBytes(128 * 1024));
  workload.start();
  while (workload.commits < 2_000) await setTimeout(20);
  try {
    for (let i = 0; i < count; i++) {
      const before = workload.acknowledged;
      const into = join(root, `restored-${i}`);
      try {
        await take(dir, into);
        taken.push({ into, before });
      } catch (error) {
        failed++;
        problems.push(String(error));
      }
    }
  } finally {
    await workload.stop();
  }
  let bad = 0;
  for (const { into, before } of taken) {
    const found = await workload.problemsOf(into, before).catch((error) => [`does not open: ${error}`]);
    if (found.length > 0) bad++;
    problems.push(...found);
  }
  const outcome = {
    way,
    taken: taken.length,
    bad,
    failed,
    commits: workload.commits,
    firstProblem: problems[0] ?? null,
  };
  await database.close();
  await rm(root, { recursive: true });
  return outcome;
}

const snapshots =
  (mode: 'copy' | 'link', isHeld: boolean) =>
  (dir: string, hold: () => Promise<object>): Take => {
    const checkpoint = isHeld ? { checkpoint: hold as never } : {};
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'lsm', ...checkpoint });
    return async (_dir, into) => {
      const { location } = await backup.backup({ mode, keep: 3 });
      await restoreSnapshot(location, { into });
    };
  };

const outcomes = [
  await measure('snapshot, copy, with a hold', snapshots('copy', true)),
  await measure('snapshot, link, with a hold', snapshots('link', true)),
  await measure('snapshot, copy, from outside', snapshots('copy', false)),
  await measure('cp -r of the folder', () => async (dir, into) => {
    await promisify(execFile)('cp', ['-r', dir, into]);
  }),
];

if (values.json) console.log(JSON.stringify(outcomes, undefined, 1));
else {
  console.log(
    `${writers} writers at full speed, ${count} copies in a row each way, every one opened and compared\n`,
  );
  for (const { way, taken, bad, failed, commits, firstProblem } of outcomes) {
    console.log(
      `${way.padEnd(30)} ${taken} taken, ${bad} bad, ${failed} not taken, ${commits} commits meanwhile`,
    );
    if (firstProblem !== null) console.log(`${' '.repeat(31)}first problem: ${firstProblem}`);
  }
}
if (outcomes.slice(0, 3).some(({ bad, failed }) => bad + failed > 0)) process.exitCode = 1;
