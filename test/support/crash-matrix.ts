import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chanceFrom } from './chance.ts';
import type { Loss } from './crash-disk.ts';
import type { CrashFileSystem, Operation } from './crash-file-system.ts';
import { type World, worldOn } from './crash-world.ts';
import { perTier } from './tier.ts';

/** Something that is done to a disk, and what must hold of the disk whenever it is cut off. */
export interface Flow {
  readonly name: string;
  /** The disk that it begins with. */
  readonly before: CrashFileSystem;
  /** Does it; `reached` says what has been promised from now on, for `check`. */
  run(world: World, reached: (promise: string) => void): Promise<unknown>;
  /** What the next process does first, before it looks at anything. */
  recover(world: World): Promise<unknown>;
  /**
   * Throws when something is not as it must be after `recover`. May change the disk.
   * @param promise The last that `run` reached; empty when it had promised nothing yet.
   */
  check(world: World, promise: string): Promise<void>;
}

export interface Coverage {
  /** Operations that the flow was cut at, its end among them. */
  points: number;
  /** Points times the ways to be cut there. */
  crashes: number;
  /** Different disks among these, each recovered and checked. */
  disks: number;
  /** Different disks that were left when the recovery itself was cut, each recovered and checked. */
  again: number;
}

const MIXTURES = perTier(2, 30);
/** Of the recoveries that are cut, fewer: there are many of them. */
const MIXTURES_AGAIN = perTier(0, 1);
/** And of those every so many-th, another one after each first crash. */
const STRIDE_AGAIN = perTier(3, 1);

/**
 * Every operation of a flow that changes the disk is a point. At each the process dies, with nothing lost, and the power fails, with
 * all lost that was not synced, all content, all names, and some seeded mixtures. Of each disk that this leaves, the recovery is run
 * and the invariants are checked; and the recovery is cut in the same ways at each of its points, and run again.
 */
export async function everyCrash(flow: Flow, mixtures = MIXTURES): Promise<Coverage> {
  const coverage: Coverage = { points: 0, crashes: 0, disks: 0, again: 0 };
  const seen = new Set<string>();
  const checked = new Set<string>();
  /** What two crashes have led to is one state. */
  const check = async (world: World, promise: string): Promise<void> => {
    assert.deepEqual(world.leaks(), []);
    const key = `${promise} ${fingerprint(world.fs)}`;
    if (!checked.has(key)) await flow.check(world, promise);
    checked.add(key);
  };
  const first = new Camera(seen, mixtures, '');
  await first.during(flow.before, 1, async (world) => flow.run(world, (promise) => first.promise(promise)));
  coverage.points = first.points;
  coverage.crashes = first.crashes;
  coverage.disks = first.shots.length;
  for (const [at, shot] of first.shots.entries()) {
    await told(flow, shot, async () => {
      const second = new Camera(seen, Math.min(MIXTURES_AGAIN, mixtures), shot.promise);
      const world = await second.during(shot.disk, 2, (world) => flow.recover(world));
      await check(world, shot.promise);
      const cutAgain = second.shots.filter((_, i) => i % STRIDE_AGAIN === at % STRIDE_AGAIN);
      coverage.again += cutAgain.length;
      for (const inner of cutAgain) {
        await told(flow, inner, async () => {
          const again = worldOn(inner.disk, 2);
          await flow.recover(again);
          await check(again, inner.promise);
        });
      }
    });
  }
  return coverage;
}

interface Shot {
  readonly disk: CrashFileSystem;
  readonly promise: string;
  readonly what: string;
}

/** Takes a picture of the disk after a crash in each way, at each change; the same picture only once. */
class Camera {
  readonly shots: Shot[] = [];
  points = 0;
  crashes = 0;
  readonly #seen: Set<string>;
  readonly #mixtures: number;
  #promise: string;

  constructor(seen: Set<string>, mixtures: number, promise: string) {
    this.#seen = seen;
    this.#mixtures = mixtures;
    this.#promise = promise;
  }

  promise(promise: string): void {
    this.#promise = promise;
  }

  async during(
    disk: CrashFileSystem,
    process: number,
    work: (world: World) => Promise<unknown>,
  ): Promise<World> {
    const fs = disk.after('none');
    const world = worldOn(fs, process);
    fs.onOperation = (operation) => {
      if (operation.isChange) this.#take(fs, operation);
    };
    await work(world);
    fs.onOperation = () => {};
    this.#take(fs, undefined);
    return world;
  }

  #take(fs: CrashFileSystem, operation: Operation | undefined): void {
    this.points++;
    const at =
      operation === undefined ? 'the end' : `${operation.name} ${operation.path} ${operation.to ?? ''}`;
    for (const [way, loss] of ways(this.points, this.#mixtures)) {
      this.crashes++;
      const after = fs.after(loss);
      const key = `${this.#promise} ${fingerprint(after)}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      const what = `cut at ${this.points}, ${at} (${way})`;
      this.shots.push({ disk: after, promise: this.#promise, what });
    }
  }
}

function ways(point: number, mixtures: number): [way: string, loss: Loss][] {
  const seeds = Array.from({ length: mixtures }, (_, i) => point * 1_000 + i);
  return [
    ['the process dies', 'none'],
    ['all is lost that was not synced', 'all'],
    ['content is lost', 'content'],
    ['names are lost', 'names'],
    ...seeds.map((seed): [string, Loss] => [`mixture ${seed}`, chanceFrom(seed)]),
  ];
}

async function told(flow: Flow, { what }: Shot, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    (error as Error).message = `${flow.name}, ${what}: ${(error as Error).message}`;
    throw error;
  }
}

const hashes = new WeakMap<Buffer, string>();

function hashOf(content: Buffer): string {
  const known = hashes.get(content);
  if (known !== undefined) return known;
  const hash = createHash('sha1').update(content).digest('base64');
  hashes.set(content, hash);
  return hash;
}

/** Names, contents, and which names are one file. */
export function fingerprint(fs: CrashFileSystem): string {
  const lines: string[] = [];
  for (const [path, node] of fs.nodes())
    lines.push(`${path} ${node.kind === 'file' ? `${node.ino} ${hashOf(node.now.content)}` : ''}`);
  return createHash('sha1').update(lines.sort().join('\n')).digest('base64');
}

/** For the output of a test: what was covered, in one line. */
export function describeCoverage(flow: string, { points, crashes, disks, again }: Coverage): string {
  return `${flow}: ${points} points, ${crashes} crashes, ${disks} different disks, ${again} more after a cut recovery`;
}
