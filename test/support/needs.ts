import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, type TestContext, test } from 'vitest';

// What a test needs of the machine. A test is skipped here and nowhere else, and its name or its note says why.

/** `.ci/run` has installed every program and file that is asked for here: one that is missing is a failure. */
export const isAllInstalled = process.env.STILLPOINT_ALL_INSTALLED === '1';

export const isRoot = process.getuid?.() === 0;

/** For what only root may do, whatever is installed. */
export const testAsRoot = test.runIf(isRoot);

/** For what only Linux has. */
export const testOnLinux = test.runIf(process.platform === 'linux');
export const describeOnLinux = describe.runIf(process.platform === 'linux');

/** `describe` where `what` is there; else its tests are skipped, and its name says why. */
export function describeWith(what: string, isThere: boolean, name: string, body: () => void): void {
  if (isThere || !isAllInstalled) describeWithRight(what, isThere, name, body);
  else
    test(name, () => {
      throw new Error(`needs ${what}`);
    });
}

/** The same for what nobody can install: a right of this user, or something of the kernel's. */
export function describeWithRight(what: string, isThere: boolean, name: string, body: () => void): void {
  if (isThere) describe(name, body);
  else describe.skip(`${name} (skipped: needs ${what})`, body);
}

export function hasProgram(name: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$0"', name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Skips the running test unless the programs are there. */
export function needsPrograms(context: TestContext, ...names: string[]): void {
  for (const name of names) {
    if (hasProgram(name)) continue;
    if (isAllInstalled) throw new Error(`needs ${name}`);
    context.skip(`needs ${name}`);
  }
}

/** Skips the running test unless the file is there, such as one of the fixtures beside the project. */
export function needsFile(context: TestContext, path: string): void {
  if (existsSync(path)) return;
  if (isAllInstalled) throw new Error(`needs ${path}`);
  context.skip(`needs ${path}`);
}

/** Skips the running test unless `isThere`, which can be more than a program: one that compiles. */
export function needsAll(context: TestContext, what: string, isThere: boolean, canBeInstalled = true): void {
  if (isThere) return;
  if (isAllInstalled && canBeInstalled) throw new Error(`needs ${what}`);
  context.skip(`needs ${what}`);
}

/** Runs a program that needs rights; skips the running test where this user or this container has none. */
export function withRights(context: TestContext, program: string, ...args: string[]): void {
  needsPrograms(context, program);
  try {
    execFileSync(program, args, { stdio: 'pipe' });
  } catch (error) {
    context.skip(
      `not allowed here: ${program} ${args.join(' ')}: ${(error as Error).message.replaceAll('\n', ' ').trim()}`,
    );
  }
}
