import { test } from 'node:test';
import { registerEngine } from 'stillpoint';
import { testEngine } from 'stillpoint/testing';
import { AppendLog, readNumbers } from './database.js';

testEngine({
  test,
  engine: await registerEngine(new URL('./engine.js', import.meta.url)),
  async createDatabase(dir) {
    const log = new AppendLog(dir);
    return {
      write: (n) => log.append(n, Buffer.from(`record ${n}`.repeat(9))),
      close: () => log.close(),
    };
  },
  readCopy: readNumbers,
  supports: { isMissed: (path, paths) => path !== paths.at(-1) },
});
