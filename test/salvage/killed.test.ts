import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { salvageDatabase } from '../../src/index.ts';
import { startProcess, stillpoint } from '../support/command.ts';
import { ENGINES } from '../support/salvage-subjects.ts';
import { temporaryFolder } from '../support/temp.ts';

test('what a killed salvage leaves is removed by the next one into the same place, and nothing else is', async () => {
  const root = await temporaryFolder();
  const [dir, into] = [join(root, 'data'), join(root, 'new')];
  const engine = ENGINES[0]!;
  const database = await engine.create(dir, 1);
  for (let i = 0; i < 3000; i++) await database.put(`key${i}`, 'x'.repeat(200));
  await database.close();
  // Of others: a restore beside it, and a salvage into another place.
  const others = ['.partial-01J00000000000000000000000', '.partial-salvage-00000000'];
  for (const name of others) {
    mkdirSync(join(root, name));
    writeFileSync(join(root, name, 'file'), 'theirs');
  }
  const leftOvers = () =>
    readdirSync(root).filter((name) => name.startsWith('.partial-') && !others.includes(name));

  const child = startProcess(['salvage', dir, '--into', into]);
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  const begun = () => leftOvers().some((name) => existsSync(join(root, name, 'stage')));
  // Looked at while it stands still: it has begun then and has not ended.
  for (;;) {
    child.kill('SIGSTOP');
    if (begun() || child.exitCode !== null) break;
    child.kill('SIGCONT');
    await setTimeout(1);
  }
  expect({ begun: begun(), isThere: existsSync(into) }).toEqual({ begun: true, isThere: false });
  const second = await stillpoint(['salvage', dir, '--into', into, '--json']);
  expect(second).toMatchObject({ code: 4, json: { error: { code: 'CONFLICT' } } });
  child.kill('SIGKILL');
  await ended;
  expect(existsSync(into)).toBe(false);
  expect(leftOvers()).toHaveLength(1);

  expect(await salvageDatabase(dir, { into })).toMatchObject({ complete: true, entries: 3000 });
  expect(leftOvers()).toEqual([]);
  for (const name of others) expect(readdirSync(join(root, name)), basename(name)).toEqual(['file']);
  expect((await engine.contentOf(into)).size).toBe(3000);
});
