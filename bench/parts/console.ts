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
      const ways = [few, many].flatMap((served) => [
        firstPaint(browser, served),
        looksAnew(browser, served),
        looksAgain(browser, served),
      ]);
      const times = await alternate(root, ways, options.rounds);
      const rows = [PAINT, 'first', 'again'].map((when): Row => {
        const [ours, theirs] = [`${many.name}, ${when}`, `${few.name}, ${when}`];
        const until = when === PAINT ? 'something is' : 'verdict and snapshots are';
        return {
          measure: 15,
          what: `the page until ${until} painted: ${ours}`,
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

const PAINT = 'first paint';

/** A folder comes and goes, so that the server looks at all snapshots anew. */
async function touch({ backup }: Served): Promise<void> {
  mkdirSync(join(backup, 'came-and-went'));
  rmdirSync(join(backup, 'came-and-went'));
}

// A look at each frame would keep the browser at work, on the processors that the server needs.
const FIRST_PAINT = `new Promise((resolve) => {
  new PerformanceObserver((list) => {
    if (list.getEntriesByName('first-contentful-paint').length > 0) resolve();
  }).observe({ type: 'paint', buffered: true });
})`;
const ANSWER = `new Promise((resolve) => {
  const look = () => {
    if (!document.querySelector('.sentence') || !document.querySelector('.snapshots li')) return;
    observer.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(resolve));
  };
  const observer = new MutationObserver(look);
  observer.observe(document, { childList: true, subtree: true });
  look();
})`;

const firstPaint = (browser: Browser, served: Served): Way =>
  painted(browser, served, PAINT, () => touch(served), FIRST_PAINT);

const looksAnew = (browser: Browser, served: Served): Way =>
  painted(browser, served, 'first', () => touch(served), ANSWER);

const looksAgain = (browser: Browser, served: Served): Way =>
  painted(
    browser,
    served,
    'again',
    async () => {
      await fetch(`${served.server.url}/api/admin/status`);
    },
    ANSWER,
  );

/** For a visitor who was never here. Two frames later, what stands in the document has been painted. */
function painted(
  browser: Browser,
  { name, server }: Served,
  when: string,
  prepare: () => Promise<void>,
  until: string,
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
      await page.evaluate(until);
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
