import { main as compile } from 'assemblyscript/asc';
import { expect, test, vi } from 'vitest';
import type { EngineName, FileCheck } from '../../src/engine/engine.ts';
import { engineByName } from '../../src/engine/index.ts';
import { TableScanner as LeveldbScanner } from '../../src/engine/leveldb/table-scanner.ts';
import { TableScanner as LsmScanner } from '../../src/engine/lsm/table-scanner.ts';
import { BUFFER_BYTES } from '../../src/env/buffers.ts';
import type { OpenFile } from '../../src/env/file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { SNAPPY, TRAILER_BYTES, unpackBlock } from '../../src/format/leveldb/table.ts';
import { encodeBlock, tableEntryBytes } from '../../src/format/lsm/table-block.ts';
import { LOOK_CLOSER, Scanner } from '../../src/format/scan/scanner.ts';
import { type Below, mutate } from '../fuzz/mutate.ts';
import { check, NUMBERS, scriptCheck, TABLES } from '../support/any-table.ts';
import {
  encodeInternalKey,
  encodeBlock as encodeLevelBlock,
  sealBlock,
} from '../support/leveldb-encoders.ts';
import { craftTable, entry as leveldbEntry } from '../support/leveldb-table.ts';
import { buildTable, entry as lsmEntry } from '../support/lsm-table.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { seeded } from '../support/seeded.ts';
import { perTier } from '../support/tier.ts';

// Compiled functions look at the blocks of a table first. They may only ever say "good" of what script has nothing to say of.

const ASSEMBLY = 'src/format/scan/assembly';

test('the compiled scanner matches the sources in `assembly/`', async () => {
  const files: Record<string, Uint8Array | string> = {};
  const { error, stderr } = await compile(
    ['lsm-block', 'lsm-window', 'leveldb-block', 'leveldb-window', 'snappy', 'window']
      .map((name) => `${ASSEMBLY}/${name}.ts`)
      .concat(['--runtime', 'stub', '--importMemory', '-O3', '--converge', '--noAssert'])
      .concat(['--outFile', 'scan.wasm']),
    {
      writeFile: (name, content) => {
        files[name] = content;
      },
    },
  );
  expect(error, stderr.toString()).toBeNull();
  const base64 = Buffer.from(files['scan.wasm'] as Uint8Array).toString('base64');
  const source = [
    '// Compiled from assembly/. After a change there: npx vitest run --config test/vitest.config.ts test/engine/scanner.test.ts -u',
    'export const SCAN_WASM =',
    `  '${base64}';`,
    '',
  ].join('\n');
  await expect(source).toMatchFileSnapshot('../../src/format/scan/wasm.ts');
});

test('valid tables are accepted by the scanner alone', () => {
  const scanner = Scanner.create(1024 * 1024)!;
  const [first, last] = [lsmEntry('a', 5), lsmEntry('b', 3, undefined)];
  const block = encodeBlock([first, last], tableEntryBytes(first) + tableEntryBytes(last));
  const look = (bytes: Buffer, lastKey: string): number => {
    const [at, firstKeyAt, lastKeyAt] = scanner.keep([bytes, first.key, Buffer.from(lastKey)]) as number[];
    scanner.scan.lsmBegin(0, 0, 0);
    return scanner.scan.lsmBlock(at!, at! + bytes.length, firstKeyAt!, 1, lastKeyAt!, lastKey.length);
  };
  expect(look(block, 'b')).toBe(2);
  expect(look(block, 'c')).toBe(LOOK_CLOSER);
  expect(look(block.subarray(0, -1), 'b')).toBe(LOOK_CLOSER);

  const entries = [leveldbEntry('a', 5), leveldbEntry('a', 4), leveldbEntry('ab', 9)];
  const [content, upTo] = [encodeLevelBlock(entries), entries[2]!.key];
  const lookAt = (bytes: Buffer, after: Buffer): number => {
    const [at, afterAt, upToAt] = scanner.keep([bytes, after, upTo]) as number[];
    scanner.scan.leveldbBegin();
    const end = at! + bytes.length;
    return scanner.scan.leveldbBlock(at!, end, 0, 0, 255, afterAt!, after.length, upToAt!, upTo.length);
  };
  expect(lookAt(content, Buffer.alloc(0))).toBe(3);
  expect(scanner.scan.leveldbMaxSequence.value).toBe(9n);
  expect(lookAt(content, entries[0]!.key)).toBe(LOOK_CLOSER);
});

test('Snappy is what the module of that name makes of it, damaged or not', () => {
  const scanner = Scanner.create(1024 * 1024)!;
  const random = seeded(7);
  const below: Below = (limit) => Math.floor(random() * limit);
  const byModule = (packed: Buffer): Buffer | undefined => {
    const unpacked = unpackBlock(Buffer.concat([packed, Buffer.from([SNAPPY, 0, 0, 0, 0])]));
    return 'content' in unpacked ? unpacked.content : undefined;
  };
  const here = (packed: Buffer): Buffer | undefined => {
    const [at] = scanner.keep([packed]) as [number];
    const found = scanner.uncompress(at, at + packed.length);
    return found && scanner.copyOf(found.at, found.end - found.at);
  };
  const same = (packed: Buffer, what: string): boolean => {
    const [a, b] = [here(packed), byModule(packed)];
    expect(a === undefined ? b === undefined : b !== undefined && a.equals(b), what).toBe(true);
    return a !== undefined;
  };
  // A literal of three bytes, and copies of it whose distance has one byte, two and four.
  for (const hex of ['0708616263' + '0103', '0708616263' + '0e0300', '0708616263' + '0f03000000'])
    expect(same(Buffer.from(hex, 'hex'), hex)).toBe(true);
  let good = 0;
  for (let round = 0; round < 400; round++) {
    const pieces: Buffer[] = [];
    for (let i = below(30); i >= 0; i--) {
      const piece = Buffer.from(
        Array.from({ length: 1 + below(below(4) === 0 ? 3000 : 80) }, () => below(256)),
      );
      pieces.push(below(2) === 0 ? piece : Buffer.alloc(1 + below(2000), piece.subarray(0, 1 + below(20))));
      if (below(2) === 0) pieces.push(pieces[below(pieces.length)]!);
    }
    const sealed = sealBlock(Buffer.concat(pieces), 'snappy');
    const packed = sealed.subarray(0, -TRAILER_BYTES);
    expect(same(packed, `round ${round}`)).toBe(true);
    for (let change = 0; change < 6; change++) {
      const damaged = mutate(packed, below, { words: NUMBERS, other: packed, maxBytes: 200_000 });
      if (same(damaged, `round ${round}, change ${change}`)) good++;
    }
  }
  expect(good).toBeGreaterThan(100);
});

test('buffers may grow, and what is too large is left to JavaScript', () => {
  const scanner = Scanner.create(1024)!;
  const part = Buffer.alloc(300_000, 7);
  const [at] = scanner.keep([part]) as [number];
  expect(scanner.copyOf(at, part.length).equals(part)).toBe(true);
  expect(scanner.place(scanner.buffer.subarray(3), 'block')! - scanner.place(scanner.buffer, 'block')!).toBe(
    3,
  );
  expect(scanner.keep([Buffer.alloc(65 * 1024 * 1024)])).toBeUndefined();
  expect(scanner.place(Buffer.alloc(257 * 1024), 'block')).toBeUndefined();
});

test('a key of nearly a buffer is left to JavaScript, and the memory behind it is unchanged', async () => {
  const [a, b] = ['x'.repeat(950_000), 'y'.repeat(20_000)];
  const tables = {
    lsm: buildTable([[lsmEntry('a', 1)], [lsmEntry(a, 2)], [lsmEntry(b, 3)]]),
    leveldb: craftTable({ blocks: [[leveldbEntry(a, 2)], [leveldbEntry(b, 3)]] }),
  };
  const byScript = await scriptCheck();
  for (const engine of ['lsm', 'leveldb'] as const) {
    const { path } = TABLES[engine];
    const found = await check(engine, path, tables[engine]);
    expect(found.findings).toEqual([]);
    expect(found).toEqual(await byScript(engine, path, tables[engine]));
  }
});

test('JavaScript continues where the scanner stopped, with 64-bit versions and both index keys', async () => {
  const byScript = await scriptCheck();
  const expectSame = async (engine: EngineName, path: string, bytes: Buffer, codes: string[]) => {
    const found = await check(engine, path, bytes);
    expect(found.findings.map(({ code }) => code)).toEqual(codes);
    expect(found).toEqual(await byScript(engine, path, bytes));
  };
  // The second block is larger than the buffer that the compiled functions can see.
  const giant = Buffer.alloc(1_500_000);
  for (const [before, after, codes] of [
    [2n ** 32n + 1n, 5n, []],
    [5n, 2n ** 32n + 1n, ['LSM_TABLE_ORDER']],
  ] as const) {
    const first = { ...lsmEntry('a', 7), sequence: before };
    const table = buildTable([[first], [{ ...first, sequence: after, value: giant }], [lsmEntry('b', 1)]]);
    await expectSame('lsm', 'sst/1.sst', table, [...codes]);
  }
  const far = encodeInternalKey(Buffer.alloc(300_000, 'm'), 5n, 1);
  for (const isBelow of [false, true]) {
    const blocks = [[leveldbEntry('a', 9)], [leveldbEntry(isBelow ? 'c' : 'n', 8)], [leveldbEntry('x', 3)]];
    const indexKey = (index: number) => (index === 0 ? far : blocks[index]!.at(-1)!.key);
    const path = '000005.ldb';
    const table = craftTable({ blocks, indexKey });
    const found = await check('leveldb', path, table);
    expect(found).toEqual(await byScript('leveldb', path, table));
    const { order } = (found.facts as { content: { order: { code: string }[] } }).content;
    expect(order.some(({ code }) => code === 'LEVELDB_TABLE_INDEX')).toBe(isBelow);
  }
});

test('each of several checks in one thread has its own scanner, or none', async () => {
  const random = seeded(3);
  const below: Below = (limit) => Math.floor(random() * limit);
  const tables = Array.from({ length: 40 }, (_, i) => {
    const engine = i % 2 === 0 ? ('lsm' as const) : ('leveldb' as const);
    const { make, path } = TABLES[engine];
    return { engine, path, bytes: make(below, i % 5 !== 0) };
  });
  const alone: FileCheck[] = [];
  for (const { engine, path, bytes } of tables) alone.push(await check(engine, path, bytes));
  const made = vi.spyOn(Scanner, 'create');
  const together = await Promise.all(
    tables.map(({ engine, path, bytes }) => {
      const file = new MemoryFile(bytes);
      const request = { path, level: 'full', live: false } as const;
      const slowly: OpenFile = Object.assign(Object.create(file), {
        async read(target: Uint8Array, position: number) {
          await new Promise((next) => setImmediate(next));
          return file.read(target.subarray(0, 1 + below(2000)), position);
        },
      });
      return engineByName(engine).checkFile(slowly, request, new RunControl());
    }),
  );
  expect(together).toEqual(alone);
  expect(made.mock.calls.length).toBeGreaterThan(0);
  expect(made.mock.calls.length).toBeLessThan(5);
  made.mockRestore();
});

test('a scanner that cannot be made is tried once', async () => {
  vi.resetModules();
  const { engineByName: engineAnew } = await import('../../src/engine/index.ts');
  const tries = vi.fn(function Memory(_size: { initial: number }) {
    throw new RangeError('could not allocate memory');
  });
  vi.stubGlobal('WebAssembly', { ...WebAssembly, Module: WebAssembly.Module, Memory: tries });
  try {
    const table = buildTable([[lsmEntry('a', 1)]]);
    for (let i = 0; i < 3; i++) {
      const request = { path: 'sst/1.sst', level: 'full', live: false } as const;
      const found = await engineAnew('lsm').checkFile(new MemoryFile(table), request, new RunControl());
      expect(found.findings).toEqual([]);
    }
  } finally {
    vi.unstubAllGlobals();
  }
  // Buffers, which are plain ones then, are not counted.
  const ofScanner = tries.mock.calls.filter(([{ initial }]) => initial !== BUFFER_BYTES / (64 * 1024));
  expect(ofScanner).toHaveLength(1);
});

const scanners = { lsm: LsmScanner, leveldb: LeveldbScanner };

const ROUNDS = perTier(60, 150);

test.each(['lsm', 'leveldb'] as const)(
  'scanner and JavaScript agree on every table of %s',
  async (engine) => {
    const byScript = await scriptCheck();
    const { path, make, fix } = TABLES[engine];
    const random = seeded(20261121);
    const below = (limit: number): number => Math.floor(random() * limit);
    let bad = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const table = make(below, true);
      const passes = vi.spyOn(scanners[engine].prototype, 'pass');
      const looks = vi.spyOn(scanners[engine].prototype, 'entriesOf');
      const honest = await check(engine, path, table);
      expect(honest.findings, `round ${round}`).toEqual([]);
      const [passed] = await Promise.all(passes.mock.results.map((result) => result.value));
      expect(passed, `round ${round}: nothing that is good is looked at twice`).toMatchObject({
        blocks: honest.counts.blocks,
        isEnd: true,
      });
      expect(looks).not.toHaveBeenCalled();
      vi.restoreAllMocks();
      expect(honest).toEqual(await byScript(engine, path, table));
      for (let craft = 0; craft < 8; craft++) {
        const dishonest = make(below, false);
        const found = await check(engine, path, dishonest);
        expect(found, `round ${round}, craft ${craft}`).toEqual(await byScript(engine, path, dishonest));
        if (found.findings.length > 0) bad++;
      }
      const other = make(below, true);
      for (let change = 0; change < 12; change++) {
        const damaged = mutate(table, below, { words: NUMBERS, other, maxBytes: 200_000 });
        fix(damaged); // or the checksums alone would tell
        const found = await check(engine, path, damaged);
        expect(found, `round ${round}, change ${change}`).toEqual(await byScript(engine, path, damaged));
        if (found.findings.length > 0) bad++;
      }
    }
    expect(bad).toBeGreaterThan(8 * ROUNDS);
  },
);
