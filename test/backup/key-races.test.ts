import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { listBackups } from '../../src/backup/list-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import {
  addRepositoryKeys,
  listRepositoryKeys,
  removeRepositoryKey,
} from '../../src/backup/repository-keys.ts';
import type { Destination } from '../../src/destination/destination.ts';
import { COMMAND } from '../support/command.ts';
import { Actor } from '../support/interleaving.ts';
import { type MemoryDestination, memoryDestination } from '../support/memory-destination.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const opens = (from: string | Destination, keyFile: string): Promise<string> =>
  listBackups({ from, encryption: { keyFile } }).then(
    () => 'opens',
    (error) => error.code,
  );

const copyOf = (inner: MemoryDestination): MemoryDestination => {
  const copy = memoryDestination();
  for (const [key, object] of inner.objects) copy.objects.set(key, object);
  return copy;
};

test('a change of keys that is held up at any step while others change them counts, or is refused', async () => {
  const folder = await temporaryFolder();
  const key = (name: string) => join(folder, name);
  const encryption = { keyFile: key('first') };
  const made = memoryDestination();
  await initRepository(made, { encryption });
  await addRepositoryKeys(made, { keyFile: key('leaving') }, { encryption });
  const refused: number[] = [];
  for (let pausedAt = 0; ; pausedAt++) {
    const destination = copyOf(made);
    const slow = new Actor(destination, (through) =>
      addRepositoryKeys(through, { keyFile: key('slow') }, { encryption }),
    );
    await slow.run(pausedAt);
    if (slow.isDone) break;
    const others: Promise<unknown>[] = [];
    const also = async (work: () => Promise<unknown>) => {
      const done = work();
      others.push(done.catch(() => undefined));
      return done.then(
        () => true,
        (error) => {
          expect(error.code, `paused at ${pausedAt}`).toBe('CONFLICT');
          return false;
        },
      );
    };
    const isAdded = await also(() =>
      addRepositoryKeys(destination, { keyFile: key('quick') }, { encryption }),
    );
    const isRemoved = await also(() => removeRepositoryKey(destination, 2, { encryption }));
    await slow.run();
    if (slow.error !== undefined) {
      expect((slow.error as { code: string }).code, `paused at ${pausedAt}`).toBe('CONFLICT');
      refused.push(pausedAt);
    }
    const about = `the slow one paused at ${pausedAt}`;
    expect(await opens(destination, key('first')), about).toBe('opens');
    if (slow.error === undefined) expect(await opens(destination, key('slow')), about).toBe('opens');
    if (isAdded) expect(await opens(destination, key('quick')), about).toBe('opens');
    if (isRemoved) expect(await opens(destination, key('leaving')), about).toBe('REPOSITORY_KEY_WRONG');
  }
  expect(refused.length).toBeGreaterThan(0);
});

const ROUNDS = perTier(1, 25);

test('of processes that change the keys at once each says what became of its change', async () => {
  const folder = await temporaryFolder();
  const to = join(folder, 'repository');
  const first = join(folder, 'first');
  await initRepository(to, { encryption: { keyFile: first } });
  const added: string[] = [];
  let conflicts = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const names = [0, 1, 2].map((n) => join(folder, `key-${round}-${n}`));
    const command = [...COMMAND, 'repo', 'keys', 'add', to, '--key-file', first, '--add-key-file'];
    const ends = names.map(async (name) => {
      const child = spawn(command[0]!, [...command.slice(1), name], { stdio: 'ignore' });
      const [code] = await once(child, 'exit');
      return { name, code };
    });
    for (const { name, code } of await Promise.all(ends)) {
      expect([0, 4]).toContain(code);
      if (code === 0) added.push(name);
      else conflicts++;
    }
  }
  for (const name of [first, ...added]) expect(await opens(to, name), name).toBe('opens');
  expect((await listRepositoryKeys(to)).slots).toHaveLength(1 + added.length);
  expect(added.length).toBeGreaterThanOrEqual(ROUNDS);
  console.log(
    `${3 * ROUNDS} changes by three processes at once: ${added.length} counted, ${conflicts} refused`,
  );
});
