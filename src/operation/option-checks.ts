import { resolve } from 'node:path';
import { engineNames } from '../engine/index.ts';
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

const engineMethods = (name: string, value: unknown): void =>
  withMethods(
    `one of auto, ${engineNames().join(', ')}, or an Engine`,
    ...['detect', 'plan', 'listFiles', 'checkFile', 'checkConsistency'],
  )(name, value);
/** Names may be registered at any time. */
export const anEngineName: Check = (name, value) => oneOf(engineNames())(name, value);
export const anEngineChoice: Check = (name, value) => oneOf(['auto', ...engineNames()])(name, value);
export const anEngine: Check = (name, value) => {
  if (value === 'auto' || engineNames().includes(value as string)) return;
  engineMethods(name, value);
  anEngineName(`${name}.name`, (value as { name?: unknown }).name);
};

/** What names a snapshot. */
export const aSnapshot = must('`latest`, a name, an id or a path', isPath);
