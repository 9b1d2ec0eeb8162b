import { basename, dirname, join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { ownsName as ownsLeveldbName } from '../../format/leveldb/file-name.ts';
import { type Engine, LIFECYCLE, NOT_OF_THE_DATABASE, type PartOfFolder } from '../engine.ts';
import { looksLikeLeveldb } from '../leveldb/directory.ts';
import { leveldbEngine } from '../leveldb/index.ts';
import { lsmEngine } from '../lsm/index.ts';
import { CHECKPOINT, LOG, ownsName as ownsLsmName, TABLES, tableId } from '../lsm/names.ts';

/**
 * How the databases in a folder are told from the files around them: by names alone, so that a copy, of which nothing but its list of files
 * may be at hand, has the same parts as the folder that it was made of.
 */
interface Kind {
  readonly engine: Engine;
  /** @param names Of the files in one folder; those in a folder below it with that folder before them. */
  isIn(names: readonly string[]): boolean;
  /** Whether the engine gives this name to a file, relative to its folder. */
  owns(inner: string): boolean;
}

const isLsmTable = (name: string): boolean =>
  name.startsWith(`${TABLES}/`) && tableId(name.slice(TABLES.length + 1)) !== undefined;

const KINDS: readonly Kind[] = [
  { engine: leveldbEngine, isIn: looksLikeLeveldb, owns: ownsLeveldbName },
  {
    engine: lsmEngine,
    isIn: (names) => names.includes(LOG) || (names.includes(CHECKPOINT) && names.some(isLsmTable)),
    owns: (inner) => ownsLsmName(inner) || isLsmTable(inner),
  },
];

/** The engine of a part. */
export const engineOfPart = ({ engine }: PartOfFolder): Engine =>
  KINDS.find((kind) => kind.engine.name === engine)!.engine;

/** The databases among the files of a folder. */
export class Parts {
  readonly #byFolder = new Map<string, { readonly part: PartOfFolder; readonly kind: Kind }>();

  /** @param paths Of all files, relative to the folder. */
  constructor(paths: Iterable<string>) {
    const names = new Map<string, string[]>();
    const add = (folder: string, name: string) => {
      const list = names.get(folder);
      if (list === undefined) names.set(folder, [name]);
      else list.push(name);
    };
    for (const path of paths) {
      const folder = folderOf(path);
      add(folder, basename(path));
      if (folder !== '') add(folderOf(folder), `${basename(folder)}/${basename(path)}`);
    }
    for (const folder of [...names.keys()].sort()) {
      const kind = KINDS.find((kind) => kind.isIn(names.get(folder)!));
      if (kind !== undefined)
        this.#byFolder.set(folder, { part: { dir: folder, engine: kind.engine.name }, kind });
    }
  }

  /** In the order of their folders' names: the order in which they are captured. */
  get list(): readonly PartOfFolder[] {
    return [...this.#byFolder.values()].map(({ part }) => part);
  }

  /** The part whose engine gives this name to a file; undefined for a plain file. */
  of(path: string): PartOfFolder | undefined {
    const folder = folderOf(path);
    for (const dir of folder === '' ? [''] : [folder, folderOf(folder)]) {
      const found = this.#byFolder.get(dir);
      if (found?.kind.owns(innerPath(found.part, path))) return found.part;
    }
    return undefined;
  }
}

const folderOf = (path: string): string => {
  const folder = dirname(path);
  return folder === '.' ? '' : folder;
};

/** A path of the folder as its part knows it, and back. */
export const innerPath = ({ dir }: PartOfFolder, path: string): string =>
  dir === '' ? path : path.slice(dir.length + 1);
export const outerPath = ({ dir }: PartOfFolder, inner: string): string =>
  dir === '' || inner === '' ? dir || inner : `${dir}/${inner}`;

const DEPTH = 3;
const FOLDERS_LOOKED_AT = 1000;

/**
 * Whether there is a database in a folder below `dir`, up to three levels down as in a browser's profiles. Looks at names alone, and at no
 * more than a thousand folders.
 */
export async function holdsDatabases(fs: FileSystem, dir: string): Promise<boolean> {
  let level = [''];
  for (let depth = 0, looks = 0; depth <= DEPTH && level.length > 0; depth++) {
    const below: string[] = [];
    for (const folder of level) {
      if (looks++ === FOLDERS_LOOKED_AT) return false;
      const entries = await fs.list(join(dir, folder)).catch(() => []);
      const names = entries.filter(({ kind }) => kind === 'file').map(({ name }) => name);
      if (depth > 0 && new Parts(names).list.length > 0) return true;
      for (const { name, kind } of entries) {
        const isOther = name === LIFECYCLE || (depth === 0 && NOT_OF_THE_DATABASE.includes(name));
        if (kind === 'folder' && !isOther) below.push(join(folder, name));
      }
    }
    level = below;
  }
  return false;
}
