import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import { BackupCoordinator, type Mode, openLsm, restoreSnapshot } from '../../src/index.ts';
import { mountedImage, mountInMemory, overlayOn, wholeSeconds } from '../support/file-systems.ts';
import { isOneState, startFileWriter } from '../support/file-writer.ts';
import { readAll, Writer } from '../support/leveldb.ts';
import { COUNTER, WorkloadModel } from '../support/leveldb-workload.ts';
import { BUSY, Workload } from '../support/lsm-workload.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

/*
 * Snapshots under writes on six file systems, which differ in their times, links and clones. Each snapshot is restored, opened, and
 * held against what was acknowledged: none is a state that never was (invariant 5). A folder of plain files may be refused.
 */

const SNAPSHOTS = perTier(2, 24);
const MiB = 1024 * 1024;

const FILE_SYSTEMS: Readonly<Record<string, (context: TestContext) => Promise<string>>> = {
  ext4: (context) => mountedImage(context, 'ext4'),
  'ext3 with whole seconds': wholeSeconds,
  xfs: (context) => mountedImage(context, 'xfs'),
  btrfs: (context) => mountedImage(context, 'btrfs'),
  overlayfs: (context) => overlayOn(context),
  async tmpfs(context) {
    const folder = join(await temporaryFolder(), 'disk');
    mountInMemory(context, folder, 128 * MiB);
    return folder;
  },
};

interface Tally {
  published: number;
  refused: number;
  readonly problems: string[];
}

/** Takes the snapshots, in the modes by turns. `check` gets a restored copy, and what `before` returned before the snapshot began. */
async function race<T>(
  backup: BackupCoordinator,
  modes: readonly Mode[],
  before: () => T | Promise<T>,
  check: (copy: string, before: T) => Promise<string[]>,
): Promise<Tally> {
  const tally: Tally = { published: 0, refused: 0, problems: [] };
  const copies = await temporaryFolder();
  for (let i = 0; i < SNAPSHOTS; i++) {
    const known = await before();
    try {
      const { location } = await backup.backup({ mode: modes[i % modes.length]!, keep: 3 });
      const into = join(copies, `${i}`);
      await restoreSnapshot(location, { into });
      tally.published++;
      tally.problems.push(...(await check(into, known)));
    } catch (error) {
      if ((error as { code?: string }).code !== 'SOURCE_CHANGING') throw error;
      tally.refused++;
    }
  }
  return tally;
}

async function leveldb(_: TestContext, dir: string): Promise<Tally> {
  const writer = await Writer.start(dir);
  onTestFinished(() => writer.kill());
  const model = new WorkloadModel();
  const tally = await race(
    new BackupCoordinator({ dataDir: dir, engine: 'leveldb' }),
    ['copy', 'link'],
    async () => (await writer.state()).acknowledged,
    async (copy, acknowledged) => {
      const found = await readAll(copy);
      await rm(copy, { recursive: true });
      const number = Number(found.get(COUNTER) ?? 0);
      const isLate = number < acknowledged ? [`${acknowledged} was acknowledged, ${number} is there`] : [];
      return [...isLate, model.difference(found) ?? []].flat();
    },
  );
  await writer.stop();
  return tally;
}

const lsm =
  (from: 'a hold' | 'outside') =>
  async (_: TestContext, dir: string): Promise<Tally> => {
    const database = await openLsm(dir, BUSY);
    onTestFinished(() => database.close());
    const workload = new Workload(database);
    workload.start();
    const checkpoint = () => (from === 'a hold' ? database.hold() : undefined);
    const copies: [copy: string, before: readonly number[]][] = [];
    const tally = await race(
      new BackupCoordinator({ dataDir: dir, engine: 'lsm', checkpoint }),
      ['copy', 'link'],
      () => workload.acknowledged,
      async (copy, before) => {
        copies.push([copy, before]);
        return [];
      },
    ).finally(() => workload.stop());
    for (const [copy, before] of copies) tally.problems.push(...(await workload.problemsOf(copy, before)));
    return tally;
  };

const files =
  (how: 'mapped' | 'plain') =>
  async (context: TestContext, dir: string): Promise<Tally> => {
    await mkdir(dir);
    const path = join(dir, 'database');
    const stop = await startFileWriter(context, path, how, { sizeBytes: 4 * MiB, restMs: 50 });
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
    const contentOf = (folder: string) => readFileSync(join(folder, 'database'));
    const tally = await race(
      backup,
      ['copy'],
      () => undefined,
      async (copy) => (isOneState(contentOf(copy)) ? [] : ['a torn file']),
    );
    await stop();
    const { location } = await backup.backup();
    expect(contentOf(location).equals(readFileSync(path))).toBe(true);
    return tally;
  };

const SUBJECTS: Readonly<Record<string, (context: TestContext, dir: string) => Promise<Tally>>> = {
  'LevelDB, from outside': leveldb,
  'lsm, with a hold': lsm('a hold'),
  'lsm, from outside': lsm('outside'),
  'files, mapped': files('mapped'),
  'files, plain': files('plain'),
};

const ALL = Object.keys(FILE_SYSTEMS).flatMap((place) =>
  Object.keys(SUBJECTS).map((what) => [place, what] as const),
);

test.for(perTier([['overlayfs', 'LevelDB, from outside']] as const, ALL))(
  'on %s no snapshot under writes is a state that never was: %s (invariant 5)',
  async ([place, what], context) => {
    const disk = await FILE_SYSTEMS[place]!(context);
    const { published, refused, problems } = await SUBJECTS[what]!(context, join(disk, 'data'));
    console.log(`${place}, ${what}: ${published} published, ${refused} refused, ${problems.length} problems`);
    expect(problems).toEqual([]);
    if (!what.startsWith('files')) expect(refused).toBe(0);
  },
);
