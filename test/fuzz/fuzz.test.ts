import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { compiled } from '../support/build.ts';
import { isAtDefect } from '../support/planted-decoders.ts';
import { temporaryFolder } from '../support/temp.ts';
import { CORPUS, keepDefect, readCorpus, writeCorpus } from './corpus.ts';
import { execute } from './execute.ts';
import { fuzzTarget } from './fuzz-target.ts';
import { TARGETS } from './targets.ts';

const CORPUS_MAX_BYTES = 300 * 1024;

test.each(TARGETS.map((target) => [target.name, target] as const))(
  'no kept input shows a defect of %s',
  async (name, target) => {
    const seeds = (await target.seeds()).map((input, i) => ({
      name: `seed ${i}`,
      input: Buffer.from(input),
    }));
    expect(seeds.length).toBeGreaterThan(0);
    for (const { name: from, input } of [...seeds, ...readCorpus(name)]) {
      const sealed = Buffer.from(input);
      target.fix?.(sealed);
      for (const one of [input, sealed])
        expect([from, await execute(target, one)]).toEqual([from, undefined]);
    }
  },
);

test.each(TARGETS.map((target) => [target.name, target] as const))(
  '%s accepts valid input',
  async (_, target) => {
    const verdicts: unknown[] = [];
    for (const seed of await target.seeds()) verdicts.push(await target.run(Buffer.from(seed)));
    expect(verdicts).toContain(undefined);
  },
);

test('the corpus belongs to known decoders, and is small', () => {
  const folders = existsSync(CORPUS) ? readdirSync(CORPUS) : [];
  expect(folders.filter((name) => !TARGETS.some((target) => target.name === name))).toEqual([]);
  const bytes = folders
    .flatMap((name) => readCorpus(name))
    .reduce((sum, { input }) => sum + input.byteLength, 0);
  expect(bytes).toBeLessThan(CORPUS_MAX_BYTES);
});

const PLANTED = [
  ['throws', 'the planted defect'],
  ['takes memory', 'takes 52428800 bytes at once'],
  ['changes its input', 'changes its input'],
  ['dies', 'the process ended with SIGKILL'],
  ['hangs', 'does not come back within 1500 ms'],
] as const;

test.each(PLANTED)(
  'the search finds a decoder that %s, behind five steps that only coverage shows',
  async (name, message) => {
    const { defects } = await fuzzTarget({
      module: pathToFileURL(compiled('test/support/planted-decoders.ts')).href,
      target: name,
      watched: 'planted-decoders',
      seconds: 60,
      runs: 20_000,
      seed: 1,
      corpus: [],
      ...(name === 'hangs' && { hangMs: 1500 }),
    });
    expect(defects.map((defect) => defect.message)).toEqual([message]);
    expect(isAtDefect(defects[0]!.input)).toBe(true);
  },
);

test('an input that showed a defect stays when the corpus is rewritten', async () => {
  const root = await temporaryFolder();
  writeCorpus('one', [Buffer.from('old'), Buffer.from('older')], root);
  const defect = keepDefect('one', Buffer.from('bad'), root);
  writeCorpus('one', [Buffer.from('new')], root);
  expect(
    readCorpus('one', root)
      .map(({ input }) => input.toString())
      .sort(),
  ).toEqual(['bad', 'new']);
  expect(readFileSync(join(defect)).toString()).toBe('bad');
});
