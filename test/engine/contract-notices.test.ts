import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Engine, FileCheck } from '../../src/engine/engine.ts';
import { filesEngine } from '../../src/engine/files/index.ts';
import { withFile } from '../../src/env/io.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { type EngineSupports, testEngine } from '../../src/testing/index.ts';
import { openCountedFiles, readCountedFiles } from '../support/counted-files.ts';

// A contract suite that cannot fail would be worth nothing: engines with one defect each, and the test that notices.

const HONEST: EngineSupports = {
  detect: false,
  planUnderWrites: false,
  isCovered: () => false,
  isMissed: () => false,
};

interface Defect {
  readonly promise: string;
  readonly engine?: Partial<Engine>;
  readonly supports?: EngineSupports;
}

const check = (change: (check: FileCheck, path: string) => FileCheck): Partial<Engine> => ({
  checkFile: async (file, request, run) =>
    change(await filesEngine.checkFile(file, request, run), request.path),
});

const finding = { offset: null, code: 'TEST', severity: 'warning', message: 'a test' } as const;
const blind: FileCheck = { sizeBytes: 0, crc32: 0, findings: [], counts: {} };

const DEFECTS: Record<string, Defect> = {
  'that detects everything': {
    promise: 'detects its own data directory and no other',
    engine: { detect: async () => true },
    supports: { ...HONEST, detect: true },
  },
  'that lists snapshots as data': {
    promise: 'lists regular files, each once, and nothing in the lifecycle folder',
    engine: {
      listFiles: async (fs, dir) => [
        ...(await filesEngine.listFiles(fs, dir)),
        ...((await fs.list(dir)).some(({ name }) => name === '.lifecycle')
          ? ['.lifecycle/backup/ts-1/part-1']
          : []),
      ],
    },
  },
  'whose plan writes': {
    promise: 'a plan names existing files once, opens no lock, and changes nothing',
    engine: {
      plan: async (context) => {
        await withFile(context.fs, join(context.dir, 'part-1'), 'update', (file) => file.truncate(1));
        return filesEngine.plan(context);
      },
    },
  },
  'whose plan opens the lock': {
    promise: 'a plan names existing files once, opens no lock, and changes nothing',
    engine: {
      lockFile: 'part-1',
      listFiles: async (fs, dir) =>
        (await filesEngine.listFiles(fs, dir)).filter((path) => path !== 'part-1'),
      plan: async (context) => {
        await withFile(context.fs, join(context.dir, 'part-1'), 'read', async () => {});
        const { items } = await filesEngine.plan(context);
        return { items: items.filter(({ path }) => path !== 'part-1') };
      },
    },
  },
  'that calls growing files immutable': {
    promise: 'what a plan calls immutable never changes',
    engine: {
      hasImmutableFiles: true,
      plan: async ({ fs, dir }) => ({
        items: (await filesEngine.listFiles(fs, dir)).map((path) => ({ kind: 'immutable', path })),
      }),
    },
  },
  'whose plan mixes two moments': {
    promise: 'a plan carried out while the database writes between its steps is one state',
    engine: {
      hasImmutableFiles: true,
      plan: async (context) => {
        const { items } = await filesEngine.plan(context);
        return { items: items.map(({ path }, i) => (i % 2 ? { kind: 'immutable', path } : items[i]!)) };
      },
    },
    supports: { ...HONEST, planUnderWrites: true },
  },
  'with wrong checksums': {
    promise: 'a whole copy has no findings, at each level',
    engine: check((known) => ({ ...known, crc32: known.crc32 ^ 1 })),
  },
  'with findings in what is whole': {
    promise: 'a whole copy has no findings, at each level',
    engine: check((known, path) => ({ ...known, findings: [{ ...finding, path }] })),
  },
  'whose facts are no plain data': {
    promise: 'what is known of a file crosses a thread as plain data',
    engine: check((known) => ({ ...known, facts: { keys: new Map([[1, 2]]) } })),
  },
  'that sees no damage': {
    promise: 'a changed byte is found wherever a checksum covers it',
    supports: { ...HONEST, isCovered: () => true },
  },
  'whose findings name another file': {
    promise: 'a file of another length is read to its end, whatever is in it',
    engine: check((known, path) => ({ ...known, findings: [{ ...finding, path: `${path}.old` }] })),
  },
  'that stops reading where it is told': {
    promise: 'a file of another length is read to its end, whatever is in it',
    engine: check((known) => ({ ...known, sizeBytes: Math.min(known.sizeBytes, 20) })),
  },
  'that misses no file': {
    promise: 'a missing file is an error that names what is not there',
    supports: { ...HONEST, isMissed: () => true },
  },
  'that takes what it cannot read for empty': {
    promise: 'what cannot be read is never taken for good',
    engine: {
      checkFile: (file, request, run) => filesEngine.checkFile(file, request, run).catch(() => blind),
    },
  },
  'that cannot be cancelled': {
    promise: 'a cancelled check ends',
    engine: { checkFile: (file, request) => filesEngine.checkFile(file, request, new RunControl()) },
  },
  'that joins parts wrongly': {
    promise: 'a file checked in parts is the file checked as a whole',
    engine: { joinParts: (parts) => parts.at(-1)! },
  },
};

test.each(Object.entries(DEFECTS))('an engine %s', async (_, { promise, engine = {}, supports = HONEST }) => {
  await expect(testsOf({ ...filesEngine, ...engine }, supports).get(promise)!()).rejects.toThrow();
});

test('the engine without a defect keeps all of these promises', async () => {
  const tests = testsOf(filesEngine, HONEST);
  for (const { promise } of Object.values(DEFECTS)) await tests.get(promise)?.();
});

function testsOf(engine: Engine, supports: EngineSupports): Map<string, () => Promise<void>> {
  const tests = new Map<string, () => Promise<void>>();
  testEngine({
    test: (name, run) => tests.set(name.slice(`engine ${engine.name}: `.length), run),
    engine,
    createDatabase: openCountedFiles,
    readCopy: readCountedFiles,
    writes: 40,
    supports,
  });
  return tests;
}
