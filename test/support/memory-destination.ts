import { type Destination, getSmall, type ObjectInfo } from '../../src/destination/destination.ts';

/** A destination in memory, with a clock of its own that a test moves. */
export interface MemoryDestination extends Destination {
  readonly objects: Map<string, { readonly bytes: Buffer; readonly modifiedAtMs: number }>;
  nowMs: number;
}

export function memoryDestination(): MemoryDestination {
  const objects: MemoryDestination['objects'] = new Map();
  const infoOf = (key: string): ObjectInfo | undefined => {
    const object = objects.get(key);
    return object && { sizeBytes: object.bytes.byteLength, modifiedAtMs: object.modifiedAtMs };
  };
  const self: MemoryDestination = {
    objects,
    nowMs: Date.now(),
    url: 'memory:test',
    async put(key, body, { ifAbsent = false } = {}) {
      const parts: Uint8Array[] = [];
      for await (const part of body.open()) parts.push(part);
      if (ifAbsent && objects.has(key)) return 'exists';
      objects.set(key, { bytes: Buffer.concat(parts), modifiedAtMs: self.nowMs });
      return 'written';
    },
    async get(key, { range } = {}) {
      const bytes = objects.get(key)?.bytes;
      if (bytes === undefined) return undefined;
      const part = range === undefined ? bytes : bytes.subarray(range.offset, range.offset + range.length);
      return (async function* () {
        yield part;
      })();
    },
    head: async (key) => infoOf(key),
    async *list(prefix, { shallow = false } = {}) {
      const below = [...objects.keys()].filter((key) => key.startsWith(prefix)).sort();
      const folders = new Set<string>();
      for (const key of below) {
        const slash = key.indexOf('/', prefix.length);
        if (shallow && slash >= 0) folders.add(key.slice(0, slash + 1));
        else yield { key, ...infoOf(key)! };
      }
      for (const key of folders) yield { key, sizeBytes: 0, modifiedAtMs: 0 };
    },
    async delete(keys) {
      for (const key of keys) objects.delete(key);
    },
    abortStale: async () => 0,
    probe: async () => ({ ifAbsent: true, warnings: [] }),
  };
  return self;
}

export const textAt = async (destination: Destination, key: string): Promise<string | undefined> =>
  (await getSmall(destination, key, 1024 * 1024))?.toString();
