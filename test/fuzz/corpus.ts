import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** A folder a decoder: `defect-…` are inputs that once showed one, all others lead to code that the seeds do not reach. */
export const CORPUS = resolve(import.meta.dirname, '../../fixtures/corpus');

const DEFECT = 'defect-';
const nameOf = (input: Uint8Array): string => createHash('sha256').update(input).digest('hex').slice(0, 12);

export interface Kept {
  readonly name: string;
  readonly input: Buffer;
}

export function readCorpus(target: string, root = CORPUS): Kept[] {
  const folder = join(root, target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => ({ name, input: readFileSync(join(folder, name)) }));
}

/** Replaces all that is no defect. */
export function writeCorpus(target: string, inputs: readonly Uint8Array[], root = CORPUS): void {
  const folder = join(root, target);
  mkdirSync(folder, { recursive: true });
  for (const { name } of readCorpus(target, root)) if (!name.startsWith(DEFECT)) rmSync(join(folder, name));
  for (const input of inputs) writeFileSync(join(folder, nameOf(input)), input);
}

/** Keeps the input of a defect, for every later run of the tests; returns its path. */
export function keepDefect(target: string, input: Uint8Array, root = CORPUS): string {
  const folder = join(root, target);
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${DEFECT}${nameOf(input)}`);
  writeFileSync(path, input);
  return path;
}
