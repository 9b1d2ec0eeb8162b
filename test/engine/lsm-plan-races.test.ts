import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { CapturePlan } from '../../src/engine/engine.ts';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { planFromOutside } from '../../src/engine/lsm/plan.ts';
import type { FileSystem, OpenFile } from '../../src/env/file-system.ts';
import { withFile } from '../../src/env/io.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { decodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import { SEGMENT_HEADER_BYTES } from '../../src/format/lsm/wal.ts';
import type { Pins } from '../../src/snapshot/capture/pins.ts';
import { ForeignServer, tableBytes } from '../support/foreign-lsm-server.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { planContext } from '../support/plan-context.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const MiB = 1024 * 1024;

type Step = (server: ForeignServer) => Promise<unknown>;

let stamps = 0;
/** No two tables have the same content, whatever their names. */
const table: Step = (server) => {
  const bytes = tableBytes();
  bytes.writeUInt32LE(++stamps, 60);
  return server.writeTable(bytes);
};
const save: Step = (server) => server.saveCheckpoint();
const empty: Step = (server) => server.emptyLog();
const put: Step = (server) => server.put('k');
const putLong: Step = (server) => server.put('a key that is longer than that of any entry before');
const removeOldest: Step = async ({ dir }) => {
  const ids = (await readdir(join(dir, 'sst'))).map((name) => Number.parseInt(name, 10));
  await rm(join(dir, 'sst', `${Math.min(...ids)}.sst`));
};
const removeAll: Step = (server) => server.removeAllTables();

const REFILL = [empty, putLong, putLong, putLong, putLong];
const STORIES: readonly [string, before: readonly Step[], meanwhile: readonly Step[]][] = [
  ['a checkpoint that has only begun', [], [table]],
  ['a checkpoint', [], [table, save, empty]],
  ['a checkpoint, and more commits than before', [], [table, save, ...REFILL]],
  ['the end of a checkpoint, and more commits than before', [table], [save, ...REFILL]],
  ['an emptied log, and more commits than before', [table, save], REFILL],
  ['commits in an empty log, which is emptied', [table, save, empty], [put, table, save, ...REFILL]],
  ['a compaction', [table, save, empty], [table, removeOldest, removeOldest]],
  ['tables whose numbers begin anew', [], [removeAll, put, table, save, ...REFILL]],
];

/** Tables, checkpoint and log, as somebody sees them for whom everything stands still. */
async function stateIn(read: (path: string) => Promise<Buffer | undefined>, tables: readonly string[]) {
  const stamped = await Promise.all(
    tables.map(async (path) => `${path} ${(await read(path))!.readUInt32LE(60)}`),
  );
  const saved = await read('checkpoint.meta');
  const { findings, counts } = await lsmEngine.checkFile(
    new MemoryFile((await read('lsm.wal'))!),
    { path: 'lsm.wal', level: 'full', live: false },
    new RunControl(),
  );
  return JSON.stringify({
    tables: stamped.sort(),
    checkpoint: saved && String(decodeCheckpoint(saved).checkpoint?.lsn),
    log: [counts.walEntries, counts.walLastLsn],
    findings,
  });
}

const stateOf = async ({ dir }: ForeignServer) =>
  stateIn(
    (path) => readFile(join(dir, path)).catch(() => undefined),
    (await readdir(join(dir, 'sst'))).map((name) => `sst/${name}`),
  );

/** Takes a plan as a capture does, and what it says from the disk or the pins. */
async function captured(plan: CapturePlan, fs: FileSystem, dir: string, pins: Pins): Promise<string> {
  const files = new Map<string, Buffer>();
  const tables: string[] = [];
  for (const item of plan.items) {
    if (item.kind === 'bytes') files.set(item.path, Buffer.from(item.bytes));
    if (item.kind === 'immutable') {
      tables.push(item.path);
      files.set(item.path, await readFile(pins.of(item.path).link!));
    }
    if (item.kind !== 'image') continue;
    const image = Buffer.alloc(item.sizeBytes);
    await withFile(fs, join(dir, item.path), 'read', async (file) => {
      for (const { offset, length } of item.extents)
        await file.read(image.subarray(offset, offset + length), offset);
    });
    for (const { offset, bytes } of item.patches) image.set(bytes, offset);
    files.set(item.path, image);
  }
  return stateIn(async (path) => files.get(path), tables);
}

/**
 * The file system as the plan has it; `onCall` comes before each of its calls, with their number from 1. Segment headers are
 * not counted: looking for the geometry reads dozens of them in a row, and nothing else changes in between.
 */
function announcing(onCall: (call: number) => Promise<void>): FileSystem {
  let calls = 0;
  const first = async <T>(work: () => Promise<T>) => {
    await onCall(++calls);
    return work();
  };
  return {
    ...nodeFileSystem,
    inspect: (path) => first(() => nodeFileSystem.inspect(path)),
    list: (path) => first(() => nodeFileSystem.list(path)),
    open: (path, how) =>
      first(async (): Promise<OpenFile> => {
        const file = await nodeFileSystem.open(path, how);
        return {
          ...file,
          read(target, position) {
            const read = () => file.read(target, position);
            return target.byteLength === SEGMENT_HEADER_BYTES ? read() : first(read);
          },
        };
      }),
  };
}

/** How many of the steps that are left are taken so many calls after the first of them. */
type RateLimiter = (callsLater: number, left: number) => number;

const atOnce: RateLimiter = (_, left) => left;
const oneEachCall: RateLimiter = () => 1;
const restTwoCallsLater: RateLimiter = (later, left) => (later === 0 ? 1 : later === 2 ? left : 0);

/** One capture with a writer whose first step comes before call number `at`. Resolves to whether it came to its turn. */
async function race(
  before: readonly Step[],
  meanwhile: readonly Step[],
  { at, pace, readAtOnceBytes }: { at: number; pace: RateLimiter; readAtOnceBytes: number },
): Promise<boolean> {
  const server = await ForeignServer.create(await temporaryFolder());
  for (const step of [put, put, put, table, save, empty, put, put, ...before]) await step(server);
  const history = [await stateOf(server)];
  const left = [...meanwhile];
  const fs = announcing(async (call) => {
    if (call < at) return;
    for (const step of left.splice(0, pace(call - at, left.length))) {
      await step(server);
      history.push(await stateOf(server));
    }
  });
  const { context, pins } = await planContext(fs, server.dir);
  for (;;) {
    const plan = await planFromOutside(context, { readAtOnceBytes });
    const state = await captured(plan, fs, server.dir, pins);
    if ((await plan.confirm?.()) !== undefined) continue;
    expect(history, `${meanwhile.length} steps at call ${at}`).toContain(state);
    return left.length < meanwhile.length;
  }
}

test.each(STORIES)(
  'a plan from outside captures a state that existed, whenever %s comes in between (invariant 5)',
  async (_, before, meanwhile) => {
    const step = perTier(4, 1);
    for (const [pace, readAtOnceBytes, first] of [
      [atOnce, MiB, 1],
      [oneEachCall, MiB, step],
      [restTwoCallsLater, MiB, 1],
      [atOnce, 0, step],
    ] as const) {
      let at = first;
      while (await race(before, meanwhile, { at, pace, readAtOnceBytes })) at += step;
      expect(at).toBeGreaterThan(30);
    }
  },
);
