import type { Page } from 'playwright-core';
import { expect, type TestContext } from 'vitest';
import { browserOf } from './browser.ts';
import type { Injected } from './server.ts';

const ORIGIN = 'http://stillpoint.test';

/** What the page has to say; times in milliseconds. */
export interface Told {
  readonly sentence: string;
  /** By name of the figure: the moment that it tells in full when it is pointed at, and its text where that is known. */
  readonly figures: Readonly<Record<string, { atMs: number | null; text?: string }>>;
}

/** The console of a server that does not listen, for a visitor with a clock of the test's own. */
export async function watchedPage(context: TestContext, server: () => Injected) {
  const browser = await browserOf(context);
  const page = await browser.newPage();
  await page.route(`${ORIGIN}/**`, async (route) => {
    const request = route.request();
    const path = request.url().slice(ORIGIN.length);
    const answer = await server().rpc(request.method() as 'GET', path, request.postData() ?? undefined);
    const headers = Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
    await route.fulfill({ status: answer.status, headers: Object.fromEntries(headers), body: answer.bytes });
  });
  return {
    async check(nowMs: number, { sentence, figures }: Told, where: string): Promise<void> {
      await page.clock.setFixedTime(nowMs);
      await page.goto(ORIGIN);
      await page.locator('.numbers').waitFor({ timeout: 60_000 });
      expect(await page.locator('.sentence').textContent(), where).toContain(sentence);
      const seen = await figuresOf(page);
      for (const [name, { atMs, text }] of Object.entries(figures)) {
        const title = atMs === null ? null : await inFull(page, atMs);
        expect(seen[name], `${name} at ${where}`).toMatchObject({
          title,
          ...(text !== undefined && { text }),
        });
      }
    },
  };
}

const figuresOf = (page: Page): Promise<Record<string, { title: string | null; text: string }>> =>
  page.evaluate(`Object.fromEntries([...document.querySelectorAll('.numbers > div')].map((figure) => [
    figure.querySelector('dt').textContent,
    { title: figure.querySelector('dd').getAttribute('title'), text: figure.querySelector('dd').textContent },
  ]))`);

/** As the page writes a moment, by the habits of its reader. */
const inFull = (page: Page, ms: number): Promise<string> =>
  page.evaluate(
    `new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' }).format(${ms})`,
  );
