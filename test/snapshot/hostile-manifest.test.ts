import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { crc32 } from '../../src/format/crc32.ts';
import {
  Lifecycle,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { EVIL, environment, inTime, SECRET, type Stage, stage } from '../support/hostile-stage.ts';
import { MANIFEST, sealed, textOf } from '../support/manifest-edits.ts';
import { perTier } from '../support/tier.ts';

// A manifest is input from outside: whatever it says, nothing is read or written elsewhere, and nobody waits for ever.

/** What every face of the library has to say to a snapshot whose manifest is hostile. */
async function expectRefused(at: Stage, what: string, reason: RegExp): Promise<void> {
  const { dir, evil, good, into, seen, before } = at;
  const { snapshots, latest } = await inTime(
    `list, ${what}`,
    new Snapshots({ dataDir: dir, environment }).list(),
  );
  expect(latest, what).toBe(EVIL);
  expect(
    snapshots.map(({ name, problem }) => [name, problem === null]),
    what,
  ).toEqual([
    [good.name, true],
    [EVIL, false],
  ]);
  expect(snapshots[1]!.problem, what).toMatch(reason);
  const shown = await inTime(`show, ${what}`, new Snapshots({ dataDir: dir, environment }).get('latest'));
  expect(shown.problem, what).toMatch(reason);

  const report = await inTime(`verify, ${what}`, verifySnapshot(evil, { environment }));
  expect(report, what).toMatchObject({ ok: false, verdict: 'copy-damaged' });
  expect(report.findings, what).toMatchObject([
    { path: MANIFEST, code: 'MANIFEST_INVALID', severity: 'error', message: expect.stringMatching(reason) },
  ]);

  const refusal = { name: 'StillpointError', code: 'RESTORE_INTEGRITY_MISMATCH' };
  const restored = new Snapshots({ dataDir: dir, environment }).restore('latest', { into });
  await expect(inTime(`restore, ${what}`, restored), what).rejects.toMatchObject(refusal);
  const lifecycle = new Lifecycle({ dataDir: dir, environment });
  const inPlace = new RestoreCoordinator({ dataDir: dir, engine: 'files', lifecycle }).restore();
  await expect(inTime(`restore in place, ${what}`, inPlace), what).rejects.toMatchObject(refusal);
  expect(lifecycle.mode, what).toBe('normal');
  expect(seen(), what).toEqual(before);
  expect(existsSync(into), what).toBe(false);
}

const secret = { size: SECRET.length, crc32: crc32(Buffer.from(SECRET)) };
const file = (path: unknown, more: object = {}) => ({ path, ...secret, ...more });
const ABOUT = { id: 'x', sequence: 1, created_at_ms: 1, engine: 'files', tool: 't', total_bytes: 1 };
/** Sealed as it should be: so that it is the content that is refused. */
const of = (...entries: unknown[]) => textOf(sealed({ version: 1, entries, snapshot: ABOUT }));
const plainly = (json: string) => `{"version":1,"entries":[{"path":"a.txt","size":7,"crc32":${json}}]}`;

const PATHS: Readonly<Record<string, readonly [RegExp, ...unknown[]]>> = {
  absolute: [/is absolute/, '/etc/passwd'],
  'absolute elsewhere': [/is absolute/, 'C:/windows'],
  'out of the snapshot': [/"\.\." part/, '../canary'],
  'far out': [/"\.\." part/, '../../../canary'],
  'out and in again': [/"\.\." part/, 'b/../../canary'],
  'out at the end': [/"\.\." part/, 'b/..'],
  'the folder itself': [/"\." or/, '.'],
  'by way of itself': [/"\." or/, './a.txt'],
  'an empty part': [/an empty/, 'b//c'],
  'a slash at the end': [/an empty/, 'b/'],
  'no path': [/path/, ''],
  backslashes: [/every system/, '..\\canary'],
  'a NUL': [/every system/, 'a.txt\0.png'],
  'half a character': [/every system/, 'a\ud800'],
  'too long': [/too long/, `${'x'.repeat(200)}/`.repeat(21).slice(0, -1)],
  'the manifest itself': [/the manifest itself/, MANIFEST],
  'below the manifest': [/the manifest itself/, `${MANIFEST}/x`],
  'the manifest, in capitals': [/the manifest itself/, MANIFEST.toUpperCase()],
  'the lifecycle folder': [/lies in \.lifecycle/, '.lifecycle/backup/latest'],
  'the lifecycle folder, in capitals': [/lies in \.lifecycle/, '.LifeCycle/backup/latest'],
  'the same twice': [/stands there twice/, 'a.txt', 'a.txt'],
  'a file and a folder': [/a file and a folder/, 'b', 'b/c'],
  'a number': [/path/, 7],
  nothing: [/path/, null],
  'a list': [/path/, ['a.txt']],
};

const NUMBERS = ['-1', '1.5', '1e400', '"7"', '4294967296', '9007199254740993', 'null', '[]', '{}'];

const TEXTS: Readonly<Record<string, readonly [RegExp, string | Buffer]>> = {
  'an empty file': [/not JSON/, ''],
  'not JSON': [/not JSON/, 'PK\u0003\u0004'],
  'half of it': [/not JSON/, plainly('0').slice(0, -3)],
  'something behind it': [/not JSON/, `${plainly('0')}{}`],
  'invalid UTF-8': [/not JSON/, Buffer.from('{"version":1,"entries":[],"x":"\xff"}', 'latin1')],
  'a byte order mark': [/not JSON/, `\ufeff${plainly('0')}`],
  'a number': [/expected object/, '7'],
  nothing: [/expected object/, 'null'],
  'a list': [/expected object/, '[]'],
  'no version': [/version/, '{"entries":[]}'],
  'a later version': [/version 2/, '{"version":2,"entries":[]}'],
  'a version in words': [/version/, '{"version":"1","entries":[]}'],
  'entries that are no list': [/entries/, '{"version":1,"entries":{"0":{"path":"a.txt"}}}'],
  'an entry that is none': [/entry 0/, '{"version":1,"entries":[null]}'],
  'a name twice': [/twice/, `${plainly('0').slice(0, -1)},"entries":[]}`],
  'a name twice in an entry': [/twice/, plainly('0,"path":"b/c"')],
  'a prototype with entries': [/entries/, `{"version":1,"__proto__":${plainly('0')}}`],
  'a prototype with a path': [
    /path/,
    '{"version":1,"entries":[{"__proto__":{"path":"a.txt"},"size":7,"crc32":0}]}',
  ],
  'a seal that is gone': [/lost its checksum/, JSON.stringify({ version: 1, entries: [], snapshot: ABOUT })],
  'a seal that does not fit': [/its own checksum/, '{"version":1,"entries":[],"manifest_crc32":1}'],
  'entries out of order': [/not sorted/, of(file('b/c'), file('a.txt'))],
  'lists, 100,000 deep': [/depth/, `{"version":1,"entries":${'['.repeat(1e5)}${']'.repeat(1e5)}}`],
  'objects, 100,000 deep, where nobody looks': [
    /depth/,
    `{"version":1,"entries":[],"x":${'{"x":'.repeat(1e5)}0${'}'.repeat(1e5)}}`,
  ],
};

const FILES = perTier(200_000, 1_000_000);

describe('a hostile manifest is reported and never obeyed (invariants 8, 10)', () => {
  test('paths that lead elsewhere, clash or are none', async () => {
    const at = await stage();
    for (const [what, [reason, ...paths]] of Object.entries(PATHS)) {
      writeFileSync(join(at.evil, MANIFEST), of(...paths.map((path) => file(path))));
      await expectRefused(at, what, reason);
    }
  });

  test('numbers that are none', async () => {
    const at = await stage();
    for (const number of NUMBERS) {
      writeFileSync(join(at.evil, MANIFEST), plainly(number));
      await expectRefused(at, `crc32 ${number}`, /crc32/);
      if (number === '4294967296') continue; // a good size
      const sized = plainly('0').replace('"size":7', `"size":${number}`);
      writeFileSync(join(at.evil, MANIFEST), sized);
      await expectRefused(at, `size ${number}`, /size/);
    }
  });

  test('texts that are no manifest', async () => {
    const at = await stage();
    for (const [what, [reason, text]] of Object.entries(TEXTS)) {
      writeFileSync(join(at.evil, MANIFEST), text);
      await expectRefused(at, what, reason);
    }
  });

  test('texts that would take far more memory than they are long', async () => {
    const at = await stage();
    for (const [what, part] of [
      ['containers', '{},'],
      ['depth', '['],
      ['values', '0,'],
    ] as const) {
      const text = Buffer.alloc(24 * 1024 * 1024, part);
      writeFileSync(join(at.evil, MANIFEST), Buffer.concat([Buffer.from('{"version":1,"entries":['), text]));
      const report = await verifySnapshot(at.evil, { environment });
      expect(report.findings, what).toMatchObject([
        { path: MANIFEST, code: 'MANIFEST_INVALID', message: expect.stringContaining(`it has ${what} `) },
      ]);
    }
  });

  test('a gigabyte of nothing', async () => {
    const at = await stage();
    truncateSync(join(at.evil, MANIFEST), 2 ** 30);
    await expectRefused(at, 'a gigabyte', /1073741824 bytes, more than any manifest/);
  });

  test(`${FILES} files that are not there`, async () => {
    const at = await stage();
    const entries = Array.from({ length: FILES }, (_, i) => `{"path":"f${i}","size":0,"crc32":0}`);
    writeFileSync(join(at.evil, MANIFEST), `{"version":1,"entries":[${entries}]}`);
    const report = await inTime('verify', verifySnapshot(at.evil, { environment }));
    expect(report).toMatchObject({ ok: false, verdict: 'copy-damaged', counts: { files: 0 } });
    expect(report.findings.length).toBeLessThan(20_000);
    expect(report.findings).toContainEqual(expect.objectContaining({ path: 'f1', code: 'FILE_MISSING' }));
    expect(
      report.findings.filter(({ severity }) => severity === 'warning').map(({ code }) => code),
    ).toContain('FINDINGS_LIMIT');
    const restored = restoreSnapshot(at.evil, { into: at.into, environment });
    await expect(inTime('restore', restored)).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
    expect(at.seen()).toEqual(at.before);
  });

  test('one that names no file, and one of an engine that nobody knows', async () => {
    const at = await stage();
    const refused = async () => {
      const restored = restoreSnapshot(at.evil, { into: at.into, environment });
      await expect(restored).rejects.toMatchObject({ name: 'StillpointError' });
      expect(at.seen()).toEqual(at.before);
    };
    for (const name of ['a.txt', 'b']) rmSync(join(at.evil, name), { recursive: true });
    for (const text of [of(), '{"version":1,"entries":[]}']) {
      writeFileSync(join(at.evil, MANIFEST), text);
      const { ok, findings } = await verifySnapshot(at.evil, { environment });
      expect([ok, findings.filter(({ severity }) => severity === 'error')]).toMatchObject([
        false,
        [{ path: MANIFEST, code: 'MANIFEST_EMPTY' }],
      ]);
      await refused();
    }
    const strange = { ...ABOUT, engine: '__proto__' };
    writeFileSync(join(at.evil, MANIFEST), textOf(sealed({ version: 1, entries: [], snapshot: strange })));
    await expect(verifySnapshot(at.evil, { environment })).rejects.toMatchObject({ name: 'StillpointError' });
    await refused();
  });

  test('what is no regular file is not followed, and nobody waits for it', async () => {
    const at = await stage();
    const place = join(at.evil, MANIFEST);
    const elsewhere = join(at.root, 'manifest');
    writeFileSync(elsewhere, readFileSync(place));
    const before = { ...at, before: at.seen() };
    const puts: Readonly<Record<string, () => void>> = {
      'a link to a good one': () => symlinkSync(elsewhere, place),
      'a link to nothing': () => symlinkSync(join(at.root, 'nothing'), place),
      'a link to itself': () => symlinkSync(place, place),
      'a device': () => symlinkSync('/dev/zero', place),
      'a FIFO': () => execFileSync('mkfifo', [place]),
      'a folder': () => mkdirSync(place),
    };
    for (const [what, put] of Object.entries(puts)) {
      rmSync(place, { recursive: true, force: true });
      put();
      await expectRefused(before, what, /is not a regular file/);
    }
  });

  test('nor in the place of a file that it names', async () => {
    const at = await stage();
    const place = join(at.evil, 'a.txt');
    const twin = join(at.root, 'twin');
    writeFileSync(twin, readFileSync(place));
    const before = at.seen();
    for (const put of [() => execFileSync('mkfifo', [place]), () => symlinkSync(twin, place)]) {
      rmSync(place);
      put();
      const report = await inTime('verify', verifySnapshot(at.evil, { environment }));
      expect(report.findings).toMatchObject([{ path: 'a.txt', code: 'NOT_A_FILE' }]);
      const restored = restoreSnapshot(at.evil, { into: at.into, environment });
      await expect(inTime('restore', restored)).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
      expect(at.seen()).toEqual(before);
    }
  });
});
