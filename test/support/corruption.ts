import { linkSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { chanceFrom } from './chance.ts';
import { entriesBelow } from './folders.ts';
import { editManifest, MANIFEST } from './manifest-edits.ts';

/** A part of a file in which a flipped bit is looked for: `offset` picks a place in it, `chance` being in [0, 1). */
export interface Region {
  readonly name: string;
  readonly path: string;
  offset(chance: () => number): number;
}

export interface Damage {
  readonly kind: string;
  /** Kind and place, for the message of a test that fails. */
  readonly what: string;
  /** Name of the region that was hit, where a place inside a file was meant. */
  readonly region?: string;
  /** The paths that a correct verdict names, each of them. */
  readonly named: readonly string[];
  /** Paths that it may name beside. */
  readonly besides: readonly string[];
}

interface Draft {
  readonly named: readonly string[];
  readonly besides?: readonly string[];
  readonly what?: string;
  readonly region?: string;
}

/** A snapshot that is damaged in one way after another, and is as it was in between. */
export class Victim {
  readonly folder: string;
  /** Every file with its content, the manifest included. */
  readonly healthy: ReadonlyMap<string, Buffer>;
  readonly #older: ReadonlyMap<string, Buffer>;
  readonly #regions: ReadonlyMap<string, readonly Region[]>;
  readonly #outside: string;
  readonly #chance: () => number;
  #touched = new Set<string>();
  #turns = 0;

  /** `outside` holds a FIFO called `fifo` and takes copies that links lead to; on the same file system. */
  constructor(
    folder: string,
    options: { regions: readonly Region[]; older?: string; outside: string; seed: number },
  ) {
    this.folder = folder;
    this.healthy = readFiles(folder);
    this.#older = options.older === undefined ? new Map() : readFiles(options.older);
    const regions = [...options.regions, anywhere('manifest', MANIFEST, this.healthy.get(MANIFEST)!)];
    const byName = new Map<string, Region[]>();
    for (const region of regions) byName.set(region.name, [...(byName.get(region.name) ?? []), region]);
    this.#regions = byName;
    this.#outside = options.outside;
    this.#chance = chanceFrom(options.seed);
  }

  get regionNames(): string[] {
    return [...this.#regions.keys()];
  }

  below(limit: number): number {
    return Math.floor(this.#chance() * limit);
  }

  /** Damages the snapshot; undefined, and nothing is changed, when what came up makes no difference to it. */
  damage(): Damage | undefined {
    const kind = this.#pick(KINDS);
    const act: Act = ACTS[kind];
    const draft = act(this, this.#chance);
    if (draft !== undefined && this.#differs()) {
      const { named, besides = [], region, what = named.join(', ') } = draft;
      return { kind, what: `${kind}: ${what}`, named, besides, ...(region && { region }) };
    }
    this.undo();
    return undefined;
  }

  undo(): void {
    for (const path of this.#touched) {
      const bytes = this.healthy.get(path);
      if (bytes !== undefined) this.write(path, bytes);
      else rmSync(join(this.folder, this.#topOf(path)), { recursive: true, force: true });
    }
    this.#touched = new Set();
  }

  pickFile(except: readonly string[] = []): string {
    return this.#pick([...this.healthy.keys()].filter((path) => !except.includes(path)));
  }

  /** The names of regions take turns, however few bytes they stand for. */
  pickRegion(): Region {
    const names = this.regionNames;
    return this.#pick(this.#regions.get(names[this.#turns++ % names.length]!)!);
  }

  bytes(path: string): Buffer {
    return Buffer.from(this.healthy.get(path)!);
  }

  older(path: string): Buffer | undefined {
    return this.#older.get(path);
  }

  get olderPaths(): string[] {
    return [...this.#older.keys()];
  }

  write(path: string, bytes: Uint8Array): void {
    const place = this.remove(path);
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, bytes);
  }

  remove(path: string): string {
    this.#touched.add(path);
    const place = join(this.folder, path);
    rmSync(place, { recursive: true, force: true });
    return place;
  }

  /** A link to a copy of the very same content. */
  link(path: string): void {
    const copy = join(this.#outside, 'copy');
    writeFileSync(copy, this.healthy.get(path) ?? 'content');
    symlinkSync(copy, this.remove(path));
  }

  makeFolder(path: string): void {
    mkdirSync(this.remove(path));
  }

  /** Another name for the one FIFO: much faster than making one. */
  fifo(path: string): void {
    linkSync(join(this.#outside, 'fifo'), this.remove(path));
  }

  /** What has to go for a file that was added: itself, with the folders that were made for it. */
  #topOf(path: string): string {
    const top = path.split('/')[0]!;
    return [...this.healthy.keys()].some((other) => other.startsWith(`${top}/`)) ? path : top;
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  #differs(): boolean {
    return [...this.#touched].some((path) => {
      const stat = lstatSync(join(this.folder, path), { throwIfNoEntry: false });
      const bytes = this.healthy.get(path);
      if (stat === undefined || bytes === undefined) return (stat === undefined) !== (bytes === undefined);
      return !stat.isFile() || !readFileSync(join(this.folder, path)).equals(bytes);
    });
  }
}

export function readFiles(folder: string): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (const entry of entriesBelow(folder)) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files.set(path.slice(folder.length + 1), readFileSync(path));
  }
  return files;
}

export const anywhere = (name: string, path: string, { byteLength }: Uint8Array): Region => ({
  name,
  path,
  offset: (chance) => Math.floor(chance() * byteLength),
});

type Act = (victim: Victim, chance: () => number) => Draft | undefined;

const PAGE_BYTES = 4096;

function inRegion(change: (byte: number, chance: () => number) => number): Act {
  return (victim, chance) => {
    const { name, path, offset } = victim.pickRegion();
    const bytes = victim.bytes(path);
    if (bytes.byteLength === 0) return undefined;
    const at = offset(chance);
    bytes[at] = change(bytes[at]!, chance);
    victim.write(path, bytes);
    return { named: [path], region: name, what: `${path}, byte ${at}, ${name}` };
  };
}

const inFile =
  (change: (bytes: Buffer, victim: Victim, path: string) => Buffer): Act =>
  (victim) => {
    const path = victim.pickFile();
    victim.write(path, change(victim.bytes(path), victim, path));
    return { named: [path] };
  };

const inPlaceOf =
  (put: (victim: Victim, path: string) => void): Act =>
  (victim) => {
    const path = victim.pickFile();
    put(victim, path);
    return { named: [path] };
  };

const noise = (victim: Victim, count: number): Buffer =>
  Buffer.from(Array.from({ length: count }, () => victim.below(256)));

/** A place where nothing stands: beside a file, at the top, or in a folder of its own. */
function freePath(victim: Victim): string {
  const file = victim.pickFile();
  return [`${file}.new`, 'extra', '.hidden', 'sst/99.sst', 'another/folder/file', '.lifecycle/kept'][
    victim.below(6)
  ]!;
}

const ACTS = {
  'flip a bit': inRegion((byte, chance) => byte ^ (1 << Math.floor(chance() * 8))),
  'change a byte': inRegion((byte, chance) => byte ^ (1 + Math.floor(chance() * 255))),
  'zero a page': inFile((bytes, victim) => {
    const page = victim.below(Math.ceil(bytes.byteLength / PAGE_BYTES)) * PAGE_BYTES;
    return bytes.fill(0, page, Math.min(page + PAGE_BYTES, bytes.byteLength));
  }),
  cut: inFile((bytes, victim) => bytes.subarray(0, victim.below(bytes.byteLength))),
  'cut the last byte': inFile((bytes) => bytes.subarray(0, -1)),
  extend: inFile((bytes, victim) =>
    Buffer.concat([bytes, noise(victim, 1 + victim.below(20)), Buffer.alloc(victim.below(5000))]),
  ),
  'extend by a white character': inFile((bytes, victim) =>
    Buffer.concat([bytes, Buffer.from(' \n\t\r'.charAt(victim.below(4)))]),
  ),
  prepend: inFile((bytes, victim) => Buffer.concat([noise(victim, 1 + victim.below(3)), bytes])),
  'take bytes out of the middle': inFile((bytes, victim) => {
    const at = victim.below(bytes.byteLength);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + victim.below(9))]);
  }),
  swap: (victim) => {
    const a = victim.pickFile();
    const b = victim.pickFile();
    const [bytesA, bytesB] = [victim.bytes(a), victim.bytes(b)];
    if (bytesA.equals(bytesB)) return undefined;
    victim.write(a, bytesB);
    victim.write(b, bytesA);
    const what = `${a} and ${b}`;
    // A file that stands where the manifest was says nothing of the others; their content may.
    if (a === MANIFEST || b === MANIFEST) return { named: [MANIFEST], besides: [a, b], what };
    return { named: [a, b], what };
  },
  remove: inPlaceOf((victim, path) => victim.remove(path)),
  rename: (victim) => {
    const from = victim.pickFile([MANIFEST]);
    const to = freePath(victim);
    victim.remove(from);
    victim.write(to, victim.bytes(from));
    return { named: [from, to] };
  },
  add: (victim) => {
    const path = freePath(victim);
    victim.write(path, noise(victim, victim.below(100)));
    return { named: [path] };
  },
  'add a link or a FIFO': (victim) => {
    const path = ['extra', '.hidden'][victim.below(2)]!;
    if (victim.below(2) === 0) victim.link(path);
    else victim.fifo(path);
    return { named: [path] };
  },
  'take a file of an older snapshot': (victim) => {
    const path = victim.olderPaths[victim.below(victim.olderPaths.length)];
    if (path === undefined || path === MANIFEST) return undefined; // its seal holds: a case of its own
    victim.write(path, victim.older(path)!);
    return { named: [path] };
  },
  'put a link in the place': inPlaceOf((victim, path) => victim.link(path)),
  'put a folder in the place': inPlaceOf((victim, path) => victim.makeFolder(path)),
  'put a FIFO in the place': inPlaceOf((victim, path) => victim.fifo(path)),
  'edit the manifest': (victim) => applyEdit(victim, false),
  'edit the manifest and seal it again': (victim) => applyEdit(victim, true),
} satisfies Record<string, Act>;

export type Kind = keyof typeof ACTS;
export const DAMAGE_KINDS = Object.keys(ACTS) as Kind[];

/** As often as they stand here. */
const KINDS: readonly Kind[] = [
  ...new Array<Kind>(14).fill('flip a bit'),
  ...new Array<Kind>(6).fill('change a byte'),
  ...new Array<Kind>(3).fill('edit the manifest'),
  ...new Array<Kind>(3).fill('edit the manifest and seal it again'),
  ...DAMAGE_KINDS,
];

function applyEdit(victim: Victim, reseal: boolean): Draft | undefined {
  const edit = editManifest(victim.healthy.get(MANIFEST)!, reseal, (limit) => victim.below(limit));
  if (edit === undefined) return undefined;
  victim.write(MANIFEST, Buffer.from(edit.text));
  return edit;
}
