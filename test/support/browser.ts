import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, expect, onTestFinished, type TestContext } from 'vitest';
import { needsPrograms } from './needs.ts';

/** Fails only what hangs: a loaded machine is slow. */
const PATIENCE_MS = 60_000;

/** `expect` of what becomes true. */
export const soon = <T>(look: () => T) => expect.poll(look, { timeout: PATIENCE_MS });

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

let started: Promise<Browser> | undefined;

/** Debian's Chromium, one for a test file; it is closed at the end of the file. */
export async function browserOf(context: TestContext): Promise<Browser> {
  needsPrograms(context, 'chromium');
  started ??= chromium.launch({
    executablePath: execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim(),
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ],
  });
  return started;
}
afterAll(async () => (await started)?.close());

/** A page that has to stay without complaints: of its scripts, of the policy for its content, of requests to elsewhere. */
export async function openPage(
  browser: Browser,
  url: string,
  options = {},
  origin = url,
): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints: string[] = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  page.on('console', (message) => {
    // An answer that is an error is told by the page itself.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      complaints.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:'))
      complaints.push(request.url());
  });
  await page.goto(url);
  return { page, complaints };
}

interface Violation {
  readonly id: string;
  readonly nodes: readonly { readonly target: readonly string[] }[];
}

export async function accessibilityOf(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  const { violations } = (await page.evaluate('axe.run()')) as { violations: Violation[] };
  return violations.map(({ id, nodes }) => [id, ...nodes.map(({ target }) => target.join(' '))].join(' '));
}

/** Writes one key after the other until the test ends. */
export function keepWriting(url: string, headers: Record<string, string>): void {
  let isOver = false;
  const writing = (async () => {
    for (let i = 0; !isOver; i++) {
      await fetch(`${url}/kv/counter`, { method: 'PUT', body: String(i), headers }).catch(() => {});
    }
  })();
  onTestFinished(async () => {
    isOver = true;
    await writing;
  });
}
