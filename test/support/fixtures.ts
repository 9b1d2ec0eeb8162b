import { existsSync, realpathSync } from 'node:fs';
import { chmod, cp, lstat, readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeWith } from './needs.ts';
import { temporaryFolder } from './temp.ts';

const projectRoot = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** Where files written by the real engines stand; they are no part of the project. */
const fixturesPlace = process.env.STILLPOINT_FIXTURES ?? resolve(projectRoot, '../shared/fixtures');
export const fixturesRoot = existsSync(fixturesPlace) ? realpathSync(fixturesPlace) : fixturesPlace;

/** `describe` over the fixtures of an engine; skipped, and its name says why, where there are none. */
export function describeWithFixtures(engine: string, name: string, body: () => void): void {
  const folder = join(fixturesRoot, engine);
  describeWith(`fixtures at ${folder}, or where STILLPOINT_FIXTURES says`, existsSync(folder), name, body);
}

/** A writable copy of a fixture (file or folder, path relative to the fixtures), removed when the test ends. */
export async function copyFixture(path: string): Promise<string> {
  const target = join(await temporaryFolder(), 'copy');
  await cp(join(fixturesRoot, path), target, { recursive: true });
  await makeWritable(target);
  return target;
}

async function makeWritable(path: string): Promise<void> {
  const isFolder = (await lstat(path)).isDirectory();
  await chmod(path, isFolder ? 0o700 : 0o600);
  if (!isFolder) return;
  for (const name of await readdir(path)) await makeWritable(join(path, name));
}
