import { appendFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CapturePlan } from '../../src/engine/engine.ts';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { planFromOutside, planFromState } from '../../src/engine/lsm/plan.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { withFile } from '../../src/env/io.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import {
  encodeSectionHeader,
  encodeSegmentHeader,
  liveBytes,
  SECTION_HEADER_BYTES,
  type SectionHeader,
  segmentHeaderOffset,
  type WalGeometry,
} from '../../src/format/lsm/wal.ts';
import { ForeignServer, geometry, tableBytes } from '../support/foreign-lsm-server.ts';
import { type PinningContext, planContext } from '../support/plan-context.ts';
import { temporaryFolder } from '../support/temp.ts';

interface Setup extends PinningContext {
  readonly server: ForeignServer;
}

/** @param onList Called before each look into the folder of the tables, with its number from 1: where a writer may get in. */
async function setUp(onList?: (count: number, server: ForeignServer) => Promise<void>): Promise<Setup> {
  const server = await ForeignServer.create(await temporaryFolder());
  let lists = 0;
  const fs: FileSystem = {
    ...nodeFileSystem,
    async list(path) {
      if (path.endsWith('sst')) await onList?.(++lists, server);
      return nodeFileSystem.list(path);
    },
  };
  return { server, ...(await planContext(fs, server.dir)) };
}

/** From now on `act` is told of every read of so many bytes, or of any, and may change what was read. */
function onRead(fs: FileSystem, length: number | undefined, act: (bytes: Buffer) => void): void {
  const { open } = fs;
  fs.open = async (path, how) => {
    const file = await open(path, how);
    const read = file.read.bind(file);
    file.read = async (target, position) => {
      const count = await read(target, position);
      if (length === undefined || target.byteLength === length)
        act(Buffer.from(target.buffer, target.byteOffset, count));
      return count;
    };
    return file;
  };
}

/** The size of the log of `ForeignServer`, in two segments instead of four. */
const halves: WalGeometry = { segmentBytes: 2 * geometry.segmentBytes, segmentCount: 2 };

/** Empty segments, to be appended to the log of `ForeignServer`. */
const segmentsFrom = (index: number, count: number): Buffer =>
  Buffer.concat(
    Array.from({ length: count }, (_, i) =>
      Buffer.concat(
        [encodeSegmentHeader(BigInt(index + i + 1), 0n), Buffer.alloc(geometry.segmentBytes)],
        geometry.segmentBytes,
      ),
    ),
  );

/** What a capture of the plan would put into a folder. */
async function capture(plan: CapturePlan, from: string): Promise<string> {
  const to = await temporaryFolder();
  await mkdir(join(to, 'sst'));
  for (const item of plan.items) {
    const target = join(to, item.path);
    if (item.kind === 'bytes') {
      await writeFile(target, item.bytes);
      continue;
    }
    const source = await readFile(join(from, item.path));
    if (item.kind === 'immutable') {
      await writeFile(target, source);
      continue;
    }
    const image = Buffer.alloc(item.sizeBytes);
    for (const { offset, length } of item.extents) source.copy(image, offset, offset, offset + length);
    for (const { offset, bytes } of item.patches) image.set(bytes, offset);
    await writeFile(target, image);
  }
  return to;
}

async function checkLog(dir: string) {
  return withFile(nodeFileSystem, join(dir, 'lsm.wal'), 'read', (file) =>
    lsmEngine.checkFile(file, { path: 'lsm.wal', level: 'full', live: false }, new RunControl()),
  );
}

describe('a plan from outside', () => {
  it('names checkpoint, log and tables in this order, and holds while the server only appends', async () => {
    const { server, context, pins } = await setUp();
    await server.put('a');
    await server.checkpoint();
    for (const key of ['b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j']) await server.put(key);
    const plan = await lsmEngine.plan(context);
    expect(plan.items.map(({ kind, path }) => `${kind} ${path}`)).toEqual([
      'bytes checkpoint.meta',
      'image lsm.wal',
      'immutable sst/1.sst',
    ]);
    expect(pins.of('sst/1.sst').stat.sizeBytes).toBe(120);
    await server.put('later');
    await server.writeTable(); // of a checkpoint that has only begun
    expect(await plan.confirm?.()).toBeUndefined();

    const copy = await capture(plan, server.dir);
    const check = await checkLog(copy);
    expect(check.findings).toEqual([]);
    expect(check.counts).toEqual({ walEntries: 9, walLastLsn: '11' });
  });

  it('of a small log has read all that could still change', async () => {
    const { server, context } = await setUp();
    await server.put('a');
    const plan = await lsmEngine.plan(context);
    await server.emptyLog();
    for (const key of ['x', 'y', 'z']) await server.put(key);
    expect(await plan.confirm?.()).toBeUndefined();
    const check = await checkLog(await capture(plan, server.dir));
    expect(check.findings).toEqual([]);
    expect(check.counts).toEqual({ walEntries: 1, walLastLsn: '2' });
  });

  it('of an empty log says how far the state reaches', async () => {
    const { server, context } = await setUp();
    await server.put('a');
    await server.checkpoint();
    const plan = await lsmEngine.plan(context);
    expect(plan.checkpoint).toEqual({ lsn: '2' });
    await server.put('b');
    expect(await plan.confirm?.()).toBeUndefined();
    expect((await lsmEngine.plan(context)).checkpoint).toBeUndefined();
  });

  it.each<[string, RegExp, (server: ForeignServer) => Promise<void>]>([
    ['a checkpoint was saved', /made a checkpoint/, (server) => server.saveCheckpoint()],
    ['the start moved', /start of the log moved/, (server) => server.moveStart(10)],
    ['the log was emptied', /became shorter/, (server) => server.emptyLog()],
    [
      'the log was emptied and filled beyond where it was',
      /begun anew/,
      async (server) => {
        await server.emptyLog();
        for (const key of ['x', 'y', 'z']) await server.put(key);
      },
    ],
    ['the log is gone', /gone/, (server) => rm(join(server.dir, 'lsm.wal'))],
    [
      'the log is another file',
      /replaced/,
      async (server) => {
        const path = join(server.dir, 'lsm.wal');
        await writeFile(`${path}.new`, await readFile(path));
        await rename(`${path}.new`, path);
      },
    ],
    ['the checkpoint is gone', /made a checkpoint/, (server) => rm(join(server.dir, 'checkpoint.meta'))],
  ])('of a log that is too large to be read at once no longer holds when %s', async (_what, reason, act) => {
    const { server, context } = await setUp();
    await server.put('a');
    await server.checkpoint();
    await server.put('b');
    await server.put('c');
    const plan = await planFromOutside(context, { readAtOnceBytes: 0 });
    expect(await plan.confirm?.()).toBeUndefined();
    await act(server);
    expect(await plan.confirm?.()).toMatch(reason);
  });

  it.each([
    ['before the log is read', 1],
    ['after the log is read', 2],
  ])('is made again when a checkpoint gets in %s', async (_when, at) => {
    const { server, context } = await setUp(async (count, foreign) => {
      if (count !== at) return;
      await foreign.put('second');
      await foreign.checkpoint();
    });
    await server.put('first');
    await server.writeTable();
    const plan = await lsmEngine.plan(context);
    expect(plan.items.map(({ path }) => path)).toEqual([
      'checkpoint.meta',
      'lsm.wal',
      'sst/1.sst',
      'sst/2.sst',
    ]);
    expect(plan.checkpoint).toEqual({ lsn: '3' });
    expect((await checkLog(await capture(plan, server.dir))).counts.walEntries).toBe(0);
    expect(await plan.confirm?.()).toBeUndefined();
  });

  it('gives up with the reasons when the tables never stand still', async () => {
    const { server, context } = await setUp(async (_count, foreign) => {
      await foreign.writeTable();
    });
    await server.put('a');
    const error = await lsmEngine.plan(context).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'SOURCE_CHANGING' });
    expect((error as { data: { reasons: string[] } }).data.reasons).toHaveLength(256);
  });

  it('looks for the geometry of the log in the first round only', async () => {
    const reads: number[] = [];
    let readsSoFar = 0;
    const { server, context } = await setUp(async (count, foreign) => {
      reads.push(readsSoFar);
      if (count <= 20) await foreign.writeTable();
    });
    onRead(context.fs, undefined, () => readsSoFar++);
    await server.put('a');
    await lsmEngine.plan(context);
    const rounds = reads.flatMap((sum, i) => (i % 2 === 0 ? [] : [sum - reads[i - 1]!]));
    expect(rounds.length).toBeGreaterThan(8);
    for (const count of rounds.slice(1)) expect(count).toBeLessThan(rounds[0]! / 3);
  });

  it('looks for it again when the log became one of another geometry between two rounds', async () => {
    const { server, context } = await setUp(async (count, foreign) => {
      if (count !== 2) return;
      await foreign.writeTable();
      const path = join(foreign.dir, 'lsm.wal');
      const size = (await readFile(path)).byteLength;
      const log = Buffer.alloc(size);
      // The same length in two segments instead of four, in the same file.
      encodeSegmentHeader(1n, 0n).copy(log, segmentHeaderOffset(halves, 0));
      encodeSegmentHeader(2n, 0n).copy(log, segmentHeaderOffset(halves, 1));
      await writeFile(path, log);
    });
    await server.put('a');
    const plan = await lsmEngine.plan(context);
    const image = plan.items[0];
    expect(image?.kind === 'image' && image.patches.map(({ offset }) => offset)).toEqual([
      0,
      segmentHeaderOffset(halves, 0),
      segmentHeaderOffset(halves, 1),
    ]);
  });

  it('looks for it again when the log was replaced by one that has more segments in as many bytes', async () => {
    const { server, context } = await setUp(async (count, foreign) => {
      if (count !== 2) return;
      await foreign.writeTable();
      await rename(join(foreign.dir, 'four'), join(foreign.dir, 'lsm.wal'));
    });
    const path = join(server.dir, 'lsm.wal');
    await rename(path, join(server.dir, 'four'));
    const one = Buffer.alloc((await readFile(join(server.dir, 'four'))).byteLength);
    encodeSegmentHeader(1n, 0n).copy(one, segmentHeaderOffset(geometry, 0));
    await writeFile(path, one);
    const plan = await lsmEngine.plan(context);
    const image = plan.items[0];
    expect(image?.kind === 'image' && image.patches).toHaveLength(1 + 4);
  });

  it('looks for it again when the log has grown by whole segments', async () => {
    const { server, context } = await setUp(async (count, foreign) => {
      if (count !== 2) return;
      await foreign.writeTable();
      await appendFile(join(foreign.dir, 'lsm.wal'), segmentsFrom(geometry.segmentCount, 2));
    });
    await server.put('a');
    const plan = await lsmEngine.plan(context);
    const image = plan.items[0];
    expect(image?.kind === 'image' && image.patches).toHaveLength(2 + 6); // one entry, the log's header, six segments'
  });

  it.each<[string, (read: number) => boolean, (bytes: Buffer) => unknown]>([
    // Each second one, so that believing one read of two would see the same all along.
    [
      'half of a write',
      (read) => read <= 8 && read % 2 === 0,
      (bytes) => bytes.writeUInt32LE(bytes.readUInt32LE(8) - 5, 8),
    ],
    ['no header', (read) => read === 3 || read === 4, (bytes) => bytes.fill(0xff)],
  ])('believes no header of the log that is %s for a moment', async (_, isNow, spoil) => {
    const { server, context } = await setUp();
    await server.put('a');
    let reads = 0;
    onRead(context.fs, SECTION_HEADER_BYTES, (bytes) => isNow(++reads) && spoil(bytes));
    const plan = await lsmEngine.plan(context);
    expect(reads).toBeGreaterThan(8);
    const check = await checkLog(await capture(plan, server.dir));
    expect(check.findings).toEqual([]);
    expect(check.counts.walEntries).toBe(1);
  });

  it('waits for a table that is being written', async () => {
    const { server, context, pins } = await setUp(async (count, foreign) => {
      if (count === 15) await writeFile(join(foreign.dir, 'sst/1.sst'), tableBytes());
    });
    await server.put('a');
    await server.writeTable(tableBytes().subarray(0, 50));
    const plan = await lsmEngine.plan(context);
    expect(plan.items.map(({ path }) => path)).toEqual(['lsm.wal', 'sst/1.sst']);
    expect(await readFile(join(server.dir, 'sst/1.sst'))).toHaveLength(120);
    expect(pins.of('sst/1.sst').stat.sizeBytes).toBe(120); // what the capture holds the copy against
  });

  it('takes a table that stays incomplete as it is, for the proof to name it', async () => {
    const { server, context } = await setUp();
    await server.writeTable(tableBytes().subarray(0, 50));
    const plan = await lsmEngine.plan(context);
    expect(plan.items.map(({ path }) => path)).toEqual(['lsm.wal', 'sst/1.sst']);
  });

  it('of a log that cannot be understood copies all of it', async () => {
    const { server, context } = await setUp();
    await server.put('a');
    await server.writeTable();
    const path = join(server.dir, 'lsm.wal');
    const log = await readFile(path);
    for (let i = 0; i < geometry.segmentCount; i++) log[segmentHeaderOffset(geometry, i)]! ^= 1;
    await writeFile(path, log);
    const plan = await lsmEngine.plan(context);
    expect(plan.items[0]).toEqual({
      kind: 'image',
      path: 'lsm.wal',
      sizeBytes: log.byteLength,
      extents: [{ offset: 0, length: log.byteLength }],
      patches: [],
    });
    expect(await plan.confirm?.()).toBeUndefined();
    await server.put('b');
    expect(await plan.confirm?.()).toBeDefined();
  });

  it('of a log with one damaged segment header keeps the damage', async () => {
    const { server, context } = await setUp();
    await server.put('a');
    const path = join(server.dir, 'lsm.wal');
    const log = await readFile(path);
    log[segmentHeaderOffset(geometry, 2)]! ^= 1;
    await writeFile(path, log);
    const plan = await lsmEngine.plan(context);
    const check = await checkLog(await capture(plan, server.dir));
    expect(check.findings.map(({ code }) => code)).toEqual(['LSM_LOG_SEGMENT']);
    expect(check.counts.walEntries).toBe(1);
  });

  it('refuses a folder without a log, and follows no link', async () => {
    const { server, context } = await setUp();
    await server.writeTable();
    const log = join(server.dir, 'lsm.wal');
    await rename(log, `${log}.bak`);
    await expect(lsmEngine.plan(context)).rejects.toMatchObject({ code: 'ENGINE_MISMATCH', path: log });
    await symlink(`${log}.bak`, log);
    await expect(lsmEngine.plan(context)).rejects.toMatchObject({ code: 'UNSUPPORTED_FILE', path: log });
    const blank = await temporaryFolder();
    await expect(lsmEngine.plan({ ...context, dir: blank })).rejects.toMatchObject({
      code: 'ENGINE_MISMATCH',
    });
  });
});

describe('a plan from inside', () => {
  it('is made of what the database knows', () => {
    const section: SectionHeader = { start: 800, end: 100, full: false };
    const plan = planFromState({
      log: {
        geometry,
        start: section.start,
        liveBytes: liveBytes(geometry, section),
        sectionHeader: encodeSectionHeader(section),
        segmentHeaders: [encodeSegmentHeader(1n, 5n), encodeSegmentHeader(2n, 6n)],
      },
      checkpoint: Buffer.from('meta'),
      tables: [{ path: 'sst/3.sst', sizeBytes: 99 }],
      lastLsn: 2n ** 64n - 1n,
    });
    expect(plan.checkpoint).toEqual({ lsn: '18446744073709551615' });
    expect(plan.items).toEqual([
      { kind: 'bytes', path: 'checkpoint.meta', bytes: Buffer.from('meta') },
      {
        kind: 'image',
        path: 'lsm.wal',
        sizeBytes: 1040,
        extents: [
          { offset: 928, length: 112 },
          { offset: 44, length: 100 },
        ],
        patches: [
          { offset: 0, bytes: encodeSectionHeader(section) },
          { offset: 16, bytes: encodeSegmentHeader(1n, 5n) },
          { offset: 272, bytes: encodeSegmentHeader(2n, 6n) },
        ],
      },
      { kind: 'immutable', path: 'sst/3.sst', sizeBytes: 99 },
    ]);
  });
});

describe('the files of a directory', () => {
  it('are the state and nothing that was left over', async () => {
    const { server } = await setUp();
    await server.put('a');
    await server.checkpoint();
    for (const name of [
      'checkpoint.tmp',
      'lsm.wal.migrate',
      'lsm.wal.bak',
      'lsm.wal.bad.123',
      'lsm.alopex.lock',
      'sst/01.sst',
      'sst/x.sst',
      'sst/2.sst.tmp',
      'sst/18446744073709551616.sst',
      'sst/18446744073709551615.sst',
      'sst/0.sst',
      'sst/10.sst',
    ])
      await writeFile(join(server.dir, name), '');
    expect(await lsmEngine.listFiles(nodeFileSystem, server.dir)).toEqual([
      'checkpoint.meta',
      'lsm.wal',
      'sst/0.sst',
      'sst/1.sst',
      'sst/10.sst',
      'sst/18446744073709551615.sst',
    ]);
    await symlink('1.sst', join(server.dir, 'sst/11.sst'));
    await expect(lsmEngine.listFiles(nodeFileSystem, server.dir)).rejects.toMatchObject({
      code: 'UNSUPPORTED_FILE',
    });
  });

  it('show whose they are, also when the log is gone or damaged', async () => {
    const { server } = await setUp();
    const detect = () => lsmEngine.detect(nodeFileSystem, server.dir);
    const path = join(server.dir, 'lsm.wal');
    expect(await detect()).toBe(true);
    const log = await readFile(path);
    log[16]! ^= 1; // the others still hold
    await writeFile(path, log);
    expect(await detect()).toBe(true);
    await rm(path);
    expect(await detect()).toBe(false);
    await server.saveCheckpoint();
    expect(await detect()).toBe(true);
    await rm(join(server.dir, 'checkpoint.meta'));
    await writeFile(join(server.dir, 'sst/5.sst'), 'some text');
    expect(await detect()).toBe(false);
    await server.writeTable();
    expect(await detect()).toBe(true);
  });
});
