import assert from 'node:assert/strict';
import { join } from 'node:path';
import { BackupCoordinator } from '../coordinator/backup.ts';
import { restoreSnapshot, verifySnapshot } from '../coordinator/snapshot-by-path.ts';
import { Snapshots } from '../coordinator/snapshots.ts';
import type { Engine, FileCheck } from '../engine/engine.ts';
import type { Finding } from '../engine/report.ts';
import { nodeFileSystem as fs } from '../env/node-file-system.ts';
import { RunControl, type TaskRun } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { crc32 } from '../format/crc32.ts';
import { LEVELS } from '../options/choices.ts';
import { isRelative, withDatabase, writeMany } from './captures.ts';
import { checkAll, checkOne, findingsOf, fingerprint, readBytes, writeBytes } from './folders.ts';
import { failingFile } from './read-only.ts';
import type { Subject } from './subject.ts';

/** Bytes of each file that are changed one after another, spread over it; all of a file that is smaller. */
const FLIPS = 150;
/** Reads of each file that fail one after another. */
const FAILURES = 12;

/** What the engine says of a copy that is whole, damaged, cut, incomplete or unreadable. */
export function testProofs(subject: Subject): void {
  const { test, engine, supports } = subject;

  test('a whole copy has no findings, at each level', () =>
    withCopy(subject, async ({ dir, paths }) => {
      for (const level of LEVELS) {
        const checks = await checkAll(engine, dir, paths, level);
        if (level !== 'files') assert.deepEqual(findingsOf(engine, checks, level), [], level);
        for (const [path, check] of checks) await checkSums(dir, path, check);
      }
    }));

  test('what is known of a file crosses a thread as plain data', () =>
    withCopy(subject, async ({ dir, paths }) => {
      const checks = await checkAll(engine, dir, paths);
      const crossed = new Map<string, FileCheck>();
      for (const [path, { facts, ...check }] of checks) {
        const copy = facts === undefined ? undefined : JSON.parse(JSON.stringify(facts));
        crossed.set(path, { ...structuredClone(check), ...(facts !== undefined && { facts: copy }) });
      }
      assert.deepEqual(findingsOf(engine, crossed), []);
      for (const [path, { facts }] of crossed) assert.deepEqual(facts, checks.get(path)!.facts, path);
    }));

  test('a changed byte is found wherever a checksum covers it', () =>
    withCopy(subject, async ({ dir, paths }) => {
      const whole = await checkAll(engine, dir, paths);
      let covered = 0;
      for (const path of paths) {
        const bytes = await readBytes(join(dir, path));
        for (const offset of spread(bytes.byteLength, FLIPS)) {
          const damaged = flipped(bytes, offset);
          await writeBytes(join(dir, path), damaged);
          const check = await checkOne(engine, dir, path);
          await checkSums(dir, path, check);
          const findings = findingsOf(engine, new Map([...whole, [path, check]]));
          checkFindings(findings, paths);
          if (!supports.isCovered(path, offset, bytes)) continue;
          covered++;
          assert.ok(isNoticed(findings), `byte ${offset} of ${path} was changed, and nobody noticed`);
        }
        await writeBytes(join(dir, path), bytes);
      }
      assert.ok(covered > 0 || !paths.some((path) => supports.isCovered(path, 0, Buffer.alloc(1))));
    }));

  test('a file of another length is read to its end, whatever is in it', () =>
    withCopy(subject, async ({ dir, paths }) => {
      const whole = await checkAll(engine, dir, paths);
      for (const path of paths) {
        const bytes = await readBytes(join(dir, path));
        const { length } = bytes;
        const cuts = [0, 1, length >> 1, length - 1].filter((cut) => cut >= 0 && cut < length);
        const others = [
          ...cuts.map((cut) => bytes.subarray(0, cut)),
          Buffer.concat([bytes, Buffer.alloc(7, 0xa5)]),
          Buffer.alloc(length),
          Buffer.alloc(length, 0xff),
        ];
        for (const other of others) {
          await writeBytes(join(dir, path), other);
          for (const level of LEVELS) {
            const check = await checkOne(engine, dir, path, level);
            await checkSums(dir, path, check);
            checkFindings(check.findings, paths);
            if (level !== 'files')
              checkFindings(findingsOf(engine, new Map([...whole, [path, check]]), level), paths);
          }
        }
        await writeBytes(join(dir, path), bytes);
      }
    }));

  test('a missing file is an error that names what is not there', () =>
    withCopy(subject, async ({ dir, paths }) => {
      const whole = await checkAll(engine, dir, paths);
      for (const path of paths) {
        const rest = new Map([...whole].filter(([other]) => other !== path));
        const findings = findingsOf(engine, rest);
        checkFindings(findings, paths);
        if (supports.isMissed(path, paths)) assert.ok(isNoticed(findings), `nobody misses ${path}`);
      }
    }));

  test('what cannot be read is never taken for good', () =>
    withCopy(subject, async ({ dir, paths }) => {
      for (const path of paths) {
        for (const level of LEVELS) {
          const reads = { count: 0 };
          const check = (n: number) =>
            checkOne(engine, dir, path, level, new RunControl(), (file) => failingFile(file, n, reads));
          await check(0);
          const { count } = reads;
          if ((await readBytes(join(dir, path))).byteLength > 0)
            assert.ok(count > 0, `${path} was not read at level ${level}`);
          for (const n of spread(count, FAILURES)) {
            reads.count = 0;
            await assert.rejects(check(n + 1), /EIO/, `read ${n + 1} of ${path} failed at level ${level}`);
          }
        }
      }
    }));

  test('a cancelled check ends', () =>
    withCopy(subject, async ({ dir, paths }) => {
      const run: TaskRun = {
        checkCancelled() {
          throw new StillpointError('CANCELLED', 'cancelled');
        },
        addBytes() {},
        skipBytes() {},
        pastCache: 'nothing',
      };
      for (const path of paths) {
        if ((await readBytes(join(dir, path))).byteLength === 0) continue;
        await assert.rejects(checkOne(engine, dir, path, 'full', run), { code: 'CANCELLED' }, path);
      }
    }));

  const { isDivisible, joinParts } = engine;
  if (isDivisible !== undefined)
    test('a file checked in parts is the file checked as a whole', () =>
      withCopy(subject, async ({ dir, paths }) => {
        for (const path of paths.filter(isDivisible)) {
          const whole = await checkOne(engine, dir, path);
          const request = { path, level: 'full', live: false } as const;
          const parts: FileCheck[] = [];
          for (let index = 0; index < 3; index++) {
            const part = { ...request, part: { index, count: 3 } };
            const file = await fs.open(join(dir, path), 'read');
            parts.push(await engine.checkFile(file, part, new RunControl()).finally(() => file.close()));
          }
          assert.deepEqual(joinParts!(parts, request), whole, path);
        }
      }));

  test('damage of the database is told as such, and nothing is published', () =>
    withCopy(subject, async ({ dir, paths }) => {
      const place = await findDamage(engine, dir, paths, supports.isCovered);
      if (place === undefined) return; // no content that a checksum covers
      const before = await fingerprint(dir);
      const backups = new BackupCoordinator({ dataDir: dir, engine });
      const { id } = await backups.startBackup();
      await assert.rejects(backups.finished(id), ({ code, data }: StillpointError) => {
        assert.equal(code, 'SOURCE_DAMAGED');
        checkFindings(data!.findings as readonly Finding[], paths);
        return true;
      });
      assert.deepEqual((await new Snapshots({ dataDir: dir }).list()).snapshots, []);
      assert.deepEqual(await fingerprint(dir), before);
    }));

  test('damage of a snapshot is damage of the copy', () =>
    withCopy(subject, async ({ location, paths }) => {
      for (const path of paths) {
        const bytes = await readBytes(join(location, path));
        if (bytes.byteLength === 0) continue;
        await writeBytes(join(location, path), flipped(bytes, bytes.byteLength >> 1));
        const { ok, verdict, findings } = await verifySnapshot(location);
        assert.deepEqual([ok, verdict], [false, 'copy-damaged'], path);
        checkFindings(findings, paths);
        await writeBytes(join(location, path), bytes);
      }
    }));
}

interface Copy {
  /** A data directory that nobody writes to, without a manifest. */
  readonly dir: string;
  readonly paths: readonly string[];
  /** The snapshot that it was restored from. */
  readonly location: string;
}

/** A copy of a database that is closed, as a restore makes it. */
const withCopy = (subject: Subject, use: (copy: Copy) => Promise<void>): Promise<void> =>
  withDatabase(subject, async (database, data, folder) => {
    const { engine } = subject;
    await writeMany(database, subject.writes);
    await database.close();
    const backups = new BackupCoordinator({ dataDir: data, engine });
    const { id, location } = await backups.startBackup();
    await backups.finished(id);
    const dir = join(folder, 'copy');
    await restoreSnapshot(location, { into: dir });
    const paths = await engine.listFiles(fs, dir);
    await use({ dir, paths, location });
  });

/** Damages one byte such that the engine notices, the largest file first; undefined when it notices none. */
async function findDamage(
  engine: Engine,
  dir: string,
  paths: readonly string[],
  isCovered: Subject['supports']['isCovered'],
): Promise<string | undefined> {
  const whole = await checkAll(engine, dir, paths);
  const bySize = [...paths].sort((a, b) => whole.get(b)!.sizeBytes - whole.get(a)!.sizeBytes);
  for (const path of bySize) {
    const bytes = await readBytes(join(dir, path));
    const offset = bytes.byteLength >> 1;
    if (bytes.byteLength === 0 || !isCovered(path, offset, bytes)) continue;
    await writeBytes(join(dir, path), flipped(bytes, offset));
    return path;
  }
  return undefined;
}

/** Size and CRC-32 are those of the file's bytes, whatever the engine thinks of them; findings name the file that was checked. */
async function checkSums(dir: string, path: string, check: FileCheck): Promise<void> {
  for (const finding of check.findings) assert.equal(finding.path, path, finding.code);
  const bytes = await readBytes(join(dir, path));
  assert.deepEqual(
    [check.sizeBytes, check.crc32],
    [bytes.byteLength, crc32(bytes)],
    `size and CRC-32 of ${path}`,
  );
}

/** Findings name the file that was checked, by a stable code, at a place that can be there. */
function checkFindings(findings: readonly Finding[], paths: readonly string[]): void {
  for (const { path, offset, code, message } of findings) {
    assert.ok(path === '' || paths.includes(path) || isRelative(path), `${code} names ${path}`);
    assert.match(code, /^[A-Z][A-Z0-9_]*$/);
    assert.ok(offset === null || (Number.isSafeInteger(offset) && offset >= 0), `${code} at ${offset}`);
    assert.notEqual(message, '', code);
  }
}

/** Damage, or what could not be read: either way the copy is not good. */
const isNoticed = (findings: readonly Finding[]): boolean =>
  findings.some(({ severity, verdict }) => severity === 'error' || verdict === 'unread');

function flipped(bytes: Uint8Array, offset: number): Buffer {
  const damaged = Buffer.from(bytes);
  damaged[offset]! ^= 1 << (offset % 8);
  return damaged;
}

/** Up to `count` whole numbers below `end`, the first and the last among them. */
function spread(end: number, count: number): number[] {
  if (end <= count) return Array.from({ length: end }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => Math.floor((i * (end - 1)) / (count - 1)));
}
