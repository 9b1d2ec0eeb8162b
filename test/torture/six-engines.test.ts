import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { afterAll, expect, onTestFinished, test } from 'vitest';
import { BackupCoordinator, type Report, verifySnapshot } from '../../src/index.ts';
import { hasProgram, isAllInstalled, needsAll, needsPrograms } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

/*
 * Folders of six engines that write LevelDB's format, each by the engine itself: nothing in them is called damaged, at rest, while
 * they are written to, and after a kill.
 */

const KEYS = perTier(2_000, 20_000);
const LOOKS = perTier(1, 5);

const built = mkdtempSync(join(tmpdir(), 'stillpoint-engines-'));
afterAll(() => rmSync(built, { recursive: true, force: true }));

const sources = join(import.meta.dirname, '../support');
const source = (name: string): string => join(sources, 'six-engines', name);
const compiles = (program: string, args: string[], env = {}): boolean =>
  hasProgram(program) && spawnSync(program, args, { env: { ...process.env, ...env } }).status === 0;

const JARS = ['leveldb', 'leveldb-api', 'guava'].map((name) => `/usr/share/java/${name}.jar`).join(':');
// It maps its log, and frees the mapping by what Java has closed since.
const JAVA_OPENS = ['sun.nio.ch', 'java.nio'].flatMap((name) => [
  `--add-opens=java.base/${name}=ALL-UNNAMED`,
  `--add-exports=java.base/${name}=ALL-UNNAMED`,
]);
const GO = { GO111MODULE: 'off', GOPATH: '/usr/share/gocode', GOCACHE: join(built, 'go-cache') };

const isInstalled = (name: string): boolean => {
  try {
    createRequire(import.meta.url).resolve(name);
    return true;
  } catch {
    return false;
  }
};

interface Writer {
  /** What is missing where it cannot run. */
  readonly needs: string;
  /** False where it is neither a package of Debian nor a dependency. */
  readonly canBeInstalled?: boolean;
  /** Codes of warnings that its folders have, and why they are none of the engine's fault. */
  readonly warnings?: readonly string[];
  /** A snapshot is refused once tables were merged: a capture wants the size that the MANIFEST says. */
  readonly isOnlyVerified?: boolean;
  isThere(): boolean;
  /** A count of 0: until it is killed. */
  command(dir: string, count: number): [program: string, ...args: string[]];
}

/** Who closes while it compacts leaves tables that nothing needs any more, until it is opened again. */
const CLOSED_IN_COMPACTION = ['LEVELDB_TABLE_NOT_LIVE'];

const npm = (name: string, canBeInstalled = true): Writer => ({
  canBeInstalled,
  warnings: CLOSED_IN_COMPACTION,
  needs: `the package ${name} of npm, which NODE_PATH may name`,
  isThere: () => isInstalled(name),
  command: (dir, count) => [process.execPath, source('node-writer.mjs'), name, dir, `${count}`],
});

const WRITERS: Readonly<Record<string, Writer>> = {
  'classic-level': npm('classic-level'),
  "Google's": {
    needs: 'g++ and libleveldb-dev',
    warnings: CLOSED_IN_COMPACTION,
    isThere: () => {
      const args = [
        '-std=c++17',
        '-o',
        join(built, 'google'),
        join(sources, 'leveldb-writer.cc'),
        '-lleveldb',
      ];
      return compiles('g++', args);
    },
    command: (dir, count) => [
      join(built, 'google'),
      dir,
      'writeBuffer=262144',
      'bloom=1',
      ...(count === 0 ? ['forever=1', 'span=100000'] : [`count=${count}`, 'deleteEvery=5']),
    ],
  },
  "Mojang's": npm('leveldb-zlib', process.arch === 'x64'),
  goleveldb: {
    needs: 'golang-go and golang-github-syndtr-goleveldb-dev',
    // Its filter has a name of its own, and is not read here.
    warnings: ['LEVELDB_TABLE_META'],
    isThere: () => compiles('go', ['build', '-o', join(built, 'goleveldb'), source('goleveldb.go')], GO),
    command: (dir, count) => [join(built, 'goleveldb'), dir, `${count}`],
  },
  'iq80 (Java)': {
    needs: 'javac and libleveldb-java',
    // It may close before it has deleted what it merged.
    warnings: ['LEVELDB_TABLE_SIZE_JAVA', 'LEVELDB_TABLE_NOT_LIVE'],
    isOnlyVerified: true,
    isThere: () => compiles('javac', ['-cp', JARS, '-d', built, source('Iq80Writer.java')]),
    command: (dir, count) => [
      'java',
      '-Xmx256m',
      ...JAVA_OPENS,
      '-cp',
      `${JARS}:${built}`,
      'Iq80Writer',
      dir,
      `${count}`,
    ],
  },
};

const isGood = ({ ok, verdict, findings }: Report) => ({
  ok,
  verdict,
  findings: findings.filter(({ severity }) => severity === 'error'),
});
const GOOD = { ok: true, verdict: 'faithful', findings: [] };

// In CI those that need no compiler but that of C++.
const IN_CI = ['classic-level', "Google's", "Mojang's"];

test.for(perTier(isAllInstalled ? IN_CI : IN_CI.slice(0, 1), Object.keys(WRITERS)))(
  'nothing in a folder of %s is called damaged, at rest, live and after a kill',
  { timeout: 600_000 },
  async (name, context) => {
    const writer = WRITERS[name]!;
    needsAll(context, writer.needs, writer.isThere(), writer.canBeInstalled);
    const dir = join(await temporaryFolder(), 'db');
    const [program, ...args] = writer.command(dir, KEYS);
    execFileSync(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    expectGoodAtRest(await verifySnapshot(dir), writer);

    const live = `${dir}-live`;
    const [forever, ...endless] = writer.command(live, 0);
    const child = spawn(forever, endless, { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    await looks(live, child, writer);
    child.kill('SIGKILL');
    await once(child, 'close');
    expect(isGood(await verifySnapshot(live))).toEqual(GOOD);
    if (writer.isOnlyVerified) return;
    const { location } = await new BackupCoordinator({ dataDir: live, engine: 'leveldb' }).backup();
    expectGoodAtRest(await verifySnapshot(location), writer);
  },
);

function expectGoodAtRest(report: Report, { warnings = [] }: Writer): void {
  expect(isGood(report)).toEqual(GOOD);
  expect(report.findings.filter(({ code }) => !warnings.includes(code))).toEqual([]);
}

async function looks(dir: string, child: ChildProcess, { isOnlyVerified }: Writer): Promise<void> {
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'leveldb' });
  await once(child.stdout!, 'data');
  child.stdout!.resume();
  for (let look = 0; look < LOOKS; look++) {
    expect(child.exitCode, 'it still writes').toBeNull();
    expect(isGood(await verifySnapshot(dir)), `look ${look}`).toEqual(GOOD);
    if (isOnlyVerified) continue;
    const { report } = await backup.backup({ keep: 2 });
    expect(isGood(report)).toEqual(GOOD);
  }
}

const PAGE = `<script>
  const opening = indexedDB.open('db', 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore('rows');
  opening.onsuccess = () => {
    let i = 0;
    const more = () => {
      const change = opening.result.transaction('rows', 'readwrite');
      for (let n = 0; n < 50; n++, i++) change.objectStore('rows').put('value '.repeat(50) + i, i % 3000);
      localStorage.setItem('key ' + (i % 500), 'x'.repeat(i % 300));
      change.oncomplete = () => { document.title = String(i); setTimeout(more, 1); };
    };
    more();
  };
</script>`;

test.for(perTier([], ['Chromium']))(
  'nothing in a folder of %s is called damaged, live and at rest',
  { timeout: 600_000 },
  async (_, context) => {
    needsPrograms(context, 'chromium');
    const profile = join(await temporaryFolder(), 'profile');
    const executablePath = execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
    const args = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'];
    const browser = await chromium.launchPersistentContext(profile, { executablePath, args });
    onTestFinished(() => browser.close());
    const page = await browser.newPage();
    await page.route('http://stillpoint.test/', (route) =>
      route.fulfill({ contentType: 'text/html', body: PAGE }),
    );
    await page.goto('http://stillpoint.test/');
    await page.waitForFunction('Number(document.title) > 2000', undefined, { timeout: 120_000 });
    const folders = databasesIn(profile);
    expect(folders.some((dir) => dir.includes('IndexedDB'))).toBe(true);
    expect(folders.some((dir) => dir.includes('Local Storage'))).toBe(true);
    for (let look = 0; look < LOOKS; look++) await expectGood(folders);
    await browser.close();
    await expectGood(databasesIn(profile));
  },
);

async function expectGood(folders: readonly string[]): Promise<void> {
  for (const dir of folders) {
    const report = await verifySnapshot(dir, { engine: 'leveldb' });
    expect(isGood(report), dir).toEqual(GOOD);
  }
}

const databasesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('/CURRENT') && existsSync(join(folder, path)))
    .map((path) => dirname(join(folder, path)));
