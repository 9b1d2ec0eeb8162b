import { resolve } from 'node:path';
import { ENGINE_NAMES } from '../engine/index.ts';
import {
  aClock,
  aFileSystem,
  aFolder,
  aFunction,
  type Check,
  type Checks,
  isPath,
  must,
  oneOf,
  theLocks,
  withMembers,
  withMethods,
} from '../env/checks.ts';
import type { Environment } from '../snapshot/environment.ts';

/** What options of several rooms have in common. */

/** Both name a folder; if they name two, neither can be meant. */
export function sameFolder(
  what: string,
  dataDir: string,
  lifecycle: { readonly dataDir: string } | undefined,
): void {
  if (lifecycle === undefined || resolve(lifecycle.dataDir) === resolve(dataDir)) return;
  throw new TypeError(`${what}: dataDir is ${dataDir}, and the lifecycle is that of ${lifecycle.dataDir}`);
}

const ENVIRONMENT: Checks<Environment> = {
  fs: aFileSystem,
  clock: aClock,
  locks: theLocks,
  pool: withMethods('a pool', 'run', 'load', 'prepare'),
  newId: aFunction,
};
export const anEnvironment = withMembers('an environment', ENVIRONMENT);

const lifecycleMethods = withMethods('a Lifecycle', 'admit', 'recover', 'layout');
export const aLifecycle: Check = (name, value) => {
  lifecycleMethods(name, value);
  aFolder(`${name}.dataDir`, (value as { dataDir?: unknown }).dataDir);
};

const CHOICES: readonly unknown[] = ['auto', ...ENGINE_NAMES];
const engineMethods = withMethods(
  `one of ${CHOICES.join(', ')}, or an Engine`,
  ...['detect', 'plan', 'listFiles', 'checkFile', 'checkConsistency'],
);
export const anEngine: Check = (name, value) => {
  if (CHOICES.includes(value)) return;
  engineMethods(name, value);
  anEngineName(`${name}.name`, (value as { name?: unknown }).name);
};
export const anEngineName = oneOf(ENGINE_NAMES);

/** What names a snapshot. */
export const aSnapshot = must('`latest`, a name, an id or a path', isPath);
