import crcInScript from 'crc-32';

export const MANIFEST = 'snapshot.manifest';

interface Entry {
  path: string;
  size: number;
  crc32: number;
}
interface Manifest {
  entries: Entry[];
  snapshot?: Record<string, unknown>;
  manifest_crc32?: number;
  [name: string]: unknown;
}

/** CRC-32 over the compact JSON, keys sorted, of all but the seal itself: worked out here a second time, on purpose. */
export function sealOf(manifest: object): number {
  const { manifest_crc32: _, ...rest } = manifest as Manifest;
  return crcInScript.buf(Buffer.from(compact(rest))) >>> 0;
}

function compact(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(compact).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, item]) => `${JSON.stringify(name)}:${compact(item)}`).join(',')}}`;
}

/** A manifest's text as it is written. */
export const textOf = (manifest: object): string => `${JSON.stringify(manifest, undefined, 1)}\n`;

/** With the right checksum of itself. */
export const sealed = <T extends object>(manifest: T): T & { manifest_crc32: number } => ({
  ...manifest,
  manifest_crc32: sealOf(manifest),
});

interface Draft {
  /** What a verdict has to name when the edit came with a right seal; the manifest itself when that is undefined. */
  readonly named?: readonly string[];
  /** Instead of the manifest as it now is. */
  readonly text?: string;
}
type Below = (limit: number) => number;
type Edit = (manifest: Manifest, below: Below) => Draft | undefined;

const onEntry =
  (change: (entry: Entry, below: Below) => void): Edit =>
  ({ entries }, below) => {
    const entry = entries[below(entries.length)]!;
    const { path } = entry;
    change(entry, below);
    return { named: [...new Set([path, entry.path])] };
  };

const EDITS: Readonly<Record<string, Edit>> = {
  'another checksum': onEntry((entry, below) => {
    entry.crc32 = (entry.crc32 ^ (1 << below(32))) >>> 0;
  }),
  'a larger size': onEntry((entry, below) => {
    entry.size += 1 + below(10_000);
  }),
  'a smaller size': onEntry((entry, below) => {
    entry.size = entry.size === 0 ? 1 : below(entry.size);
  }),
  'another path': onEntry((entry) => {
    entry.path += '~';
  }),
  'another case': onEntry((entry) => {
    entry.path = entry.path.toUpperCase();
  }),
  'an entry less': ({ entries }, below) => {
    if (entries.length < 2) return undefined;
    const [gone] = entries.splice(below(entries.length), 1);
    return { named: [gone!.path] };
  },
  'an entry more': ({ entries }) => {
    entries.push({ path: '~more', size: 0, crc32: 0 });
    return { named: ['~more'] };
  },
};

/** For these a seal of their own is no help, or there is none. */
const ON_THE_WHOLE: Readonly<Record<string, Edit>> = {
  'another order': ({ entries }) => {
    if (entries.length < 2) return undefined;
    entries.reverse();
    return {};
  },
  'an entry twice': ({ entries }, below) => {
    const at = below(entries.length);
    entries.splice(at, 0, { ...entries[at]! });
    return {};
  },
  'another version': (manifest) => {
    manifest.version = 2;
    return {};
  },
  'other spaces': (manifest) => ({ text: `${JSON.stringify(manifest, undefined, 2)}\n` }),
  'a byte order mark': (manifest) => ({ text: `\ufeff${textOf(manifest)}` }),
  'a name twice': (manifest) => ({
    text: textOf(manifest).replace('{', '{\n "entries": [],'),
  }),
};

const WITHOUT_SEAL: Readonly<Record<string, Edit>> = {
  'something about the snapshot': ({ snapshot }, below) => {
    if (snapshot === undefined) return undefined;
    const names = Object.keys(snapshot);
    const name = names[below(names.length)]!;
    const old = snapshot[name];
    snapshot[name] = typeof old === 'number' ? old + 1 : typeof old === 'string' ? `${old}0` : { lsn: '0' };
    return {};
  },
  'nothing about the snapshot': (manifest) => {
    delete manifest.snapshot;
    return {};
  },
  'no seal': (manifest) => {
    delete manifest.manifest_crc32;
    return {};
  },
  'another seal': (manifest, below) => {
    manifest.manifest_crc32 = (manifest.manifest_crc32! ^ (1 << below(32))) >>> 0;
    return {};
  },
  'a field more': (manifest) => {
    manifest.more = true;
    return {};
  },
  'a prototype': (manifest) => ({
    text: textOf(manifest).replace('{', '{\n "__proto__": { "version": 1 },'),
  }),
};

const BOTH = { ...EDITS, ...ON_THE_WHOLE };
const UNSEALED = { ...BOTH, ...WITHOUT_SEAL };

/** One edit of a manifest, with the seal left as it was or made anew; undefined when it makes no sense here. */
export function editManifest(
  bytes: Buffer,
  reseal: boolean,
  below: Below,
): { text: string; what: string; named: readonly string[] } | undefined {
  const edits = reseal ? BOTH : UNSEALED;
  const names = Object.keys(edits);
  const name = names[below(names.length)]!;
  const manifest = JSON.parse(bytes.toString()) as Manifest;
  const draft = edits[name]!(manifest, below);
  if (draft === undefined) return undefined;
  if (reseal && draft.text === undefined) {
    if (name !== 'another order' && name !== 'an entry twice')
      manifest.entries.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
    manifest.manifest_crc32 = sealOf(manifest);
  }
  const named = reseal && draft.named !== undefined ? draft.named : [MANIFEST];
  return { text: draft.text ?? textOf(manifest), what: name, named };
}
