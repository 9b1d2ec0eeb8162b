import { buf } from 'crc-32';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { countNames, measureJson } from '../../src/snapshot/store/json-shape.ts';
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  pathProblem,
} from '../../src/snapshot/store/manifest.ts';
import { sealed, sealOf, textOf } from '../support/manifest-edits.ts';

const u32 = fc.nat(0xffffffff);
const safe = fc.nat(Number.MAX_SAFE_INTEGER);
const decimal = fc.bigInt(0n, 2n ** 64n - 1n).map(String);
const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 });

const entries = fc
  .array(
    fc.record(
      {
        path: fc.tuple(name, fc.boolean()),
        size: safe,
        crc32: u32,
        crc32c: u32,
        kind: fc.constantFrom('immutable' as const, 'image' as const, 'bytes' as const),
        source: fc.record({ ino: decimal, mtime_ns: decimal }),
        proven_at_ms: safe,
      },
      { requiredKeys: ['path', 'size', 'crc32'] },
    ),
    { maxLength: 12 },
  )
  // The number keeps them apart, whatever their case.
  .map((drafts) =>
    drafts.map(({ path: [text, isDeep], ...rest }, i) => ({
      ...rest,
      path: isDeep ? `f${i}/${text}~` : `${text}~${i}`,
    })),
  )
  .filter((all) => all.every(({ path }) => pathProblem(path) === undefined));

const snapshot = fc.record(
  {
    id: name,
    sequence: safe,
    created_at_ms: safe,
    engine: fc.constantFrom('lsm', 'files', 'leveldb'),
    tool: name,
    parent: name,
    checkpoint: fc.record({ lsn: decimal }),
    total_bytes: safe,
  },
  { requiredKeys: ['id', 'sequence', 'created_at_ms', 'engine', 'tool', 'total_bytes'] },
);

const manifests: fc.Arbitrary<Manifest> = fc.record(
  { version: fc.constant(1 as const), entries, snapshot },
  { requiredKeys: ['version', 'entries'] },
);

const bytewise = (a: { path: string }, b: { path: string }) =>
  Buffer.compare(Buffer.from(a.path), Buffer.from(b.path));

describe('writing and reading a manifest', () => {
  test('what was written is read, entries in the order of their bytes', () => {
    fc.assert(
      fc.property(manifests, (manifest) => {
        const sorted = { ...manifest, entries: [...manifest.entries].sort(bytewise) };
        const read = decodeManifest(encodeManifest(manifest), 'there');
        expect(read).toEqual({ ...sorted, sealed: true, rewritten: false });
        expect(decodeManifest(encodeManifest(read), 'there')).toEqual(read);
      }),
    );
  });

  test('the seal is the CRC-32 of the compact JSON, keys sorted, of everything else', () => {
    fc.assert(
      fc.property(manifests, (manifest) => {
        const json = JSON.parse(encodeManifest(manifest).toString());
        expect(json.manifest_crc32).toBe(sealOf(json));
      }),
    );
    // By hand, once.
    const bytes = encodeManifest({ version: 1, entries: [{ size: 3, path: 'b', crc32: 7 }] });
    const text = '{"entries":[{"crc32":7,"path":"b","size":3}],"version":1}';
    expect(JSON.parse(bytes.toString()).manifest_crc32).toBe(buf(Buffer.from(text)) >>> 0);
  });

  test('no byte of it can be changed, cut off or added unseen (invariant 6)', () => {
    const isSeen = (bytes: Buffer): boolean => {
      try {
        const { sealed, rewritten } = decodeManifest(bytes, 'there');
        return sealed && rewritten;
      } catch (error) {
        return (error as StillpointError).code === 'MANIFEST_INVALID';
      }
    };
    const withSnapshot = manifests.filter((manifest) => manifest.snapshot !== undefined);
    const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(withSnapshot, place, fc.integer({ min: 1, max: 255 }), (manifest, where, mask) => {
        const bytes = encodeManifest(manifest);
        const at = Math.floor(where * bytes.byteLength);
        const changed = Buffer.from(bytes);
        changed[at]! ^= mask;
        expect(isSeen(changed)).toBe(true);
        expect(isSeen(bytes.subarray(0, at))).toBe(true);
        expect(isSeen(Buffer.concat([bytes, Buffer.from([mask])]))).toBe(true);
        expect(isSeen(Buffer.concat([Buffer.from([mask]), bytes]))).toBe(true);
        expect(isSeen(bytes)).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  test('each byte of one manifest, each bit', () => {
    const bytes = encodeManifest({
      version: 1,
      entries: [{ path: 'a', size: 10, crc32: 100, kind: 'image' }],
      snapshot: { id: 'x', sequence: 1, created_at_ms: 1000, engine: 'files', tool: 't', total_bytes: 10 },
    });
    const unseen: string[] = [];
    for (let at = 0; at < bytes.byteLength; at++) {
      for (let other = 0; other < 256; other++) {
        if (other === bytes[at]) continue;
        const changed = Buffer.from(bytes);
        changed[at] = other;
        try {
          if (!decodeManifest(changed, 'there').rewritten) unseen.push(`byte ${at} as ${other}`);
        } catch (error) {
          expect(error).toMatchObject({ code: 'MANIFEST_INVALID' });
        }
      }
    }
    expect(unseen).toEqual([]);
  });

  test('anything at all is a manifest or MANIFEST_INVALID, and nothing else', () => {
    const part = fc.oneof(
      fc.json(),
      fc.jsonValue().map((value) => JSON.stringify({ version: 1, entries: value })),
      fc.jsonValue().map((value) => JSON.stringify({ version: 1, entries: [value, value] })),
      fc
        .tuple(entries, fc.jsonValue())
        .map(([good, value]) => JSON.stringify(sealed({ version: 1, entries: good, more: value }))),
    );
    const inputs = fc.oneof(
      fc.uint8Array().map((bytes) => Buffer.from(bytes)),
      part.map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(inputs, (bytes) => {
        try {
          expect(decodeManifest(bytes, 'there').version).toBe(1);
        } catch (error) {
          expect(error).toBeInstanceOf(StillpointError);
          expect(error).toMatchObject({ code: 'MANIFEST_INVALID', path: 'there' });
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('fields of a later version are kept in the seal and do no harm', () => {
    const later = sealed({ version: 1, entries: [], later: { deep: [1, { er: null }] } });
    expect(decodeManifest(Buffer.from(textOf(later)), 'there')).toEqual({
      version: 1,
      entries: [],
      sealed: true,
      rewritten: false,
    });
  });

  test('paths that no manifest can hold are not written either', () => {
    const write = (...paths: string[]) =>
      encodeManifest({ version: 1, entries: paths.map((path) => ({ path, size: 0, crc32: 0 })) });
    for (const paths of [['../a'], ['/a'], ['a', 'a/b'], ['a', 'a'], ['\ud800']]) {
      expect(() => write(...paths), paths.join()).toThrow(StillpointError);
    }
    // Between a file and what would lie in it others may stand.
    expect(() => write('a', 'a!', 'a-b', 'a/b')).toThrow(/a file and a folder/);
    expect(() => write('a', 'a!', 'a-b', 'ab/c', 'b/a', 'a0')).not.toThrow();
  });
});

describe('the measure of a JSON text', () => {
  test('is that of what it becomes', () => {
    const containersIn = (value: unknown): number =>
      typeof value !== 'object' || value === null
        ? 0
        : Object.values(value).reduce((sum: number, item) => sum + containersIn(item), 1);
    const depthOf = (value: unknown): number =>
      typeof value !== 'object' || value === null
        ? 0
        : 1 + Object.values(value).reduce((most: number, item) => Math.max(most, depthOf(item)), 0);
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.nat(3), (value, indent) => {
        const text = JSON.stringify(value, undefined, indent);
        const { depth, containers, names, values } = measureJson(Buffer.from(text));
        const parsed = JSON.parse(text);
        expect({ depth, containers, names }).toEqual({
          depth: depthOf(parsed),
          containers: containersIn(parsed),
          names: countNames(parsed),
        });
        expect(values).toBeGreaterThanOrEqual(containers);
      }),
      { numRuns: 500 },
    );
  });

  test('tells a name that stands twice, a wide object and a deep one', () => {
    const twice = '{"a":{"b":1,"b":2},"c":"\\"d\\":{"}';
    expect(measureJson(Buffer.from(twice)).names).toBe(4);
    expect(countNames(JSON.parse(twice))).toBe(3);
    expect(measureJson(Buffer.from('{"a":{"b":1},"c":{"d":1,"e":2}}')).members).toBe(2);
    expect(measureJson(Buffer.from(`${'['.repeat(1e5)}${']'.repeat(1e5)}`)).depth).toBe(1e5);
  });
});
