import { mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import { systemClock } from '../../src/env/clock.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { kernelLocks } from '../../src/env/lock.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { BackupCoordinator, openLsm, verifyAllSnapshots, verifySnapshot } from '../../src/index.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { type Ledger, readLedger } from '../../src/snapshot/ledger/ledger-file.ts';
import { readProofs } from '../../src/snapshot/ledger/proven-files.ts';
import { noteProofs } from '../../src/snapshot/ledger/write-proofs.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { BUSY } from '../support/lsm-workload.ts';
import { rot } from '../support/rot.ts';
import { temporaryFolder } from '../support/temp.ts';

const HOUR_MS = 60 * 60 * 1000;
const TABLES = ['1.sst', '2.sst', '3.sst'];

/** Snapshots of tables that never change; each snapshot has one more, and shares all others with the one before. */
async function growing(count = 3) {
  const dir = await plainDirectory({});
  const items: { kind: 'immutable'; path: string }[] = [];
  const backup = new BackupCoordinator({
    dataDir: dir,
    engine: 'files',
    checkpoint: () => ({ plan: { items: [...items] }, release() {} }),
  });
  const locations: string[] = [];
  for (const [i, path] of TABLES.slice(0, count).entries()) {
    writeTree(dir, { [path]: Buffer.alloc(1000 * (i + 1), i + 1) });
    items.push({ kind: 'immutable', path });
    locations.push((await backup.backup()).location);
  }
  return { dir, backup, locations, folder: join(dir, '.lifecycle/backup') };
}

/** The real disk, with something done at a call of one of its methods first. */
function withFileSystem(change: Partial<FileSystem>): Environment {
  const fs = { ...blockingFileSystem, ...change };
  return { ...inlineEnvironment, fs, pool: inlinePool(TASKS, fs) };
}

/** Notes the files of snapshots in the order in which they are opened. */
function reading() {
  const opened: string[] = [];
  const environment = withFileSystem({
    open(path, how) {
      if (path.endsWith('.sst')) opened.push(path);
      return blockingFileSystem.open(path, how);
    },
  });
  return { opened, environment };
}

const ledgerOf = (location: string): string =>
  join(location, '../proofs', `${location.split('/').at(-1)}.json`);

/** With the right checksum of what it says. */
function writeLedger(location: string, { crc32: _, ...all }: { files: object; crc32?: number }): void {
  writeFileSync(
    ledgerOf(location),
    JSON.stringify({ ...all, crc32: crc32(Buffer.from(JSON.stringify(all))) }),
  );
}

/** Makes the ledger say that the files of a snapshot were proven at that time. */
function backdate(location: string, provenAtMs: number): void {
  const ledger = JSON.parse(readFileSync(ledgerOf(location), 'utf8'));
  for (const proof of Object.values<{ proven_at_ms: number }>(ledger.files)) proof.proven_at_ms = provenAtMs;
  writeLedger(location, ledger);
}

const errorsOf = ({ snapshots }: Awaited<ReturnType<typeof verifyAllSnapshots>>) =>
  snapshots.map(({ report }) => report.findings.map(({ path, code }) => `${path} ${code}`));

describe('verifying all snapshots', () => {
  test('reads a file once, however many snapshots share it, and changes no snapshot', async () => {
    const { dir, locations, folder } = await growing();
    const before = readTree(folder, ['proofs']);
    const { opened, environment } = reading();
    const result = await verifyAllSnapshots(dir, { environment });
    expect(opened.length).toBe(3);
    expect(result).toMatchObject({ ok: true, level: 'full', location: folder, gone: [], warnings: [] });
    expect(result.snapshots.map(({ location }) => location)).toEqual(locations);
    for (const { complete, report } of result.snapshots) {
      expect([complete, report.ok, report.verdict]).toEqual([true, true, 'faithful']);
    }
    expect(result.totals).toEqual({
      snapshots: 3,
      damaged: 0,
      files: 6,
      bytes: 1000 + 3000 + 6000,
      distinctFiles: 3,
      distinctBytes: 6000,
      readFiles: 3,
      readBytes: 6000,
      skippedFiles: 0,
      skippedBytes: 0,
      unprovenFiles: 0,
      oldestProofAtMs: null,
    });
    expect(readTree(folder, ['proofs'])).toEqual(before);
  });

  test('tells each snapshot of a damaged file that it shares', async () => {
    const { dir, locations } = await growing();
    rot(join(locations[1]!, '2.sst'), 17);
    const { ok, totals, ...result } = await verifyAllSnapshots(dir);
    expect([ok, totals.damaged]).toEqual([false, 2]);
    expect(errorsOf({ ok, totals, ...result })).toEqual([[], ['2.sst FILE_CRC'], ['2.sst FILE_CRC']]);
    for (const [i, location] of locations.entries()) {
      const alone = await verifySnapshot(location);
      expect(result.snapshots[i]!.report).toMatchObject({ ok: alone.ok, findings: alone.findings });
    }
  });

  test('a damaged or missing manifest, an odd file or a missing one is a finding, and the others are read', async () => {
    const { dir, locations, backup } = await growing();
    locations.push((await backup.backup()).location, (await backup.backup()).location);
    const manifest = readFileSync(join(locations[0]!, 'snapshot.manifest'));
    manifest[100]! ^= 1;
    writeFileSync(join(locations[0]!, 'snapshot.manifest'), manifest);
    rmSync(join(locations[1]!, 'snapshot.manifest'));
    rmSync(join(locations[2]!, '1.sst'));
    writeFileSync(join(locations[3]!, 'odd'), 'odd');
    expect(errorsOf(await verifyAllSnapshots(dir))).toEqual([
      ['snapshot.manifest MANIFEST_INVALID'],
      ['snapshot.manifest MANIFEST_MISSING'],
      ['1.sst FILE_MISSING'],
      ['odd FILE_EXTRA'],
      [],
    ]);
  });

  test('a file that the disk no longer gives is a finding of each snapshot that has it', async () => {
    const { dir } = await growing();
    const environment = withFileSystem({
      async open(path, how) {
        if (!path.endsWith('2.sst')) return blockingFileSystem.open(path, how);
        throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', path });
      },
    });
    const result = await verifyAllSnapshots(dir, { environment });
    expect(errorsOf(result)).toEqual([[], ['2.sst FILE_UNREADABLE'], ['2.sst FILE_UNREADABLE']]);
    expect(result.totals).toMatchObject({ readFiles: 2, damaged: 2 });
    expect(result.snapshots.map(({ complete }) => complete)).toEqual([true, false, false]);
  });

  test('reports what is wrong between the files of a snapshot', async () => {
    const dir = join(await temporaryFolder(), 'data');
    const database = await openLsm(dir, BUSY);
    await database.put('a', 'b');
    await database.checkpoint();
    const backup = new BackupCoordinator({ dataDir: dir, checkpoint: () => database.hold() });
    const first = await backup.backup();
    await database.put('c', 'd');
    const second = await backup.backup();
    await database.close();
    const { snapshots } = await verifyAllSnapshots(dir);
    for (const [i, { location }] of [first, second].entries()) {
      const { steps: _, ...alone } = await verifySnapshot(location);
      expect(snapshots[i]).toMatchObject({ location, report: alone });
    }
  });

  test('works on any folder that holds snapshots, and says when there is none', async () => {
    const { dir, folder } = await growing();
    const elsewhere = join(await temporaryFolder(), 'moved');
    renameSync(folder, elsewhere);
    expect((await verifyAllSnapshots(elsewhere)).totals).toMatchObject({ snapshots: 3, distinctFiles: 3 });
    await expect(verifyAllSnapshots(dir)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(verifyAllSnapshots(join(dir, 'nowhere'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(verifyAllSnapshots(dir, { maxBytes: 0 })).rejects.toThrow(TypeError);
    await expect(verifyAllSnapshots(dir, { olderThanMs: -1 })).rejects.toThrow(TypeError);
  });

  test('a snapshot that is removed meanwhile is gone, and what others share with it is read all the same', async () => {
    const { dir, backup, folder } = await growing();
    const last = await backup.backup(); // has all tables
    const { locks } = inlineEnvironment;
    let surveyed = 0;
    const environment = {
      ...inlineEnvironment,
      locks: {
        ...locks,
        tryAcquire: async (...args: Parameters<typeof locks.tryAcquire>) => {
          if (++surveyed === 5) {
            rmSync(join(folder, last.name), { recursive: true });
          }
          return locks.tryAcquire(...args);
        },
      },
    };
    const result = await verifyAllSnapshots(dir, { environment });
    expect(result.gone).toEqual([last.name]);
    expect(result.ok).toBe(true);
    expect(result.snapshots.map(({ complete, report }) => [complete, report.counts.files])).toEqual([
      [true, 1],
      [true, 2],
      [true, 3],
    ]);
  });

  test('is cancelled', async () => {
    const { dir } = await growing(1);
    await expect(verifyAllSnapshots(dir, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
  });
});

describe('the ledger of proofs', () => {
  test('lets files with a young proof be skipped, tells how many, and carries what they said', async () => {
    const { dir, locations } = await growing();
    const begin = Date.now();
    await verifyAllSnapshots(dir);
    const { opened, environment } = reading();
    const skipped = await verifyAllSnapshots(dir, { olderThanMs: HOUR_MS, environment });
    expect(opened).toEqual([]);
    expect(skipped.totals).toMatchObject({
      readFiles: 0,
      skippedFiles: 3,
      skippedBytes: 6000,
      unprovenFiles: 0,
    });
    expect(skipped.totals.oldestProofAtMs).toBeGreaterThanOrEqual(begin);
    expect(skipped.snapshots.map(({ complete, report }) => [complete, report.counts.files])).toEqual([
      [true, 1],
      [true, 2],
      [true, 3],
    ]);
    for (const location of locations) backdate(location, begin - 2 * HOUR_MS);
    expect((await verifyAllSnapshots(dir, { olderThanMs: HOUR_MS })).totals.readFiles).toBe(3);
  });

  test('never makes a damaged file pass, and forgets the proof of one', async () => {
    const { dir, locations, backup } = await growing();
    rot(join(locations[2]!, '1.sst'), 3);
    const young = { olderThanMs: HOUR_MS };
    expect((await verifyAllSnapshots(dir, young)).ok).toBe(true); // what the caller asked for
    const damaged = [['1.sst FILE_CRC'], ['1.sst FILE_CRC'], ['1.sst FILE_CRC']];
    expect(errorsOf(await verifyAllSnapshots(dir))).toEqual(damaged);
    const again = await verifyAllSnapshots(dir, young);
    expect(errorsOf(again)).toEqual(damaged);
    expect(again.totals).toMatchObject({ readFiles: 1, skippedFiles: 2 });
    // Where there is no time for it, what was found the last time stands.
    const { opened, environment } = reading();
    backdate(locations[2]!, 1);
    expect(errorsOf(await verifyAllSnapshots(dir, { maxBytes: 1, environment }))).toEqual(damaged);
    expect(opened.length).toBe(1);
    // And no later snapshot shares it.
    const next = await backup.backup();
    expect([next.copiedBytes, next.reusedBytes]).toEqual([1000, 5000]);
    expect((await verifySnapshot(next.location)).ok).toBe(true);
  });

  test('brings every file its turn when only so many bytes are read at a time, oldest proof first', async () => {
    const { dir, locations } = await growing();
    for (const [i, path] of ['1.sst', '2.sst', '3.sst'].entries()) {
      for (const location of locations.slice(i)) {
        const ledger = JSON.parse(readFileSync(ledgerOf(location), 'utf8'));
        ledger.files[path].proven_at_ms = 3000 - 1000 * i;
        writeLedger(location, ledger);
      }
    }
    const { opened, environment } = reading();
    const oldest: (number | null)[] = [];
    for (let night = 0; night < 3; night++) {
      const { totals, ok } = await verifyAllSnapshots(dir, { maxBytes: 1, environment });
      expect([ok, totals.readFiles, totals.skippedFiles]).toEqual([true, 1, 2]);
      oldest.push(totals.oldestProofAtMs);
    }
    expect(opened.map((path) => path.slice(-5))).toEqual(['3.sst', '2.sst', '1.sst']);
    expect(oldest).toEqual([2000, 3000, expect.any(Number)]);
    expect(oldest[2]).toBeGreaterThan(3000);
    expect((await verifyAllSnapshots(dir, { maxBytes: 4000 })).totals.readBytes).toBeGreaterThanOrEqual(4000);
  });

  test('a proof that is lost, unreadable or from the future is not used: the file is read again', async () => {
    const { dir, locations } = await growing();
    const young = { olderThanMs: HOUR_MS };
    rmSync(ledgerOf(locations[0]!));
    writeFileSync(ledgerOf(locations[1]!), 'not JSON');
    backdate(locations[2]!, Date.now() + HOUR_MS);
    const all = await verifyAllSnapshots(dir, young);
    expect([all.ok, all.totals.readFiles]).toEqual([true, 3]);
    expect((await verifyAllSnapshots(dir, young)).totals.skippedFiles).toBe(3);
    rmSync(join(locations[0]!, '../proofs'), { recursive: true });
    const limited = await verifyAllSnapshots(dir, { ...young, maxBytes: 1 });
    expect(limited.totals).toMatchObject({ readFiles: 1, unprovenFiles: 2, oldestProofAtMs: null });
    // Only the first one was read, and nothing is known of the others.
    expect(limited.snapshots.map(({ complete }) => complete).includes(false)).toBe(true);
  });

  test('a reading at a lower level keeps the deeper proof and renews its time', async () => {
    const { dir, locations } = await growing();
    for (const location of locations) backdate(location, 1000);
    const begin = Date.now();
    await verifyAllSnapshots(dir, { level: 'files' });
    const { files } = JSON.parse(readFileSync(ledgerOf(locations[2]!), 'utf8'));
    for (const path of TABLES)
      expect([files[path].level, files[path].proven_at_ms >= begin]).toEqual(['full', true]);
  });

  test('that cannot be written is a warning', async () => {
    const { dir, locations } = await growing();
    const proofs = join(locations[0]!, '../proofs');
    rmSync(proofs, { recursive: true });
    writeFileSync(proofs, 'in the way');
    const { ok, warnings, totals } = await verifyAllSnapshots(dir);
    expect([ok, totals.readFiles]).toEqual([true, 3]);
    expect(warnings).toEqual([expect.objectContaining({ code: 'LEDGER_NOT_WRITTEN', severity: 'warning' })]);
    rmSync(proofs);
    mkdirSync(proofs);
    expect((await verifyAllSnapshots(dir)).warnings).toEqual([]);
  });

  test('of one snapshot that cannot be written keeps no other from being written', async () => {
    const { dir, locations } = await growing();
    for (const location of locations) backdate(location, 1000);
    // The first one that is written; each snapshot has a file of which it alone has the proof.
    const blocked = ledgerOf(locations[0]!);
    const environment = withFileSystem({
      async rename(from, to) {
        if (to !== blocked) return blockingFileSystem.rename(from, to);
        throw Object.assign(new Error('EIO: i/o error, rename'), { code: 'EIO', path: from });
      },
    });
    const { warnings } = await verifyAllSnapshots(dir, { environment });
    expect(warnings.map(({ code }) => code)).toEqual(['LEDGER_NOT_WRITTEN']);
    const times = locations.map((location) => {
      const { files } = JSON.parse(readFileSync(ledgerOf(location), 'utf8'));
      return Math.min(...Object.values<{ proven_at_ms: number }>(files).map((proof) => proof.proven_at_ms));
    });
    expect(times.map((time) => time > 1000)).toEqual([false, true, true]);
  });

  test('is written by many at once, and keeps what each of them read', async () => {
    const { locations } = await growing();
    const location = locations[2]!;
    rmSync(ledgerOf(location));
    const identity = { ino: 1n, mtimeNs: 1n };
    const check = { sizeBytes: 1, crc32: 1, findings: [], counts: {}, identity };
    const paths = Array.from({ length: 24 }, (_, i) => `${i}.sst`);
    // The system's own file calls, which give way to each other.
    const notes = paths.map((path) =>
      noteProofs(systemEnvironment, location, [{ path, check }], {
        level: 'full',
        before: undefined,
      }),
    );
    await Promise.all(notes);
    const { files } = JSON.parse(readFileSync(ledgerOf(location), 'utf8'));
    expect(Object.keys(files).sort()).toEqual([...paths].sort());
  });

  test('is not waited for without end where somebody keeps it locked', async () => {
    const { dir, folder } = await growing();
    const lock = await kernelLocks.tryAcquire(blockingFileSystem, join(folder, 'proofs/lock'), 'exclusive');
    let ms = 0;
    const clock = { ...systemClock, monotonicMs: () => (ms += 4000) };
    const { ok, warnings } = await verifyAllSnapshots(dir, { environment: { ...inlineEnvironment, clock } });
    expect([ok, warnings.map(({ code }) => code)]).toEqual([true, ['LEDGER_NOT_WRITTEN']]);
    expect(warnings[0]!.message).toContain(join(folder, 'proofs/lock'));
    await lock!.release();
    expect((await verifyAllSnapshots(dir)).warnings).toEqual([]);
  });

  test('is not given a proof again that somebody else took away while this reading was under way', async () => {
    const { dir, locations, backup } = await growing();
    const damaged: number[] = [];
    // Damaged after its last byte was read, and found damaged by another before the first one comes to its notes.
    const { locks } = inlineEnvironment;
    const environment = {
      ...inlineEnvironment,
      locks: {
        ...locks,
        async tryAcquire(...args: Parameters<typeof locks.tryAcquire>) {
          if (damaged.length === 0 && args[1].endsWith('proofs/lock')) {
            damaged.push(0);
            rot(join(locations[2]!, '1.sst'));
            damaged.push((await verifyAllSnapshots(dir)).totals.damaged);
          }
          return locks.tryAcquire(...args);
        },
      },
    };
    expect((await verifyAllSnapshots(dir, { environment })).ok).toBe(true);
    expect(damaged).toEqual([0, 3]);
    expect((await verifyAllSnapshots(dir, { olderThanMs: HOUR_MS })).totals.damaged).toBe(3);
    expect(await backup.backup()).toMatchObject({ copiedBytes: 1000, reusedBytes: 5000 });
  });

  test('gives no proof to what was found damaged since a reading began, or by a deeper one, whatever the clocks say', async () => {
    const { locations } = await growing();
    const location = locations[2]!;
    const { files: before } = JSON.parse(readFileSync(ledgerOf(location), 'utf8'));
    const check = {
      ...before['1.sst'],
      sizeBytes: 1000,
      findings: [],
      counts: {},
      identity: { ino: 1n, mtimeNs: 1n },
    };
    type Level = 'files' | 'full';
    const note = async (
      nowMs: number,
      before: Ledger,
      found: typeof check | undefined,
      level: Level = 'full',
    ) => {
      const environment = { ...inlineEnvironment, clock: { ...systemClock, nowMs: () => nowMs } };
      await noteProofs(environment, location, [{ path: '1.sst', check: found }], { level, before });
      const { files, damaged } = JSON.parse(readFileSync(ledgerOf(location), 'utf8'));
      return [files['1.sst']?.proven_at_ms, damaged?.['1.sst'].at_ms];
    };
    const now = () => readLedger(blockingFileSystem, location);
    const first = await now();
    expect(await note(2000, first, undefined)).toEqual([undefined, 2000]);
    for (const clockMs of [1900, 2000, 2100]) // whatever the clock of the one that began before
      expect(await note(clockMs, first, check)).toEqual([undefined, 2000]);
    expect(await note(2200, await now(), check, 'files')).toEqual([undefined, 2000]); // it does not read that deep
    expect(await note(2200, await now(), check)).toEqual([2200, undefined]);
    const second = await now();
    expect(await note(9000, second, undefined)).toEqual([undefined, 9000]);
    expect(await note(2400, second, check)).toEqual([undefined, 9000]);
    expect(await note(2500, await now(), check)).toEqual([2500, undefined]);
    const third = await now();
    rmSync(ledgerOf(location));
    expect(await note(2600, await now(), undefined)).toEqual([undefined, 2600]);
    expect(await note(2700, third, check)).toEqual([undefined, 2600]);
  });

  test('is not believed when a bit of it changed, whatever it says there', async () => {
    const { dir, locations } = await growing();
    const location = locations[2]!;
    rot(join(location, '2.sst'));
    await verifyAllSnapshots(dir);
    await noteProofs(inlineEnvironment, location, [{ path: '1.sst', check: undefined }], {
      level: 'full',
      before: undefined,
    });
    expect([...(await readProofs(blockingFileSystem, location)).keys()]).toEqual(['2.sst', '3.sst']);
    const text = readFileSync(ledgerOf(location), 'utf8');
    for (const part of ['"damaged":{"1', '"proven_at_ms":1', '"ino":"', '"2.sst"']) {
      const at = text.indexOf(part) + part.length - 1;
      expect(at).toBeGreaterThan(part.length);
      writeFileSync(
        ledgerOf(location),
        text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1),
      );
      expect((await readProofs(blockingFileSystem, location)).size, part).toBe(0);
    }
  });

  test('does not count for a file that was written to since', async () => {
    const { dir, locations } = await growing(2);
    for (const path of ['1.sst', '2.sst']) utimesSync(join(locations[1]!, path), new Date(0), new Date(0));
    const { snapshots, totals } = await verifyAllSnapshots(dir, { maxBytes: 1 });
    expect([snapshots[1]!.complete, totals.readFiles, totals.unprovenFiles]).toEqual([false, 1, 1]);
  });

  test('forgets the proof of a file that the disk no longer gives', async () => {
    const { dir, locations } = await growing();
    const environment = withFileSystem({
      async open(path, how) {
        if (!path.endsWith('2.sst')) return blockingFileSystem.open(path, how);
        throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', path });
      },
    });
    await verifyAllSnapshots(dir, { environment });
    const { files } = JSON.parse(readFileSync(ledgerOf(locations[2]!), 'utf8'));
    expect(Object.keys(files)).toEqual(['1.sst', '3.sst']);
  });
});
