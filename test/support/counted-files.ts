import { readdirSync, readFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EngineTestOptions, TestDatabase } from '../../src/testing/index.ts';

/** The least of a database, for the engine `files`: four files to which each write appends its number in turn. */
export async function openCountedFiles(dir: string): Promise<TestDatabase> {
  let held: Promise<void> | undefined;
  let writing: Promise<void> | undefined;
  return {
    async write(n) {
      while (held !== undefined) await held;
      writing = appendFile(join(dir, `part-${n % 4}`), `${n}\n`);
      await writing;
    },
    async checkpoint() {
      let release = () => {};
      held = new Promise<void>((done) => {
        release = () => {
          held = undefined;
          done();
        };
      });
      await writing;
      return { release };
    },
    async close() {},
  };
}

export const readCountedFiles: EngineTestOptions['readCopy'] = async (dir) =>
  readdirSync(dir).flatMap((name) => readFileSync(join(dir, name), 'utf8').trim().split('\n').map(Number));
