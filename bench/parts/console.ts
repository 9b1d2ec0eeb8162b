import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { BackupCoordinator, openLsm } from '../../src/index.ts';
import { lsmBackend, type RunningServer, startServer } from '../../src/server/index.ts';
import { randomValue, SMALL_PLAIN_VALUES } from '../lib/data.ts';
import { alternate, type Way } from '../lib/measure.ts';
import { type Bench, type Part, type Row, seconds } from '../lib/part.ts';
import { lifecycleOf } from '../lib/ways.ts';

const MOST_MS = 1000;
const TABLES = 20;
const LSM = {
  memtableBytes: 64 * 1024,
  compactAtTables: 100_000,
  walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 },
};
const FEW = { snapshots: 10, runs: 10 };
const MANY = { snapshots: 500, runs: 10_000 };
const MANY_QUICKLY = { snapshots: 30, runs: 100 };

interface Served {
  readonly name: string;
  readonly server: RunningServer;
  readonly backup: string;
}

/** What the page of a server costs a person who waits for it. All snapshots are of one day: none is folded away. */
export const console: Part = {
  name: 'console',
  measures: '15',
  async run({ root, options, tools }: Bench) {
    if (tools.chromium === null) throw new Error('chromium is not installed');
    const few = await serve(root, FEW);
    const many = await serve(root, options.isQuick ? MANY_QUICKLY : MANY);
    const browser = await chromium.launch({
      executablePath: execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim(),
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    });
    try {
      const ways = [few, many].flatMap((served) => [looksAnew(browser, served), looksAgain(browser, served)]);
      const times = await alternate(root, ways, options.rounds);
      const rows = ['first', 'again'].map((when): Row => {
        const [ours, theirs] = [`${many.name}, ${when}`, `${few.name}, ${when}`];
        return {
          measure: 15,
          what: `the page until verdict and snapshots are painted: ${ours}`,
          measured: seconds(times.ms(ours).median),
          ratio: times.ratio(ours, theirs),
          target: `≤ ${MOST_MS / 1000} s`,
          isMet: times.ms(ours).median <= MOST_MS,
          limit: `${theirs} ${seconds(times.ms(theirs).median)}`,
        };
      });
      return { times, rows };
    } finally {
      await browser.close();
      await Promise.all([few.server.close(), many.server.close()]);
    }
  },
};

/** The server looks at all snapshots for it: a folder has come and gone since its last look. */
const looksAnew = (browser: Browser, served: Served): Way =>
  painted(browser, served, 'first', async () => {
    mkdirSync(join(served.backup, 'came-and-went'));
    rmdirSync(join(served.backup, 'came-and-went'));
  });

const looksAgain = (browser: Browser, served: Served): Way =>
  painted(browser, served, 'again', async () => {
    await fetch(`${served.server.url}/api/admin/status`);
  });

/** For a visitor who was never here. Two frames later, what stands in the document has been painted. */
function painted(
  browser: Browser,
  { name, server }: Served,
  when: string,
  prepare: () => Promise<void>,
): Way {
  let page: Page;
  return {
    name: `${name}, ${when}`,
    bytes: 1,
    async before() {
      page = await browser.newPage();
      await prepare();
    },
    async work() {
      await page.goto(server.url, { waitUntil: 'commit' });
      await page.evaluate(`new Promise((resolve) => {
        const look = () => document.querySelector('.sentence') && document.querySelector('.snapshots li')
          ? requestAnimationFrame(() => requestAnimationFrame(resolve))
          : requestAnimationFrame(look);
        look();
      })`);
    },
    after: () => page.close(),
  };
}

async function serve(root: string, count: typeof FEW): Promise<Served> {
  const name = `${count.snapshots} snapshots and ${count.runs.toLocaleString('en')} runs`;
  const dataDir = join(root, `served-${count.snapshots}`);
  const db = await openLsm(dataDir, LSM);
  for (let i = 0; i < TABLES; i++) {
    for (let k = 0; k < 50; k++)
      await db.put(Buffer.from(`${i}-${k}`), Buffer.from(randomValue(SMALL_PLAIN_VALUES)));
    await db.checkpoint();
  }
  await db.close();
  const coordinator = new BackupCoordinator({ dataDir, engine: 'lsm' });
  for (let i = 0; i < count.snapshots; i++) await coordinator.backup();
  const server = await startServer({
    dataDir,
    backend: lsmBackend(LSM),
    port: 0,
    audit: () => {},
    log: () => {},
  });
  const backup = join(lifecycleOf(dataDir), 'backup');
  addRuns(join(backup, 'records.jsonl'), count.runs - count.snapshots);
  return { name, server, backup };
}

/** Older ones, as a server that runs for months has them: the start of one drops all but the newest thousand. */
function addRuns(file: string, count: number): void {
  const known = readFileSync(file, 'utf8');
  const last = JSON.parse(known.trim().split('\n').at(-1)!);
  const lines = Array.from({ length: count }, () => JSON.stringify({ ...last, id: randomUUID() }));
  writeFileSync(file, [...lines, known].join('\n'));
}
