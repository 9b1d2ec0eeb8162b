import { testCaptures } from './captures.ts';
import { testProofs } from './proofs.ts';
import type { EngineTestOptions, Subject } from './subject.ts';

export { type BackupsTestOptions, testBackups } from './backups.ts';
export { type DestinationTestOptions, testDestination } from './destination.ts';
export { type ExecutorTestOptions, testExecutor } from './executor.ts';
export type { EngineSupports, EngineTestOptions, TestDatabase } from './subject.ts';

const WRITES = 200;

/**
 * The contract of `Engine` as tests, for whoever writes one: captures under writes are states that the database passed through,
 * nothing of the source is changed, the proof finds damage wherever a checksum covers it, and what cannot be read is never
 * taken for good. Independent of a test runner.
 *
 * @example
 * import { test } from 'node:test';
 * import { registerEngine } from 'stillpoint';
 * import { testEngine } from 'stillpoint/testing';
 *
 * const engine = await registerEngine(new URL('./my-engine.js', import.meta.url));
 * testEngine({ test, engine, createDatabase, readCopy });
 */
export function testEngine(options: EngineTestOptions): void {
  const { test, engine, supports = {} } = options;
  const { detect = true, planUnderWrites = true, isCovered = () => true, isMissed = () => true } = supports;
  const subject: Subject = {
    writes: WRITES,
    ...options,
    test: (name, run) => test(`engine ${engine.name}: ${name}`, run),
    supports: { detect, planUnderWrites, isCovered, isMissed },
  };
  testCaptures(subject);
  testProofs(subject);
}
