import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import type { CapturePlan, Engine, FileCheck } from '../../src/engine/engine.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import type { Finding } from '../../src/engine/report.ts';
import { createFile, readExactly, withFile, writeFully } from '../../src/env/io.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import type { Level } from '../../src/options/choices.ts';
import { compiled } from './build.ts';
import type { WriterState } from './leveldb-writer.ts';

const fs = nodeFileSystem;

/** A plan of `dir` with its pins in `into`, which must not exist yet. */
export async function planInto(engine: Engine, dir: string, into: string): Promise<CapturePlan> {
  await mkdir(into);
  return engine.plan({
    fs,
    dir: await fs.realPath(dir),
    async pin(path) {
      try {
        await fs.link(join(dir, path), join(into, path));
        return true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST') return true;
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
        throw error;
      }
    },
    async confirmPin(path) {
      const [pinned, now] = [await fs.inspect(join(into, path)), await fs.inspect(join(dir, path))];
      if (pinned?.ino === now?.ino) return true;
      await fs.removeFile(join(into, path));
      return false;
    },
    expectFiles() {},
    checkCancelled() {},
  });
}

/** Carries a plan out by hard links for what is immutable: the least that a capture can be. Returns the plan. */
export async function captureInto(engine: Engine, dir: string, into: string): Promise<CapturePlan> {
  const plan = await planInto(engine, dir, into);
  const planned = new Set(plan.items.map(({ path }) => path));
  for (const item of plan.items) {
    if (item.kind === 'bytes') await createFile(fs, join(into, item.path), item.bytes);
    if (item.kind !== 'image') continue;
    await withFile(fs, join(into, item.path), 'create', async (target) => {
      for (const { offset, length } of item.extents) {
        await writeFully(target, await readExactly(item.source!, offset, length), offset);
      }
    });
  }
  for (const { name } of await fs.list(into)) {
    if (!planned.has(name)) await fs.removeFile(join(into, name));
  }
  await plan.dispose?.();
  return plan;
}

export interface Proof {
  readonly findings: readonly Finding[];
  readonly checks: ReadonlyMap<string, FileCheck>;
}

/** Everything that the engine has to say about a folder. */
export async function prove(dir: string, level: Level = 'full', live = false): Promise<Proof> {
  const checks = new Map<string, FileCheck>();
  for (const path of await leveldbEngine.listFiles(fs, dir))
    checks.set(path, await checkOne(dir, path, level, live));
  const together = leveldbEngine.checkConsistency(checks, { level, live });
  const findings = [...[...checks.values()].flatMap((check) => check.findings), ...together.findings];
  return { findings, checks };
}

export function checkOne(dir: string, path: string, level: Level = 'full', live = false): Promise<FileCheck> {
  return withFile(fs, join(dir, path), 'read', (file) =>
    leveldbEngine.checkFile(file, { path, level, live }, new RunControl()),
  );
}

/** All entries, as LevelDB itself sees them, of a copy of the folder: opening it changes it. */
export async function readAll(dir: string): Promise<Map<string, string>> {
  const parent = await mkdtemp(join(tmpdir(), 'stillpoint-read-'));
  try {
    await cp(dir, join(parent, 'db'), { recursive: true });
    const db = new ClassicLevel<string, string>(join(parent, 'db'), { createIfMissing: false });
    await db.open();
    try {
      return new Map(await db.iterator().all());
    } finally {
      await db.close();
    }
  } finally {
    await rm(parent, { recursive: true });
  }
}

/** A second process that has the database open. */
export class Writer {
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  /** Starts it and waits until the database is open. Rejects with what LevelDB said when it could not be opened. */
  static async start(dir: string, mode: 'write' | 'idle' = 'write', first = 1): Promise<Writer> {
    const entry = compiled('test/support/leveldb-writer.ts');
    const child = fork(entry, [dir, mode, String(first)], { execArgv: [] });
    const [message] = await once(child, 'message');
    if ('failed' in message) throw new Error(message.failed);
    return new Writer(child);
  }

  async state(): Promise<WriterState> {
    const reply = once(this.#process, 'message');
    this.#process.send('state');
    return (await reply)[0] as WriterState;
  }

  /** Lets it finish the batch under way and close the database. */
  async stop(): Promise<WriterState> {
    const reply = once(this.#process, 'message');
    const exit = once(this.#process, 'exit');
    this.#process.send('stop');
    const [state] = await reply;
    await exit;
    return state as WriterState;
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exit;
  }
}
