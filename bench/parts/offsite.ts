import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { type BackupTool, bucketPlace, folderPlace, type Place } from '../lib/backup-tools.ts';
import { run } from '../lib/command.ts';
import { allocatedBytes } from '../lib/folders.ts';
import { shuffled, Times } from '../lib/measure.ts';
import { type Bench, compare, type Part, type Row } from '../lib/part.ts';
import { SUBJECTS, type Subject } from '../lib/subjects.ts';
import { lifecycleOf } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';

const STEPS = ['first backup', 'second backup', 'restore'] as const;
type Step = (typeof STEPS)[number];

/** Ours over theirs, at most. */
const MOST: Readonly<Record<string, Partial<Record<Step, number>>>> = {
  restic: { 'first backup': 0.5, 'second backup': 0.2 },
  'rclone copy': { 'first backup': 1.2, restore: 1.2 },
  'cp -a + sync': { 'first backup': 1.5, restore: 1.5 },
};

const ENGINES = ['lsm', 'leveldb'];

/** A backup off the machine, the one after 1% changed, and the way back: whole commands, the folder at rest. */
export const offsite: Part = {
  name: 'offsite',
  measures: '12',
  async run(bench: Bench) {
    const places = [folderPlace(bench.root, bench.tools), await bucketPlace(bench.tools)];
    const rows: Row[] = [];
    let times: Times | undefined;
    for (const place of places) {
      if (place === undefined) continue;
      for (const subject of SUBJECTS.filter(({ engine }) => ENGINES.includes(engine))) {
        const taken = await measure(bench, place, subject);
        rows.push(...rowsOf(taken, place, subject));
        if (times === undefined) times = taken;
        else times.join(taken);
      }
    }
    return { rows, ...(times && { times }) };
  },
};

const nameOf = (step: Step, tool: string, place: Place, { engine }: Subject) =>
  `${step}, ${place.name}, ${engine}: ${tool}`;

async function measure(bench: Bench, place: Place, subject: Subject): Promise<Times> {
  const { data, options, root } = bench;
  const original = await subject.make(data, options.sizeBytes);
  const bytes = allocatedBytes(original);
  const times = new Times(
    STEPS.flatMap((step) =>
      place.tools.map(({ name }) => ({ name: nameOf(step, name, place, subject), bytes })),
    ),
  );
  for (let round = 0; round <= options.rounds; round++) {
    const folder = await data.fork(original, 'to-back-up');
    const each = async (step: Step, work: (tool: BackupTool) => Promise<unknown>) => {
      for (const tool of shuffled(place.tools)) {
        await run('sync', ['-f', root]);
        const began = performance.now();
        await work(tool);
        const ms = performance.now() - began;
        if (round > 0) times.add(nameOf(step, tool.name, place, subject), ms);
        removeAll(intoOf(root));
      }
    };
    await each('first backup', async (tool) => {
      await tool.prepare();
      await tool.backUp(folder);
    });
    await subject.change(folder, data, options.sizeBytes);
    await each('second backup', async (tool) => {
      if (tool.name.startsWith('cp')) await tool.remove(); // it has no second time
      await tool.backUp(folder);
    });
    removeAll(lifecycleOf(folder));
    await each('restore', (tool) => tool.restore(folder, intoOf(root)));
    for (const tool of place.tools) await tool.remove();
    removeAll(folder);
  }
  return times;
}

const intoOf = (root: string): string => join(root, 'restored');

function rowsOf(times: Times, place: Place, subject: Subject): Row[] {
  return Object.entries(MOST).flatMap(([tool, targets]) =>
    Object.entries(targets)
      .filter(() => tool !== 'cp -a + sync' || place.name === 'folder')
      .map(([step, most]) =>
        compare(times, {
          measure: 12,
          what: `${step}, ${place.name}, ${subject.engine}, against ${tool}`,
          ours: nameOf(step as Step, 'stillpoint', place, subject),
          theirs: nameOf(step as Step, tool, place, subject),
          most,
          limit: '',
        }),
      ),
  );
}
