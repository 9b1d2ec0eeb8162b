import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CapturePlan, FileCheck } from '../../src/engine/engine.ts';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import type { Finding } from '../../src/engine/report.ts';
import { createFile, readExactly, withFile, writeFully } from '../../src/env/io.ts';
import { nodeFileSystem as fs } from '../../src/env/node-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import type { LsmDatabase } from '../../src/lsm-database/database.ts';

/** All pairs, as hex. */
export async function dumpLsm(database: LsmDatabase): Promise<Record<string, string>> {
  const pairs: [string, string][] = [];
  for await (const [key, value] of database.iterate())
    pairs.push([key.toString('hex'), value.toString('hex')]);
  return Object.fromEntries(pairs);
}

/** Copies what a plan names, as a capture does. */
export async function copyPlan(plan: CapturePlan, dir: string, into: string): Promise<void> {
  await mkdir(into, { recursive: true });
  for (const item of plan.items) {
    const target = join(into, item.path);
    await mkdir(dirname(target), { recursive: true });
    if (item.kind === 'bytes') {
      await createFile(fs, target, item.bytes);
      continue;
    }
    await withFile(fs, join(dir, item.path), 'read', (source) =>
      withFile(fs, target, 'create', async (copy) => {
        if (item.kind === 'immutable') {
          const { sizeBytes } = await source.stat();
          await writeFully(copy, await readExactly(source, 0, sizeBytes), 0);
          return;
        }
        await copy.truncate(item.sizeBytes);
        for (const { offset, length } of item.extents) {
          await writeFully(copy, await readExactly(source, offset, length), offset);
        }
        for (const { offset, bytes } of item.patches) await writeFully(copy, bytes, offset);
      }),
    );
  }
}

/** Everything that the full proof has to say about a folder that nobody writes to. */
export async function proveLsm(dir: string): Promise<readonly Finding[]> {
  const request = { level: 'full', live: false } as const;
  const checks = new Map<string, FileCheck>();
  for (const path of await lsmEngine.listFiles(fs, dir)) {
    const check = await withFile(fs, join(dir, path), 'read', (file) =>
      lsmEngine.checkFile(file, { path, ...request }, new RunControl()),
    );
    checks.set(path, check);
  }
  const together = lsmEngine.checkConsistency(checks, request);
  return [...[...checks.values()].flatMap(({ findings }) => findings), ...together.findings];
}
