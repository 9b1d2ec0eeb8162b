import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Clock } from '../../src/env/clock.ts';
import { createFile, makeFolders, removeIfPresent } from '../../src/env/io.ts';
import type { HeldLock, Locks } from '../../src/env/lock.ts';
import { openSqlite } from '../../src/env/sqlite.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import type { Environment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import type { CrashFileSystem } from './crash-file-system.ts';
import { entriesBelow } from './folders.ts';

/** What one process sees: a disk in memory, locks, a clock that stands still, and ids that are the same in every run. */
export interface World {
  readonly fs: CrashFileSystem;
  readonly locks: MemoryLocks;
  readonly environment: Environment;
  /** What ends up broken in every flow: files left open, locks left held. */
  leaks(): string[];
}

const EPOCH_MS = 1_700_000_000_000;

/** @param process Number of the process on this disk: each starts an hour after the one before. */
export function worldOn(fs: CrashFileSystem, process: number): World {
  const nowMs = EPOCH_MS + process * 3_600_000;
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => 0, every: () => () => {} };
  const locks = new MemoryLocks();
  let ids = 0;
  const newId = (): string => `id-${process}-${++ids}`;
  return {
    fs,
    locks,
    environment: { fs, clock, locks, pool: inlinePool(TASKS, fs), openSqlite, newId },
    leaks: () => [
      ...fs.openPaths.map((path) => `${path} is open`),
      ...locks.held.map((path) => `${path} is locked`),
    ],
  };
}

/** As the kernel's, on the file and not on its name; they open it as those do. */
class MemoryLocks implements Locks {
  readonly #held: { readonly ino: bigint; readonly path: string; readonly how: string }[] = [];

  get held(): string[] {
    return this.#held.map(({ path }) => path);
  }

  tryAcquireEngineLock(...[fs, path]: Parameters<Locks['tryAcquireEngineLock']>) {
    return this.tryAcquire(fs, path, 'exclusive');
  }

  async tryAcquire(...[fs, path, how]: Parameters<Locks['tryAcquire']>): Promise<HeldLock | undefined> {
    const file = await fs.open(path, how === 'exclusive' ? 'open-or-create' : 'read');
    const { ino } = (await fs.inspect(path).catch(() => undefined)) ?? { ino: -1n };
    const others = this.#held.filter((lock) => lock.ino === ino);
    if (others.some((lock) => how === 'exclusive' || lock.how === 'exclusive')) {
      await file.close();
      return undefined;
    }
    const lock = { ino, path, how };
    this.#held.push(lock);
    return {
      release: async () => {
        this.#held.splice(this.#held.indexOf(lock), 1);
        await file.close();
      },
    };
  }
}

/** The files below a folder with their contents as text, by their relative paths, sorted; empty when it is absent. */
export function treeOf(
  fs: CrashFileSystem,
  root: string,
  except: readonly string[] = [],
): Record<string, string> {
  const tree: [string, string][] = [];
  for (const [path, node] of fs.nodes()) {
    const relative = path.slice(root.length + 1);
    if (node.kind !== 'file' || !path.startsWith(`${root}/`) || except.includes(relative.split('/')[0]!))
      continue;
    tree.push([relative, node.now.content.toString('latin1')]);
  }
  return Object.fromEntries(tree.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Makes `root` hold exactly these files; one whose content is the same stays the same file. */
export async function putTree(
  fs: CrashFileSystem,
  root: string,
  files: Readonly<Record<string, string>>,
  except: readonly string[] = [],
): Promise<void> {
  const present = treeOf(fs, root, except);
  for (const path of Object.keys(present)) {
    if (present[path] !== files[path]) await removeIfPresent(fs, join(root, path));
  }
  for (const [path, content] of Object.entries(files)) {
    if (present[path] === content) continue;
    await makeFolders(fs, dirname(join(root, path)));
    await createFile(fs, join(root, path), Buffer.from(content, 'latin1'));
  }
}

/** The files of a real folder, as `putTree` takes them. */
export function readRealTree(root: string): Record<string, string> {
  const files = entriesBelow(root).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path.slice(root.length + 1), readFileSync(path).toString('latin1')];
    }),
  );
}
