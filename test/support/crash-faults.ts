import assert from 'node:assert/strict';
import { expect } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { type CrashFileSystem, type Operation, systemError } from './crash-file-system.ts';
import { type Flow, fingerprint } from './crash-matrix.ts';
import { worldOn } from './crash-world.ts';
import { isLong } from './tier.ts';

/** What the system may answer to each operation. `short`: half of it is done, which is no error. */
const ANSWERS: Readonly<Record<string, readonly string[]>> = {
  open: ['EIO', 'EMFILE', 'EACCES', 'ENOENT'],
  create: ['ENOSPC', 'EMFILE', 'EACCES', 'EIO'],
  read: ['short', 'EIO'],
  write: ['ENOSPC', 'short', 'EIO'],
  truncate: ['ENOSPC', 'EIO'],
  sync: ['EIO', 'ENOSPC'],
  stat: ['EIO'],
  inspect: ['EACCES', 'EIO'],
  list: ['EMFILE', 'ENOENT', 'EACCES', 'EIO'],
  'make folder': ['ENOSPC', 'EACCES', 'EIO'],
  rename: ['EIO', 'ENOENT', 'ENOSPC', 'EACCES'],
  link: ['EACCES', 'ENOENT', 'EMLINK', 'ENOSPC', 'EIO'],
  remove: ['EACCES', 'ENOENT', 'EIO'],
  'remove folder': ['EACCES', 'EIO'],
  'sync folder': ['EIO', 'ENOSPC'],
  'real path': ['EACCES', 'EIO'],
  'free bytes': ['EIO'],
};

/** All answers to each operation, and not one of them in turn; and each read, not only every third one, and the first of several of one file. */
const isThorough = isLong;

interface Failures {
  /** Operations of the flow, those that only read among them. */
  operations: number;
  /** Runs with one failure, or with all changes failing from one on. */
  runs: number;
  /** Runs that went well all the same. */
  completed: number;
  /** Where a promise was broken. */
  readonly broken: string[];
  /** How the others ended. */
  readonly codes: Record<string, number>;
}

/**
 * Lets each operation of a flow fail, alone, and each change with all changes after it. The flow then goes well, or says with a
 * `StillpointError` what is wrong; it leaves no lock and no open file; and the invariants hold in the next process, which meets no
 * failure, be it that the first one just ended or that the power was cut after it.
 */
async function everyFailure(flow: Flow): Promise<Failures> {
  const failures: Failures = { operations: 0, runs: 0, completed: 0, broken: [], codes: {} };
  const checked = new Set<string>();
  const names = await operationsOf(flow);
  failures.operations = names.length;
  for (const [index, { name, path, isChange }] of names.entries()) {
    const before = names[index - 1];
    if (!isThorough && name === 'read' && before?.name === name && before.path === path) continue;
    if (!isThorough && !isChange && index % 3 !== 0) continue;
    const answers = ANSWERS[name]!;
    const once = isThorough ? answers : [answers[index % answers.length]!];
    for (const answer of once) await failAt(flow, index + 1, answer, false, failures, checked);
    if (isChange && (isThorough || index % 5 === 0))
      await failAt(flow, index + 1, index % 2 === 0 ? 'EIO' : 'ENOSPC', true, failures, checked);
  }
  return failures;
}

async function operationsOf(flow: Flow): Promise<Operation[]> {
  const operations: Operation[] = [];
  const fs = flow.before.after('none');
  fs.onOperation = (operation) => void operations.push(operation);
  await flow.run(worldOn(fs, 1), () => {});
  return operations;
}

async function failAt(
  flow: Flow,
  number: number,
  answer: string,
  isForGood: boolean,
  failures: Failures,
  checked: Set<string>,
): Promise<void> {
  const fs = flow.before.after('none');
  const world = worldOn(fs, 1);
  let what = `${answer} at ${number}`;
  fs.onOperation = (operation) => {
    const isNow =
      operation.number === number || (isForGood && operation.number > number && operation.isChange);
    if (!isNow) return;
    if (operation.number === number)
      what += `${isForGood ? ' and ever after' : ''}, ${operation.name} ${operation.path}`;
    if (answer === 'short') return 'short';
    throw systemError(answer, operation.path);
  };
  let promise = '';
  const outcome = await flow
    .run(world, (reached) => (promise = reached))
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  fs.onOperation = () => {};
  failures.runs++;
  try {
    if (outcome === undefined) failures.completed++;
    else {
      assert.ok(outcome instanceof StillpointError, `not an error of ours: ${outcome}`);
      assert.notEqual(outcome.code, 'INTERNAL', String(outcome.stack));
      failures.codes[outcome.code] = (failures.codes[outcome.code] ?? 0) + 1;
    }
    assert.deepEqual(world.leaks(), []);
    for (const loss of ['none', 'all'] as const) await checkNext(flow, fs.after(loss), promise, checked);
  } catch (error) {
    const { message } = error as Error;
    failures.broken.push(`${flow.name}, ${what}, ended with ${outcome ?? 'success'}: ${message}`);
  }
}

async function checkNext(
  flow: Flow,
  disk: CrashFileSystem,
  promise: string,
  checked: Set<string>,
): Promise<void> {
  const next = worldOn(disk, 2);
  await flow.recover(next);
  const key = `${promise} ${fingerprint(disk)}`;
  if (checked.has(key)) return;
  await flow.check(next, promise);
  checked.add(key);
}

/** Fails unless a flow breaks no promise, whichever operation fails. Prints what was covered, in one line. */
export async function expectNoPromiseBroken(flow: Flow): Promise<void> {
  const failures = await everyFailure(flow);
  console.log(summaryOf(flow.name, failures));
  expect(failures.broken).toEqual([]);
  expect(failures.operations).toBeGreaterThan(20);
  expect(Object.keys(failures.codes).length).toBeGreaterThan(2);
}

function summaryOf(flow: string, { operations, runs, completed, codes }: Failures): string {
  const ends = Object.entries(codes).map(([code, count]) => `${count} ${code}`);
  return `${flow}: ${operations} operations, ${runs} failures: ${[`${completed} completed`, ...ends].join(', ')}`;
}
