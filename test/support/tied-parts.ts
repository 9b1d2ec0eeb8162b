import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished } from 'vitest';
import { openLsm } from '../../src/lsm-database/database.ts';
import { compiled } from './build.ts';

/** In the order in which they are captured, which is the reverse of that in which they are written. */
export const PARTS = ['a-index', 'm-main', 'z-log'] as const;
export const SETTINGS = 'settings.json';

/** The databases stay small: a number takes the place of the one this many before it. */
const KEYS = 500;
export const keyOf = (n: number): string => `key-${String(n % KEYS).padStart(4, '0')}`;

/** The process that writes, and the numbers that it had reached when it replaced the settings. */
export interface TyingWriter {
  readonly settings: readonly number[];
  /** Asks for new settings; the next write, or the one after it, is followed by them. */
  replaceSettings(): Promise<void>;
  /** Resolves to the last number, which all parts have then. */
  pause(): Promise<number>;
  go(): void;
  stop(): Promise<void>;
}

export async function startTyingWriter(dir: string): Promise<TyingWriter> {
  const child: ChildProcess = fork(compiled('test/support/tied-parts-writer.ts'), [dir]);
  onTestFinished(() => void child.kill('SIGKILL'));
  const ask = async (message: string): Promise<number> => {
    const answer = once(child, 'message');
    child.send(message);
    return (await answer)[0] as number;
  };
  const settings = [(await once(child, 'message'))[0] as number];
  return {
    settings,
    replaceSettings: async () => void settings.push(await ask('settings')),
    pause: () => ask('pause'),
    go: () => void child.send('go'),
    async stop() {
      const end = once(child, 'exit');
      child.send('stop');
      await end;
    },
  };
}

/** The last number in each part of a copy, in the order of `PARTS`, and that of the settings. Each part must be one state of itself. */
export async function numbersOf(
  copy: string,
  scratch: string,
): Promise<{ parts: number[]; settings: number }> {
  cpSync(copy, scratch, { recursive: true }); // an engine writes into what it opens
  const parts: number[] = [];
  for (const part of PARTS) parts.push(lastOf(await readPart(part, join(scratch, part))));
  const { n } = JSON.parse(readFileSync(join(scratch, SETTINGS), 'utf8'));
  rmSync(scratch, { recursive: true });
  return { parts, settings: n };
}

async function readPart(part: string, dir: string): Promise<Map<string, number>> {
  const numbers = new Map<string, number>();
  if (part === 'z-log') {
    const database = await openLsm(dir);
    for (let n = 0; n < KEYS; n++) {
      const value = await database.get(Buffer.from(keyOf(n)));
      if (value !== undefined) numbers.set(keyOf(n), Number.parseInt(value.toString(), 10));
    }
    await database.close();
    return numbers;
  }
  const database = new ClassicLevel(dir, { createIfMissing: false });
  await database.open();
  for await (const [key, value] of database.iterator()) numbers.set(key, Number.parseInt(value, 10));
  await database.close();
  return numbers;
}

/** Of a state that was passed through, all keys have the numbers of the last writes, without a gap. */
function lastOf(numbers: ReadonlyMap<string, number>): number {
  const last = Math.max(0, ...numbers.values());
  const expected = new Map<string, number>();
  for (let n = Math.max(1, last - KEYS + 1); n <= last; n++) expected.set(keyOf(n), n);
  expect(new Map([...numbers].sort())).toEqual(new Map([...expected].sort()));
  return last;
}
