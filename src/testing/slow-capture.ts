import { dirname, join } from 'node:path';
import type { CapturePlan, Engine } from '../engine/engine.ts';
import { type FileSystem, isSameIdentity, type OpenFile } from '../env/file-system.ts';
import { createFile, makeFolders, readFully, removeTree, withFile, writeFully } from '../env/io.ts';
import { nodeFileSystem as fs } from '../env/node-file-system.ts';
import { StillpointError, systemCode } from '../errors.ts';

/** The least that a capture can be, with the database at work between any two of its steps. */

const ROUNDS = 50;

export interface Pins {
  /** Where the hard links are; the name of each is that of its file with `/` replaced. */
  readonly folder: string;
  readonly place: (path: string) => string;
}

export function pinsIn(folder: string): Pins {
  return { folder, place: (path) => join(folder, encodeURIComponent(path)) };
}

/** A plan of `dir` as the coordinator would ask for it; `used` is the file system that the engine gets. */
export function planOf(engine: Engine, dir: string, pins: Pins, used: FileSystem = fs): Promise<CapturePlan> {
  return engine.plan({
    fs: used,
    dir,
    pin: (path) => pin(dir, path, pins),
    async confirmPin(path) {
      const [pinned, now] = [await fs.inspect(pins.place(path)), await fs.inspect(join(dir, path))];
      if (pinned && now && isSameIdentity(pinned, now) && pinned.sizeBytes === now.sizeBytes) return true;
      await fs.removeFile(pins.place(path));
      return false;
    },
    expectFiles() {},
    checkCancelled() {},
  });
}

async function pin(dir: string, path: string, pins: Pins): Promise<boolean> {
  try {
    await fs.link(join(dir, path), pins.place(path));
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return true;
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Pins what is immutable, copies the rest in the order of the plan, confirms; `between` is called before each step. */
export async function captureSlowly(
  engine: Engine,
  dir: string,
  into: string,
  between: () => Promise<void>,
): Promise<void> {
  const reasons: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const pins = pinsIn(`${into}.pins`);
    await fs.makeFolder(into);
    await fs.makeFolder(pins.folder);
    try {
      const reason = await captureOnce(engine, dir, into, pins, between);
      if (reason === undefined) return;
      reasons.push(reason);
      await removeTree(fs, into);
    } finally {
      await removeTree(fs, pins.folder);
    }
  }
  throw new StillpointError('SOURCE_CHANGING', `no plan in ${ROUNDS} was confirmed: ${reasons.at(-1)}`);
}

async function captureOnce(
  engine: Engine,
  dir: string,
  into: string,
  pins: Pins,
  between: () => Promise<void>,
): Promise<string | undefined> {
  const plan = await planOf(engine, dir, pins);
  try {
    await between();
    for (const item of plan.items)
      if (item.kind === 'immutable' && !(await pin(dir, item.path, pins))) return `${item.path} is gone`;
    for (const item of plan.items) {
      if (item.kind === 'immutable') continue;
      await between();
      await makeFolders(fs, dirname(join(into, item.path)));
      if (item.kind === 'bytes') await createFile(fs, join(into, item.path), item.bytes);
      else if (!(await copyImage(dir, into, item))) return `${item.path} became shorter`;
    }
    await between();
    const reason = await plan.confirm?.();
    if (reason !== undefined) return reason;
    await between();
    for (const { kind, path } of plan.items) {
      if (kind !== 'immutable') continue;
      await makeFolders(fs, dirname(join(into, path)));
      await fs.link(pins.place(path), join(into, path));
    }
    return undefined;
  } finally {
    await plan.dispose?.();
  }
}

type Image = Extract<CapturePlan['items'][number], { kind: 'image' }>;

/** False when the source ends before the last extent does. */
async function copyImage(dir: string, into: string, item: Image): Promise<boolean> {
  const copy = (source: OpenFile): Promise<boolean> =>
    withFile(fs, join(into, item.path), 'create', async (target) => {
      for (const { offset, length } of item.extents) {
        const bytes = Buffer.alloc(length);
        if ((await readFully(source, bytes, offset)) < length) return false;
        await writeFully(target, bytes, offset);
      }
      for (const { offset, bytes } of item.patches) await writeFully(target, bytes, offset);
      await target.truncate(item.sizeBytes);
      return true;
    });
  return item.source === undefined ? withFile(fs, join(dir, item.path), 'read', copy) : copy(item.source);
}
