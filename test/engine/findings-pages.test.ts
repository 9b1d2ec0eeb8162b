import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const src = resolve(import.meta.dirname, '../../src');

test.each([
  ['leveldb', /'LEVELDB_([A-Z_]+)'/g],
  // The codecs name damage of a table without the engine's prefix.
  ['lsm', /'(?:LSM_)?((?:LOG|TABLE|TABLES|CHECKPOINT|MORE|NUMBER)(?:_[A-Z_]+)?)'/g],
])('the README of %s lists every finding of the engine, and no other', (engine, pattern) => {
  const prefix = `${engine.toUpperCase()}_`;
  const codes = new Set<string>();
  for (const folder of [join(src, 'engine', engine), join(src, 'format', engine)]) {
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.ts'))) {
      for (const [, code] of readFileSync(join(folder, name), 'utf8').matchAll(pattern))
        codes.add(prefix + code);
    }
  }
  const page = readFileSync(join(src, 'engine', engine, 'README.md'), 'utf8');
  const listed = [...page.matchAll(/^\| `([A-Z_]+)`/gm)].map(([, code]) => code);
  expect(listed.sort()).toEqual([...codes].sort());
});
