import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { afterEach, expect, test, vi } from 'vitest';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import {
  BackupCoordinator,
  Lifecycle,
  openLsm,
  RestoreCoordinator,
  Snapshots,
  StillpointError,
} from '../../src/index.ts';
import { RunRecords } from '../../src/operation/records.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { restoreInto } from '../../src/snapshot/restore/restore.ts';
import { checkSource, openSnapshotFolder, releaseSource } from '../../src/snapshot/restore/restore-source.ts';
import { folderSource } from '../../src/snapshot/source/folder-source.ts';
import type { SnapshotSource } from '../../src/snapshot/source/snapshot-source.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { type StreamSource, type Streams, streamsOf } from '../support/stream-source.ts';
import { temporaryFolder } from '../support/temp.ts';

afterEach(() => vi.restoreAllMocks());

const LARGEST = 'zeros.bin';
const OTHER = 'deep/er/b.bin';

async function snapshotOfFiles() {
  const dir = await plainDirectory();
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  return { dir, location };
}

async function snapshotOfLsm() {
  const dir = join(await temporaryFolder(), 'data');
  const database = await openLsm(dir, {
    memtableBytes: 64 * 1024,
    walGeometry: { segmentBytes: 1024 * 1024, segmentCount: 4 },
  });
  for (let i = 0; i < 2_000; i++)
    await database.put(Buffer.from(`key ${i}`), Buffer.from(`value ${i}`.repeat(20)));
  const { location } = await new BackupCoordinator({
    dataDir: dir,
    engine: 'lsm',
    checkpoint: () => database.hold(),
  }).backup();
  await database.close();
  return { dir, location };
}

async function restoreFrom(source: SnapshotSource, control = new RunControl()) {
  const into = join(await temporaryFolder(), 'restored');
  const opened = await checkSource(systemEnvironment, source, control);
  const restored = restoreInto(systemEnvironment, opened, into, { level: 'full' }, control).finally(
    opened.release,
  );
  return { into, ...(await restored) };
}

/** The restore fails, its folder never appears, and nothing is left beside it. */
async function refusal(source: SnapshotSource, control = new RunControl()) {
  const into = join(await temporaryFolder(), 'restored');
  const opened = await checkSource(systemEnvironment, source, control);
  const error = await restoreInto(systemEnvironment, opened, into, { level: 'full' }, control).then(
    () => undefined,
    (error) => error,
  );
  await opened.release();
  expect(existsSync(into)).toBe(false);
  expect(readdirSync(dirname(into))).toEqual([]);
  return error;
}

const only =
  (wanted: string, change: (stream: Streams, signal: AbortSignal) => Streams) =>
  (path: string, stream: Streams, signal: AbortSignal) =>
    path === wanted ? change(stream, signal) : stream;

async function* endless(stream: Streams): Streams {
  yield* stream;
  for (;;) yield new Uint8Array(1);
}

async function* short(stream: Streams): Streams {
  let last: Uint8Array | undefined;
  for await (const chunk of stream) {
    if (last !== undefined) yield last;
    last = chunk;
  }
  if (last !== undefined) yield last.subarray(0, -1);
}

async function* damaged(stream: Streams): Streams {
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk);
    bytes[bytes.byteLength - 1]! ^= 1;
    yield bytes;
  }
}

async function* emptyForEver(): Streams {
  for (;;) yield new Uint8Array(0);
}

const silent = (): Streams => ({
  [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }),
});

test('a restore from streams ends in the same files and the same proof as one from the folder', async () => {
  for (const { location } of [await snapshotOfFiles(), await snapshotOfLsm()]) {
    const [streams, folder] = [streamsOf(location), folderSource(systemEnvironment, location)];
    const one = await restoreFrom(streams);
    const other = await restoreFrom(folder);
    expect(readTree(one.into)).toEqual(readTree(other.into));
    expect({ ...one.report, steps: [] }).toEqual({ ...other.report, steps: [] });
    expect(one.report.ok).toBe(true);
    expect(streams.released).toBe(1);
  }
});

test('a stream that ends with zeros is restored to its full size', async () => {
  const dir = await plainDirectory({
    'zeros at the end': Buffer.concat([Buffer.alloc(65_536, 'x'), Buffer.alloc(4 * 65_536)]),
  });
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  expect(readTree((await restoreFrom(streamsOf(location))).into)).toEqual(readTree(dir));
});

test('a folder can be read as streams, too', async () => {
  const { location } = await snapshotOfFiles();
  const { folder: _, ...streams } = folderSource(systemEnvironment, location);
  expect(readTree((await restoreFrom(streams)).into)).toEqual(readTree(location, ['snapshot.manifest']));
});

test.each([
  ['a damaged byte', damaged, /deep\/er\/b\.bin of streams:test is not what its manifest says/],
  ['an early end', short, /ends after 299999 of 300000 bytes/],
  ['no end', endless, /is longer than the 300000 bytes of its entry/],
])('%s in a stream fails the restore, and nothing of it stays', async (_what, change, message) => {
  const { location } = await snapshotOfFiles();
  const source = streamsOf(location, only(OTHER, change));
  const error = await refusal(source);
  expect(error).toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH', path: OTHER });
  expect(error.message).toMatch(message);
  expect(source.signals.get(OTHER)?.aborted).toBe(true);
});

test('damage that was in the snapshot itself is found by the proof of the copy', async () => {
  const { location } = await snapshotOfLsm();
  const manifest = await folderSource(systemEnvironment, location).manifest();
  const path = manifest.entries.map(({ path }) => path).find((path) => path.endsWith('.sst'));
  const source = streamsOf(location, only(path!, damaged));
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.read(path!, new AbortController().signal)) chunks.push(chunk);
  const sum = crc32(Buffer.concat(chunks));
  const entries = manifest.entries.map(({ crc32c: _, ...entry }) =>
    entry.path === path ? { ...entry, crc32: sum } : entry,
  );
  const error = await refusal({ ...source, manifest: async () => ({ ...manifest, entries }) });
  expect(error).toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH', data: { verdict: 'source-damaged' } });
});

test('an error of the source is the error of the restore', async () => {
  const { location } = await snapshotOfFiles();
  const failing = async function* (stream: Streams): Streams {
    yield* stream;
    throw Object.assign(new TypeError('connection reset'), { code: 'ECONNRESET' });
  };
  expect(await refusal(streamsOf(location, only(OTHER, failing)))).toMatchObject({ code: 'ECONNRESET' });
});

test('one stream that fails ends the others, also those that never answer', async () => {
  const { location } = await snapshotOfFiles();
  const source = streamsOf(location, (path, stream) => {
    if (path === LARGEST) return silent();
    return path === OTHER ? short(stream) : stream;
  });
  expect(await refusal(source)).toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH', path: OTHER });
  expect(source.signals.get(LARGEST)?.aborted).toBe(true);
});

test.each([
  ['never answers', silent],
  ['yields empty chunks for ever', emptyForEver],
])('a stream that %s waits for the cancel and ends with it', async (_what, change) => {
  const { location } = await snapshotOfFiles();
  const source = streamsOf(location, only(LARGEST, change));
  const control = new RunControl();
  const refused = refusal(source, control);
  await vi.waitUntil(() => source.signals.has(LARGEST), { timeout: 60_000 });
  for (let i = 0; i < 5; i++) await setImmediate();
  control.cancel();
  expect(await refused).toMatchObject({ code: 'CANCELLED' });
  expect(source.signals.get(LARGEST)?.aborted).toBe(true);
});

test('a run that was cancelled before it began does not wait for a source', async () => {
  const { location } = await snapshotOfFiles();
  const control = new RunControl();
  control.cancel();
  const source = streamsOf(location, silent);
  const opened = checkSource(systemEnvironment, source, control);
  await expect(opened).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(source.released).toBe(1);
});

test('streams obey the rate limit, and a cancel does not wait for it', async () => {
  const { location } = await snapshotOfFiles();
  const control = new RunControl();
  control.rateLimiter.start(1024);
  const source = streamsOf(location);
  const refused = refusal(source, control);
  await vi.waitUntil(() => control.bytes > 0, { timeout: 60_000 });
  await setTimeout(300);
  expect(control.bytes).toBeLessThan(700_000); // 1.3 MB in all; each stream waits after its first chunk
  control.cancel();
  expect(await refused).toMatchObject({ code: 'CANCELLED' });
});

test.each([
  ['leads outside', '../outside'],
  ['is absolute', '/etc/passwd'],
  ['lies in the lifecycle folder', '.lifecycle/latest'],
])('a manifest of a source with a path that %s is refused', async (_what, path) => {
  const { location } = await snapshotOfFiles();
  const source = streamsOf(location);
  const manifest = await source.manifest();
  const entries = [...manifest.entries, { ...manifest.entries[0]!, path }];
  const hostile = { ...source, manifest: async () => ({ ...manifest, entries }) };
  const opened = checkSource(systemEnvironment, hostile, new RunControl());
  await expect(opened).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
});

test('a source is released when it is refused', async () => {
  const { location } = await snapshotOfFiles();
  const source = streamsOf(location);
  source.manifest = async () => ({ version: 1, entries: [], sealed: true, rewritten: false });
  await expect(checkSource(systemEnvironment, source, new RunControl())).rejects.toThrow(/names no file/);
  expect(source.released).toBe(1);
});

test('a manifest that does not say its engine takes that of the source', async () => {
  const { location } = await snapshotOfFiles();
  const source = streamsOf(location);
  const { snapshot: _, ...manifest } = await source.manifest();
  const foreign = { ...source, manifest: async () => manifest };
  await expect(checkSource(systemEnvironment, foreign, new RunControl())).rejects.toThrow(/no known engine/);
  const opened = await checkSource(systemEnvironment, { ...foreign, engine: 'files' }, new RunControl());
  expect(opened.engine.name).toBe('files');
});

test('a restore in place from streams can be undone, and the source is released', async () => {
  const { dir, location } = await snapshotOfFiles();
  const before = readTree(dir);
  writeTree(dir, { 'a.txt': 'changed', new: 'file' });
  const changed = readTree(dir);
  const source = streamsOf(location);
  const coordinator = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  const restored = await coordinator.restore({ source: async () => source });
  expect(restored).toMatchObject({ from: 'streams:test', bytes: expect.any(Number), report: { ok: true } });
  expect(readTree(dir)).toEqual(before);
  expect(source.released).toBe(1);
  await coordinator.undo();
  expect(readTree(dir)).toEqual(changed);
});

test('a restore in place from a damaged stream changes nothing and releases the source', async () => {
  const { dir, location } = await snapshotOfFiles();
  writeTree(dir, { 'a.txt': 'changed' });
  const changed = readTree(dir);
  const source = streamsOf(location, only(OTHER, damaged));
  const restore = new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore({
    source: async () => source,
  });
  await expect(restore).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
  expect(readTree(dir)).toEqual(changed);
  expect(source.released).toBe(1);
});

test('nobody prunes a snapshot while it is open as a source', async () => {
  const { dir, location } = await snapshotOfFiles();
  await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup({ reuse: false });
  const opened = await openSnapshotFolder(systemEnvironment, location);
  expect((await new Snapshots({ dataDir: dir }).prune({ keep: 1 })).busy).toHaveLength(1);
  await opened.release();
  expect((await new Snapshots({ dataDir: dir }).prune({ keep: 1 })).removed).toHaveLength(1);
});

/** A data directory that was changed since its snapshot, and a restore in place from the source that `open` makes. */
async function inPlace(open: (streams: StreamSource) => unknown, signal?: AbortSignal) {
  const { dir, location } = await snapshotOfFiles();
  writeTree(dir, { 'a.txt': 'changed' });
  const changed = readTree(dir);
  const lifecycle = new Lifecycle({ dataDir: dir });
  const coordinator = new RestoreCoordinator({ dataDir: dir, engine: 'files', lifecycle });
  const streams = streamsOf(location);
  const source = (async () => open(streams)) as () => Promise<SnapshotSource>;
  const restored = await coordinator.restore({ source, ...(signal && { signal }) }).then(
    ({ state }) => state.status,
    ({ code, message }) => ({ code, message }),
  );
  const runs = (await lifecycle.runs()).filter(({ kind }) => kind === 'restore');
  return { restored, streams, isChanged: !isDeepStrictEqual(readTree(dir), changed), runs, lifecycle };
}

const warnings = () => vi.spyOn(process, 'emitWarning').mockImplementation(() => {});

test.each<[string, () => unknown]>([
  ['rejects', async () => Promise.reject(new Error('no release'))],
  [
    'throws',
    () => {
      throw new Error('no release');
    },
  ],
  ['returns no promise', () => undefined],
])('a restore is complete also when the release of its source %s', async (what, release) => {
  const warned = warnings();
  const { restored, isChanged, runs } = await inPlace((streams) => ({ ...streams, release }));
  expect(restored).toBe('completed');
  expect(isChanged).toBe(true);
  expect(runs.map(({ state }) => state.status)).toEqual(['completed']);
  expect(warned).toHaveBeenCalledTimes(what === 'returns no promise' ? 0 : 1);
});

test('a failed release does not replace the reason of a failure', async () => {
  warnings();
  const { restored } = await inPlace((streams) => ({
    ...streams,
    read: () => silent(),
    manifest: async () => Promise.reject(new StillpointError('NOT_FOUND', 'the manifest is gone')),
    release: async () => Promise.reject(new Error('no release')),
  }));
  expect(restored).toMatchObject({ code: 'NOT_FOUND' });
});

test('a source that never ends its release is not waited for', async () => {
  const warned = warnings();
  await releaseSource({ location: 'streams:test', release: () => new Promise(() => {}) }, 10);
  expect(String(warned.mock.calls[0]![0])).toContain('streams:test took longer than 10 ms');
});

const huge = 'x'.repeat(4097);

test.each<[string, (streams: StreamSource) => unknown, number]>([
  ['is nothing', () => undefined, 0],
  ['has no location', (streams) => ({ ...streams, ...released(streams), location: undefined }), 1],
  ['has an empty location', (streams) => ({ ...streams, ...released(streams), location: '' }), 1],
  ['has a huge location', (streams) => ({ ...streams, ...released(streams), location: huge }), 1],
  ['has a folder that is no path', (streams) => ({ ...streams, ...released(streams), folder: 5 }), 1],
  ['cannot be read', (streams) => ({ ...streams, ...released(streams), read: undefined }), 1],
  ['cannot be released', (streams) => ({ ...streams, release: 'x' }), 0],
  ['has no manifest', (streams) => ({ ...streams, ...released(streams), manifest: async () => null }), 1],
  [
    'has a manifest of something else',
    (streams) => ({
      ...streams,
      ...released(streams),
      manifest: async () => ({ ...(await streams.manifest()), entries: [{ path: 'a.txt' }] }),
    }),
    1,
  ],
  ['gives no stream', (streams) => ({ ...streams, ...released(streams), read: () => undefined }), 1],
  [
    'gives a stream without results',
    (streams) => ({
      ...streams,
      ...released(streams),
      read: () => ({ [Symbol.asyncIterator]: () => ({ next: () => undefined }) }),
    }),
    1,
  ],
])('a source that %s is refused and released, and nothing is changed', async (_what, open, releases) => {
  const { restored, streams, isChanged, runs } = await inPlace(open);
  expect(restored).toMatchObject({ code: 'HOOK_INVALID' });
  expect(isChanged).toBe(false);
  expect(streams.released).toBe(releases);
  for (const { state } of runs) expect(state).toMatchObject({ status: 'failed', code: 'HOOK_INVALID' });
});

const released = (streams: StreamSource) => ({ release: () => streams.release() });

test('an iterator without promises is read like any other', async () => {
  const { restored, isChanged } = await inPlace((streams) => ({
    ...streams,
    read: (path: string) => {
      const bytes = readFileSync(join(streams.root, path));
      const iterator = [bytes][Symbol.iterator]();
      return {
        [Symbol.asyncIterator]: () => ({ next: () => iterator.next(), return: () => ({ done: true }) }),
      };
    },
  }));
  expect(restored).toBe('completed');
  expect(isChanged).toBe(true);
});

test.each<[string, (streams: StreamSource) => unknown, number]>([
  ['opens', () => new Promise(() => {}), 0],
  [
    'reads its manifest',
    (streams) => ({ ...streams, ...released(streams), manifest: () => new Promise(() => {}) }),
    1,
  ],
])('a restore is cancelled while its source %s and does not answer', async (_what, open, releases) => {
  const abort = new AbortController();
  let resolve = () => {};
  const isOpening = new Promise<void>((done) => {
    resolve = done;
  });
  const restoring = inPlace((streams) => {
    resolve();
    return open(streams);
  }, abort.signal);
  await isOpening;
  await setImmediate();
  abort.abort();
  const { restored, isChanged, streams, runs, lifecycle } = await restoring;
  expect(restored).toMatchObject({ code: 'CANCELLED' });
  expect(isChanged).toBe(false);
  expect(streams.released).toBe(releases);
  expect(runs).toEqual([]);
  expect(lifecycle.running).toBeUndefined();
});

test('a source that opens after the restore was cancelled is released', async () => {
  const abort = new AbortController();
  let resolve = () => {};
  const late = new Promise<void>((done) => {
    resolve = done;
  });
  const { restored, streams } = await inPlace(async (streams) => {
    abort.abort();
    await late;
    return streams;
  }, abort.signal);
  expect(restored).toMatchObject({ code: 'CANCELLED' });
  expect(streams.released).toBe(0);
  resolve();
  await vi.waitUntil(() => streams.released === 1, { timeout: 60_000 });
});

test('the snapshot of a restore that cannot be put on record is released', async () => {
  const { dir } = await snapshotOfFiles();
  const coordinator = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  const begin = vi.spyOn(RunRecords.prototype, 'begin');
  begin.mockRejectedValueOnce(new StillpointError('NO_SPACE', 'the disk is full'));
  await expect(coordinator.restore()).rejects.toMatchObject({ code: 'NO_SPACE' });
  begin.mockRestore();
  await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup({ reuse: false });
  const { removed, busy } = await new Snapshots({ dataDir: dir }).prune({ keep: 1 });
  expect([removed.length, busy.length]).toEqual([1, 0]);
});
