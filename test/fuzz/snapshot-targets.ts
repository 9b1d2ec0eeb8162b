import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { RESTORE_JOURNAL } from '../../src/engine/unfinished-restore.ts';
import { StillpointError } from '../../src/errors.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { RunRecords } from '../../src/operation/records.ts';
import {
  backupBodySchema,
  lifecycleBodySchema,
  restoreBodySchema,
  verifyBodySchema,
} from '../../src/server/admin/schemas.ts';
import {
  decodeText,
  keyBehind,
  keyOfParam,
  percentDecode,
  percentEncode,
  routeUrl,
} from '../../src/server/kv/keys.ts';
import { batchBodySchema, listQuerySchema, splitQuery } from '../../src/server/kv/schemas.ts';
import { readReusable } from '../../src/snapshot/ledger/proven-files.ts';
import { DirectoryExchange } from '../../src/snapshot/restore/directory-exchange.ts';
import { countNames, measureJson } from '../../src/snapshot/store/json-shape.ts';
import { isSnapshotName, layoutOf, proofsFolder } from '../../src/snapshot/store/layout.ts';
import { latestName } from '../../src/snapshot/store/list.ts';
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  pathProblem,
} from '../../src/snapshot/store/manifest.ts';
import { sealed, textOf } from '../support/manifest-edits.ts';
import { diskWith } from './memory-folder.ts';
import { claim, Draw, type Target } from './target.ts';

const same = isDeepStrictEqual;
const layout = layoutOf('/data');

const MANIFEST: Manifest = {
  version: 1,
  entries: [
    { path: 'CURRENT', size: 16, crc32: 7, crc32c: 8, kind: 'bytes' },
    {
      path: 'sst/1.sst',
      size: 900,
      crc32: 1,
      crc32c: 2,
      kind: 'immutable',
      source: { ino: '5', mtime_ns: '-9' },
      proven_at_ms: 3,
    },
  ],
  snapshot: {
    id: 'an id',
    sequence: 2,
    created_at_ms: 5,
    engine: 'lsm',
    tool: 'stillpoint/0',
    checkpoint: { lsn: '9' },
    total_bytes: 916,
  },
};
const JSON_WORDS = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  '\\u0000',
  'null',
  'true',
  '-1',
  '1e999',
  '0.5',
  '{}',
  '[]',
  '""',
];
const PATH_WORDS = [
  '..',
  './',
  '/',
  '\\\\',
  '.lifecycle/',
  'snapshot.manifest',
  'C:',
  'İ',
  'ß',
  '\u{1f600}',
  '\ud800',
];

/** Refused in the declared way, which is a value of its own; all else is a defect. */
function orRefusal<T>(read: () => T, ...codes: string[]): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof StillpointError && codes.includes(error.code)) return undefined;
    throw error;
  }
}

function fixManifest(input: Buffer): void {
  const text = input.toString();
  const stored = /"manifest_crc32": (\d{1,10})/.exec(text)?.[1];
  if (stored === undefined) return;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return;
  }
  if (typeof json !== 'object' || json === null) return;
  const seal = String(sealed(json).manifest_crc32);
  // In place: only where the new one has as many digits.
  if (seal.length === stored.length) input.write(text.replace(`": ${stored}`, `": ${seal}`));
}

const manifest: Target = {
  name: 'manifest',
  seeds: () => [
    encodeManifest(MANIFEST),
    encodeManifest({ version: 1, entries: [] }),
    Buffer.from(textOf({ version: 1, entries: [{ path: 'a', size: 0, crc32: 0 }] })),
  ],
  words: [...JSON_WORDS, ...PATH_WORDS, '"version": 1', '"entries": ', '"path": ', '"__proto__": '],
  fix: fixManifest,
  run(input) {
    const decoded = orRefusal(() => decodeManifest(input, 'here'), 'MANIFEST_INVALID');
    if (decoded === undefined) return 'refused';
    const paths = decoded.entries.map(({ path }) => path);
    for (const path of paths) {
      claim(pathProblem(path) === undefined, 'every path is harmless');
      claim(join('/root', path).startsWith('/root/'), 'and leads into the folder');
    }
    claim(
      new Set(paths.map((path) => path.toLowerCase())).size === paths.length,
      'each path stands there once',
    );
    const { sealed: isSealed, rewritten, ...plain } = decoded;
    const again = decodeManifest(encodeManifest(plain), 'there');
    claim(again.sealed && !again.rewritten, 'what we write is sealed');
    claim(!isSealed || same(again.entries, decoded.entries), 'and says the same');
    if (isSealed && !rewritten) claim(same(again.snapshot, decoded.snapshot), 'of the snapshot too');
  },
};

const jsonShape: Target = {
  name: 'json-shape',
  seeds: () =>
    ['{"a":[1,{"b":"c,:{"}],"d":{}}', '[[[]]]', '"\\""', '{"a":1,"a":2}'].map((text) => Buffer.from(text)),
  words: JSON_WORDS,
  run(input) {
    const shape = measureJson(input);
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(input));
    } catch {
      return 'refused';
    }
    const measured = { depth: 0, containers: 0, values: 0, members: 0 };
    const walk = (item: unknown, depth: number): void => {
      measured.values++;
      if (typeof item !== 'object' || item === null) return;
      measured.containers++;
      measured.depth = Math.max(measured.depth, depth);
      const items = Object.values(item);
      if (!Array.isArray(item)) measured.members = Math.max(measured.members, items.length);
      for (const one of items) walk(one, depth + 1);
    };
    walk(value, 1);
    claim(shape.depth === measured.depth, 'the depth is that of the value');
    claim(shape.names >= countNames(value), 'no name is overlooked');
    // Of a name that stands twice the parser keeps one, with all that lies in it.
    if (shape.names === countNames(value))
      claim(shape.containers === measured.containers, 'nor object or array');
    claim(
      shape.containers >= measured.containers && shape.values + 1 >= measured.values,
      'values are bounded',
    );
    claim(shape.members >= measured.members, 'members are bounded');
  },
};

const sumOf = (all: object): number => crc32(Buffer.from(JSON.stringify(all)));

const proofs: Target = {
  name: 'proofs',
  seeds: () => {
    const proof = {
      ino: '5',
      mtime_ns: '7',
      size: 900,
      crc32: 1,
      crc32c: 2,
      level: 'full',
      proven_at_ms: 5,
      counts: { entries: 5, wal_last_lsn: null },
      facts: { kind: 'table', id: '1', entries: '5' },
    };
    const files = { 'sst/1.sst': proof };
    return [Buffer.from(JSON.stringify({ files, crc32: sumOf({ files }) }))];
  },
  fix(input) {
    const text = input.toString();
    try {
      const { crc32: sum, ...all } = JSON.parse(text);
      const before = `"crc32":${sum}}`;
      const after = `"crc32":${sumOf(all)}}`;
      if (text.endsWith(before) && before.length === after.length)
        input.write(after, input.byteLength - after.length);
    } catch {
      // no JSON any more
    }
  },
  words: [...JSON_WORDS, '"open"', '"__proto__":'],
  async run(input) {
    const path = join(proofsFolder(layout.backup), 'ts-1.json');
    const found = await readReusable(diskWith(path, input), join(layout.backup, 'ts-1'), MANIFEST);
    claim(
      [...found.files.keys()].every((one) => one === 'sst/1.sst'),
      'only what the manifest calls immutable',
    );
    for (const file of found.files.values()) {
      claim(file.size === 900 && file.crc32 === 1 && file.crc32c === 2, 'and what has its checksums');
      claim(file.check('files', false) !== undefined, 'some level is proven');
    }
  },
};

const journal: Target = {
  name: 'restore-journal',
  seeds: () => [
    Buffer.from(
      JSON.stringify({
        id: 'one',
        phase: 'in',
        from: 'restore/one/new',
        undo: 'restore-backup/ts-5',
        keep: ['LOCK'],
      }),
    ),
  ],
  words: [...JSON_WORDS, '"out"', '"back-in"', '..', '../', '/', '\\\\', '.'],
  async run(input) {
    const path = join(layout.restore, 'one', RESTORE_JOURNAL);
    const swap = await DirectoryExchange.findInterrupted(diskWith(path, input), layout).catch((error) => {
      if (error instanceof StillpointError && error.code === 'IO_ERROR') return undefined;
      throw error;
    });
    if (swap === undefined) return 'refused';
    claim(swap.undoFolder.startsWith(`${layout.lifecycle}/`), 'the undo folder lies in the lifecycle folder');
    claim(!/[/\\]/.test(swap.id) && swap.id !== '..', 'the id is a name');
    for (const name of swap.keep) claim(!/[/\\]/.test(name), 'what stays is a name');
  },
};

const STATE = {
  status: 'completed',
  started_at_ms: 1,
  finished_at_ms: 2,
  progress: null,
  reason: null,
  code: null,
  hint: null,
  phase: null,
  files_processed: 1,
  files_total: 1,
};

const records: Target = {
  name: 'records',
  seeds: () => {
    const record = { id: 'a', kind: 'backup', location: '/data/x', state: STATE, metadata: null };
    const running = {
      ...record,
      state: { ...STATE, status: 'running', progress: { percent: 5, bytes_processed: 1, bytes_total: 9 } },
    };
    return [Buffer.from(`${JSON.stringify(running)}\n${JSON.stringify(record)}\n{"id":"b`)];
  },
  words: [...JSON_WORDS, '\n', '"queued"', '"failed"'],
  async run(input) {
    const all = await new RunRecords(diskWith(layout.records, input), layout).read();
    claim(new Set(all.map(({ id }) => id)).size === all.length, 'a run stands there once');
  },
};

const marker: Target = {
  name: 'latest-marker',
  seeds: () =>
    ['ts-1763625600\n', '/data/.lifecycle/backup/ts-5-2', '..\\ts-7\r\n', ''].map((text) =>
      Buffer.from(text),
    ),
  words: ['ts-', '/', '\\', '..', '\n', '\0', '-2'],
  maxBytes: 100,
  async run(input) {
    const name = await latestName(diskWith(layout.latest, input), layout.backup);
    if (name !== undefined) claim(isSnapshotName(name) && !name.includes('/'), 'it names a snapshot here');
  },
};

const BODIES = [backupBodySchema, verifyBodySchema, restoreBodySchema, lifecycleBodySchema, batchBodySchema];

const bodies: Target = {
  name: 'rpc-bodies',
  seeds: () =>
    [
      { mode: 'link', level: 'full', reuse: false, keep: 3 },
      { level: 'open' },
      { source: 'latest' },
      { action: 'archive' },
      {
        ops: [
          { op: 'put', key: 'a', value: 'b', encoding: 'base64' },
          { op: 'delete', key: 'c' },
        ],
      },
    ].map((body, turn) => Draw.with([turn], Buffer.from(JSON.stringify(body)))),
  words: JSON_WORDS,
  run(input) {
    const draw = new Draw(input);
    const schema = BODIES[draw.below(BODIES.length)]!;
    let json: unknown;
    try {
      json = JSON.parse(draw.rest().toString());
    } catch {
      return 'refused';
    }
    const parsed = schema.safeParse(json);
    if (parsed.success) claim(schema.safeParse(parsed.data).success, 'what was accepted is acceptable');
  },
};

const urls: Target = {
  name: 'kv-urls',
  seeds: () =>
    ['/kv/a%20b?x=1', '/kv/%ff/%00', '/kv?prefix=%61&limit=5&reverse', '/kv/_batch'].map((text) =>
      Buffer.from(text),
    ),
  words: ['%', '%2', '%ff', '%2f', '/kv/', '?', '&', '=', 'prefix=', '__proto__=', '+', '_batch'],
  run(input) {
    const url = input.toString('latin1');
    const routed = routeUrl('GET', url);
    const param = /^\/kv\/([^?/]*)/.exec(routed)?.[1];
    if (param !== undefined) orRefusal(() => keyOfParam(param), 'INVALID_REQUEST');
    claim(percentDecode(percentEncode(input))!.equals(input), 'any bytes can be a key');
    const behind = keyBehind(input);
    if (behind !== undefined)
      claim(
        behind.compare(input) > 0 && !behind.subarray(0, input.byteLength).equals(input),
        'behind all that begin with it',
      );
    listQuerySchema.safeParse(splitQuery(url.slice(url.indexOf('?') + 1)));
    orRefusal(() => decodeText('key', input.toString(), 'utf8'), 'INVALID_REQUEST');
    orRefusal(() => decodeText('key', url, 'base64'), 'INVALID_REQUEST');
  },
};

export const SNAPSHOT_TARGETS: readonly Target[] = [
  manifest,
  jsonShape,
  proofs,
  journal,
  records,
  marker,
  bodies,
  urls,
];
