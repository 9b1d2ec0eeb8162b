import { randomBytes } from 'node:crypto';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { ClassicLevel } from 'classic-level';
import { BackupCoordinator, openLsm, snapshotClassicLevel } from '../../src/index.ts';

export type Pace = 'fast' | 'quiet';

/** A database open in this process, and what its owner notices while something else goes on. */
export interface Host {
  readonly name: string;
  /** Acknowledged when it is durable. */
  write(key: string, value: string): Promise<unknown>;
  /** A full one, as of an owner who keeps only the newest. */
  snapshot(pace: Pace): Promise<unknown>;
  close(): Promise<void>;
}

const FULL = { reuse: false, keep: 1 };

export async function lsmHost(folder: string): Promise<Host> {
  const database = await openLsm(folder, { compactAtTables: 100_000, verifyTablesOnOpen: false });
  const backup = new BackupCoordinator({
    dataDir: folder,
    engine: 'lsm',
    checkpoint: () => database.hold(),
    defaults: FULL,
  });
  return {
    name: 'lsm',
    write: (key, value) => database.put(key, value),
    snapshot: (pace) => backup.backup({ pace }),
    close: () => database.close(),
  };
}

export async function levelHost(folder: string): Promise<Host> {
  const database = new ClassicLevel(folder, { compression: false });
  await database.open();
  return {
    name: 'leveldb',
    write: (key, value) => database.put(key, value, { sync: true }),
    snapshot: (pace) => snapshotClassicLevel(database, { ...FULL, pace }),
    close: () => database.close(),
  };
}

const WRITERS = 4;
const VALUE_BYTES = 1000;
/** Of each writer, after an answer: a busy database, and not one at the end of its strength. */
const PAUSE_MS = 5;
const RESOLUTION_MS = 1;

export interface Phase {
  /** 99.9% of all ticks of the event loop came at most so late. */
  readonly delayP999Ms: number;
  readonly delayMaxMs: number;
  /** From the call to the acknowledgement; empty without writers. */
  readonly writeMs: readonly number[];
}

/** `work` and, if so wished, writers beside it, until `work` has ended. */
export async function observe(
  write: Host['write'] | undefined,
  work: () => Promise<unknown>,
): Promise<Phase> {
  const writeMs: number[] = [];
  let isOver = false;
  const writer = async (index: number): Promise<void> => {
    for (let i = 0; !isOver; i++) {
      const value = randomBytes(VALUE_BYTES / 2).toString('hex');
      const began = performance.now();
      await write!(`written:${index}:${i}`, value);
      writeMs.push(performance.now() - began);
      await setTimeout(PAUSE_MS);
    }
  };
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const writing = Promise.all(
    write === undefined ? [] : Array.from({ length: WRITERS }, (_, i) => writer(i)),
  );
  try {
    await Promise.race([work(), writing.then(() => new Promise(() => {}))]); // a writer that fails ends it too
  } finally {
    isOver = true;
    await writing.catch(() => undefined);
    histogram.disable();
  }
  // The histogram holds the whole interval of its timer; what is above the resolution is delay.
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  return { delayP999Ms: late(histogram.percentile(99.9)), delayMaxMs: late(histogram.max), writeMs };
}

/** Again and again until so much time has passed; at least once, and the last one whole. */
export async function repeatFor(ms: number, work: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + ms;
  do await work();
  while (performance.now() < end);
}
