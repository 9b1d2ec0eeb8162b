/** What a disk writes whole or not at all. */
export const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

interface Write {
  readonly offset: number;
  /** Absent: the file was cut or stretched to `offset`. */
  readonly bytes?: Buffer;
}

interface Version {
  readonly content: Buffer;
  readonly mtimeNs: bigint;
}

/** A file as it reads now, and what of that a power cut is sure to leave. */
export class FileNode {
  readonly kind = 'file';
  readonly ino: bigint;
  links = 0;
  now: Version;
  #synced: Version;
  /** What was written since, oldest first; `#count` is the number of the first of them. */
  #unsynced: Write[] = [];
  #count = 0;
  /** Pages that a failed sync has given up. */
  #dropped = new Set<number>();

  constructor(ino: bigint, version: Version) {
    this.ino = ino;
    this.now = version;
    this.#synced = version;
  }

  change(write: Write, mtimeNs: bigint): void {
    this.now = { content: written(this.now.content, write), mtimeNs };
    this.#unsynced.push(write);
    const end = write.offset + (write.bytes?.byteLength ?? 0);
    for (let page = Math.floor(write.offset / PAGE_BYTES); page * PAGE_BYTES < end; page++)
      this.#dropped.delete(page);
  }

  /** Call the result when the disk is done: what was written before this call is on it then. */
  beginSync(): () => void {
    const upTo = this.#count + this.#unsynced.length;
    const { content, mtimeNs } = this.now;
    return () => {
      if (upTo < this.#count) return;
      this.#unsynced.splice(0, upTo - this.#count);
      this.#count = upTo;
      const durable = Buffer.from(content);
      for (const page of this.#dropped) {
        const at = page * PAGE_BYTES;
        durable.subarray(at, at + PAGE_BYTES).fill(0);
        overlay(durable, this.#synced.content, at, at + PAGE_BYTES);
      }
      this.#synced = { content: durable, mtimeNs };
    };
  }

  /**
   * A sync has failed. As Linux does: the pages count as clean from then on although the disk does not have them, so that a
   * later sync succeeds and brings nothing, save for pages that are written again.
   */
  failSync(): void {
    for (const { offset, bytes } of this.#unsynced.splice(0)) {
      this.#count++;
      const end = offset + (bytes?.byteLength ?? 0);
      for (let page = Math.floor(offset / PAGE_BYTES); page * PAGE_BYTES < end; page++)
        this.#dropped.add(page);
    }
  }

  get synced(): Version {
    return this.#synced;
  }

  /** Size and each sector as they were at some moment since the last sync, each at one of its own. */
  mixed(chance: () => number): Version {
    const kept = [0, 0.5, 1][Math.floor(chance() * 3)]!;
    const versions = [this.#synced.content];
    for (const write of this.#unsynced) versions.push(written(versions.at(-1)!, write));
    const pick = (): Buffer =>
      versions[kept === 0.5 ? Math.floor(chance() * versions.length) : kept && versions.length - 1]!;
    const content = Buffer.alloc(pick().byteLength);
    for (let at = 0; at < content.byteLength; at += SECTOR_BYTES)
      overlay(content, pick(), at, at + SECTOR_BYTES);
    return { content, mtimeNs: chance() < 0.5 ? this.now.mtimeNs : this.#synced.mtimeNs };
  }
}

/** Puts the bytes of [from, to) in the place of those in `target`, as far as both have any. */
const overlay = (target: Buffer, source: Buffer, from: number, to: number): void => {
  if (from < target.byteLength) target.set(source.subarray(from, Math.min(to, target.byteLength)), from);
};

function written(content: Buffer, { offset, bytes }: Write): Buffer {
  const size = bytes === undefined ? offset : Math.max(content.byteLength, offset + bytes.byteLength);
  const next = Buffer.alloc(size);
  content.copy(next, 0, 0, size);
  bytes?.copy(next, offset);
  return next;
}

type Names = Map<string, DiskNode>;
export type DiskNode = FileNode | FolderNode;

export class FolderNode {
  readonly kind = 'folder';
  readonly ino: bigint;
  readonly names: Names = new Map();
  /** What a power cut is sure to leave of the names. */
  readonly durable: Names = new Map();
  /** The step that made it, while that may still be lost. */
  made: Step | undefined;

  constructor(ino: bigint) {
    this.ino = ino;
  }

  /** With a name that is durable at once: for building a disk. */
  put(name: string, node: DiskNode): void {
    this.names.set(name, node);
    this.durable.set(name, node);
    if (node.kind === 'file') node.links++;
  }
}

interface Effect {
  readonly folder: FolderNode;
  readonly name: string;
  /** Absent: the name goes. */
  readonly node?: DiskNode;
}

/** A change of names, in one folder or two: all of it is on disk or nothing, as every journaling file system has it. */
interface Step {
  readonly effects: readonly Effect[];
  /** Earlier ones without which it cannot be on disk. */
  readonly needs: readonly Step[];
  isDurable: boolean;
}

/**
 * What a power cut leaves of that which no sync has made sure: all of it (then it is as if the process had been killed), nothing,
 * the names and no content, the content and no names, or any part, by a seeded chance.
 */
export type Loss = 'none' | 'all' | 'content' | 'names' | (() => number);

/**
 * A tree of files and folders that remembers what was synced. Syncing a file makes its content sure and no name; syncing a folder
 * makes the names in it sure, and neither their content nor the folder's own name.
 */
export class CrashDisk {
  readonly root: FolderNode;
  #steps: Step[] = [];
  #nextIno: bigint;
  #timeNs: bigint;

  constructor(root = new FolderNode(2n), nextIno = 3n, timeNs = 1_000_000_000n) {
    this.root = root;
    this.#nextIno = nextIno;
    this.#timeNs = timeNs;
  }

  tick(): bigint {
    this.#timeNs += 1_000_000n;
    return this.#timeNs;
  }

  newFile(): FileNode {
    return new FileNode(this.#nextIno++, { content: Buffer.alloc(0), mtimeNs: this.tick() });
  }

  makeFolder(parent: FolderNode, name: string): void {
    const folder = new FolderNode(this.#nextIno++);
    folder.made = this.change([{ folder: parent, name, node: folder }]);
  }

  change(effects: readonly Effect[]): Step {
    const needs = new Set<Step>();
    for (const { folder, name } of effects) {
      const before = this.#steps.findLast((step) =>
        step.effects.some((e) => e.folder === folder && e.name === name),
      );
      if (before !== undefined) needs.add(before);
      const gone = folder.names.get(name);
      // A folder that is removed, and not just renamed, is empty by then.
      if (gone?.kind === 'folder' && !effects.some(({ node }) => node === gone))
        for (const step of this.#stepsIn(gone)) needs.add(step);
    }
    const step: Step = { effects, needs: [...needs], isDurable: false };
    this.#steps.push(step);
    for (const { folder, name, node } of effects) {
      const old = folder.names.get(name);
      if (old?.kind === 'file') old.links--;
      if (node?.kind === 'file') node.links++;
      if (node === undefined) folder.names.delete(name);
      else folder.names.set(name, node);
    }
    return step;
  }

  /** Call the result when the disk is done: the changes of names in the folder before this call are on it then. */
  beginSync(folder: FolderNode): () => void {
    const steps = this.#stepsIn(folder);
    return () => this.#settle(steps);
  }

  #stepsIn(folder: FolderNode): Step[] {
    return this.#steps.filter(({ effects }) => effects.some((effect) => effect.folder === folder));
  }

  #settle(steps: readonly Step[]): void {
    for (const step of steps) {
      if (step.isDurable) continue;
      this.#settle(step.needs);
      step.isDurable = true;
      for (const { folder, name, node } of step.effects) {
        if (node === undefined) folder.durable.delete(name);
        else folder.durable.set(name, node);
      }
    }
    this.#steps = this.#steps.filter(({ isDurable }) => !isDurable);
  }

  /** The disk as it is found afterwards, everything on it durable. */
  after(loss: Loss): CrashDisk {
    const kept = this.#kept(loss);
    const files = new Map<FileNode, FileNode>();
    const fileOf = (file: FileNode): FileNode => {
      const copy = files.get(file) ?? new FileNode(file.ino, versionOf(file, loss));
      files.set(file, copy);
      return copy;
    };
    const folderOf = (folder: FolderNode): FolderNode => {
      const names: Names = new Map(folder.durable);
      for (const { effects } of kept) {
        for (const effect of effects) {
          if (effect.folder !== folder) continue;
          if (effect.node === undefined) names.delete(effect.name);
          else names.set(effect.name, effect.node);
        }
      }
      const copy = new FolderNode(folder.ino);
      for (const [name, node] of names) copy.put(name, node.kind === 'file' ? fileOf(node) : folderOf(node));
      return copy;
    };
    return new CrashDisk(folderOf(this.root), this.#nextIno, this.#timeNs);
  }

  #kept(loss: Loss): readonly Step[] {
    if (loss === 'none' || loss === 'content') return this.#steps;
    if (loss === 'all' || loss === 'names') return [];
    const inOrder = loss() < 0.5 ? Math.floor(loss() * (this.#steps.length + 1)) : undefined;
    if (inOrder !== undefined) return this.#steps.slice(0, inOrder);
    const kept = new Set<Step>();
    const isThere = (step: Step | undefined): boolean =>
      step === undefined || step.isDurable || kept.has(step);
    for (const step of this.#steps) {
      const isPossible =
        step.needs.every(isThere) && step.effects.every(({ folder }) => isThere(folder.made));
      if (isPossible && loss() < 0.5) kept.add(step);
    }
    return [...kept];
  }
}

function versionOf(file: FileNode, loss: Loss): Version {
  if (loss === 'none' || loss === 'names') return file.now;
  return typeof loss === 'function' ? file.mixed(loss) : file.synced;
}
