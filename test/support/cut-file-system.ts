import type { FileSystem, OpenFile } from '../../src/env/file-system.ts';

/** Names of operations that change what is on disk, or make a change durable. */
const CHANGES = new Set([
  'makeFolder',
  'rename',
  'link',
  'clone',
  'removeFile',
  'removeFolder',
  'syncFolder',
]);
const FILE_CHANGES = new Set(['write', 'truncate', 'sync', 'syncData']);

export class Cut extends Error {}

/**
 * A file system on which the process "dies": the N-th changing operation and every later one throws, the operation
 * itself undone or, with `after`, done. What cleans up after an error is dead too. Closing works, so that locks go.
 */
export class CutFileSystem {
  /** How many changing operations were asked for. */
  count = 0;
  readonly trace: string[] = [];
  readonly fs: FileSystem;
  readonly #cutAt: number;
  readonly #after: boolean;

  constructor(inner: FileSystem, cutAt = Number.POSITIVE_INFINITY, after = false) {
    this.#cutAt = cutAt;
    this.#after = after;
    this.fs = this.#wrap(inner, CHANGES, (name, args, result) => {
      if (name === 'open') {
        const isCreating = args[1] === 'create' || args[1] === 'open-or-create';
        if (isCreating) this.trace.push(`create ${args[0]}`);
        return (result as Promise<OpenFile>).then((file) => this.#wrap(file, FILE_CHANGES));
      }
      return name === 'adopt' ? this.#wrap(result as OpenFile, FILE_CHANGES) : result;
    });
  }

  get isDead(): boolean {
    return this.count >= this.#cutAt;
  }

  #wrap<T extends object>(
    target: T,
    changes: ReadonlySet<string>,
    transform: (name: string, args: unknown[], result: unknown) => unknown = (_name, _args, result) => result,
  ): T {
    return new Proxy(target, {
      get: (object, name: string) => {
        const value = object[name as keyof T];
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          const isChange =
            changes.has(name) || (name === 'open' && args[1] !== 'read' && args[1] !== 'update');
          if (!isChange) return transform(name, args, value.apply(object, args));
          if (this.isDead) return Promise.reject(new Cut(`dead at ${name}`));
          this.count++;
          this.trace.push(
            `${name} ${(object as { path?: string }).path ?? ''} ${args.filter((arg) => typeof arg === 'string').join(' ')}`,
          );
          if (!this.isDead) return transform(name, args, value.apply(object, args));
          if (!this.#after) return Promise.reject(new Cut(`cut before ${name}`));
          return Promise.resolve(value.apply(object, args)).then(async (result) => {
            if (name === 'open') await (result as OpenFile).close();
            throw new Cut(`cut after ${name}`);
          });
        };
      },
    });
  }
}
