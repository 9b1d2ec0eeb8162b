import { writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { filesEngine } from '../../src/engine/files/index.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { StillpointError } from '../../src/errors.ts';
import { Pipeline } from '../../src/snapshot/tasks/pipeline.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { temporaryFolder } from '../support/temp.ts';

/** Each worth a batch of its own. */
const BATCH_BYTES = 20 * 1024 * 1024;

test('once a file could not be brought to disk, no further one is copied', async () => {
  const dir = await temporaryFolder();
  const root = await temporaryFolder();
  const names = ['1', '2', '3', '4'];
  for (const name of names) writeFileSync(join(dir, name), name);

  const tasks = {
    ...TASKS,
    copyFiles: async (...args: Parameters<typeof TASKS.copyFiles>) => {
      await setImmediate(); // meanwhile the file before meets its fate
      return TASKS.copyFiles(...args);
    },
    syncFiles: async () => {
      throw new StillpointError('IO_ERROR', 'the disk is gone');
    },
  };
  const environment = { ...inlineEnvironment, pool: inlinePool(tasks, inlineEnvironment.fs) };
  const control = new RunControl();
  const pipeline = new Pipeline(environment, {
    root,
    engine: filesEngine,
    level: 'full',
    live: false,
    control,
  });
  const files = names.map((path) => ({ path }));
  const copying = pipeline.copy(files, {
    bytesOf: () => BATCH_BYTES,
    jobOf: ({ path }) => ({ source: { path: join(dir, path) }, target: join(root, path) }),
    done: () => {},
  });
  await expect(copying).rejects.toThrow('the disk is gone');
  await expect(pipeline.result()).rejects.toThrow('the disk is gone');
  expect(await readdir(root)).toEqual(['1', '2']);
});
