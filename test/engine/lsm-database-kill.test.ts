import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import { openLsm } from '../../src/lsm-database/database.ts';
import { compiled } from '../support/build.ts';
import { chanceFrom } from '../support/chance.ts';
import { proveLsm } from '../support/lsm.ts';
import { contentOf, crashOptions, deletedBy, keyOf, WRITERS } from '../support/lsm-writer.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

const KILLS = perTier(5, 200);

/** Runs the writers, kills them without warning after so many acknowledged writes, and returns the last ones of each. */
async function runAndKill(dir: string, first: number, afterWrites: number): Promise<number[]> {
  const entry = compiled('test/support/lsm-writer.ts');
  const child = spawn(process.execPath, [entry, dir, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const last: number[] = Array.from({ length: WRITERS }, () => first - 1);
  let rest = '';
  let writes = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      const [writer, number] = line.split(' ').map(Number);
      last[writer!] = number!;
      if (++writes === afterWrites) child.kill('SIGKILL');
    }
  });
  const [, signal] = await once(child, 'close');
  expect(signal).toBe('SIGKILL');
  return last;
}

it(`keeps every acknowledged write when its process is killed, ${KILLS} times`, async () => {
  const dir = await temporaryFolder();
  const chance = chanceFrom(SEED);
  const expected = new Map<string, string>();
  let first = 1;
  for (let kill = 1; kill <= KILLS; kill++) {
    const acknowledged = await runAndKill(dir, first, 1 + Math.floor(chance() * 800));
    expect((await proveLsm(dir)).filter(({ severity }) => severity === 'error')).toEqual([]);
    const database = await openLsm(dir, crashOptions);
    for (const [writer, last] of acknowledged.entries()) {
      // The write that was under way may be there, as a whole, or not.
      const isThere = (await database.get(keyOf(writer, last + 1))) !== undefined;
      for (let number = first; number <= (isThere ? last + 1 : last); number++) {
        expected.set(keyOf(writer, number), contentOf(writer, number));
        const deleted = deletedBy(number);
        if (deleted !== undefined) expected.delete(keyOf(writer, deleted));
      }
    }
    const found = new Map<string, string>();
    for await (const [key, value] of database.iterate()) found.set(String(key), String(value));
    expect([...found.keys()], `kill ${kill}`).toEqual([...expected.keys()].sort());
    expect(found).toEqual(expected);
    // The next writers begin where no writer has been.
    first = Math.max(...acknowledged) + 2;
    await database.close();
  }
});
