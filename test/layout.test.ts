import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

// The layout rules, checked against the sources: which room may import which, and which may use the system.

const SRC = resolve(import.meta.dirname, '../src');
/** From the bottom up: a room imports only from those before it. */
const ROOMS = [
  'format',
  'engine',
  'lsm-database',
  'snapshot',
  'salvage',
  'operation',
  'coordinator',
  'rpc',
  'console',
  'destination',
  'repository',
  'backup',
  'schedule',
  'testing',
  'fleet',
  'server',
  'cli',
];
const MAX_LINES = 400;

const sources = readdirSync(SRC, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name) && !entry.name.endsWith('.d.ts'))
  .map((entry) => {
    const file = join(entry.parentPath, entry.name);
    const path = relative(SRC, file).replaceAll('\\', '/');
    return {
      file,
      path,
      room: path.includes('/') ? path.split('/')[0]! : '',
      text: readFileSync(file, 'utf8'),
    };
  });

function importsOf({
  file,
  text,
}: (typeof sources)[number]): { specifier: string; room: string | undefined }[] {
  const specifiers = [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!);
  return specifiers.map((specifier) => {
    if (!specifier.startsWith('.')) return { specifier, room: undefined };
    const target = relative(SRC, resolve(file, '..', specifier)).replaceAll('\\', '/');
    return { specifier, room: target.includes('/') ? target.split('/')[0]! : target };
  });
}

function offenders(find: (source: (typeof sources)[number]) => (string | undefined)[]): string[] {
  return sources.flatMap((source) =>
    find(source)
      .filter((problem) => problem !== undefined)
      .map((problem) => `${source.path}: ${problem}`),
  );
}

test('there are sources in every room', () => {
  for (const room of [...ROOMS, 'env', 'options'])
    expect(
      sources.some((source) => source.room === room),
      room,
    ).toBe(true);
});

test('imports go down only', () => {
  const allowed = (from: string, to: string): boolean => {
    if (from === to || to === 'errors.ts') return true;
    if (from === 'env' || from === 'format') return false;
    if (from === 'options') return to === 'env';
    return to === 'env' || to === 'options' || ROOMS.indexOf(to) < ROOMS.indexOf(from);
  };
  const problems = offenders((source) => {
    if (source.path === 'errors.ts') return importsOf(source).map(({ specifier }) => `imports ${specifier}`);
    if (source.path === 'index.ts') return [];
    return importsOf(source).map(({ specifier, room }) =>
      room === undefined || allowed(source.room, room) ? undefined : `imports ${specifier}`,
    );
  });
  expect(problems).toEqual([]);
});

test('imports make no circle, neither between files nor between rooms', () => {
  const files = new Map(
    sources.map((source) => [
      source.path,
      importsOf(source)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .map(({ specifier }) => relative(SRC, resolve(source.file, '..', specifier)).replaceAll('\\', '/')),
    ]),
  );
  expect(circlesIn(files)).toEqual([]);
  const roomOf = (path: string) => (path.includes('/') ? path.split('/')[0]! : path);
  const rooms = new Map<string, string[]>();
  for (const [path, targets] of files) {
    const room = roomOf(path);
    const others = targets.map(roomOf).filter((target) => target !== room);
    rooms.set(room, [...(rooms.get(room) ?? []), ...others]);
  }
  expect(circlesIn(rooms)).toEqual([]);
});

test('a circle of imports is found', () => {
  const graph = new Map([
    ['a', ['b']],
    ['b', ['c']],
    ['c', ['b']],
  ]);
  expect(circlesIn(graph)).toEqual(['b -> c -> b']);
});

/** Each circle once, by a walk into the depth. */
function circlesIn(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const done = new Set<string>();
  const walk = (node: string, path: readonly string[]): void => {
    const at = path.indexOf(node);
    if (at >= 0) circles.push([...path.slice(at), node].join(' -> '));
    if (at >= 0 || done.has(node)) return;
    for (const next of graph.get(node) ?? []) walk(next, [...path, node]);
    done.add(node);
  };
  for (const node of graph.keys()) walk(node, []);
  return circles;
}

test('every local import names its file in full, but in AssemblyScript, which must not', () => {
  const problems = offenders((source) =>
    source.path.includes('/assembly/')
      ? []
      : importsOf(source).map(({ specifier }) =>
          specifier.startsWith('.') && !/\.(tsx?|css)$/.test(specifier) ? `imports ${specifier}` : undefined,
        ),
  );
  expect(problems).toEqual([]);
});

const WORLD = [
  { what: /from '(node:)?fs(\/promises)?'|from 'fs-extra'|from 'fs-native-extensions'/, except: ['env'] },
  {
    what: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bMath\.random\(|\brandomUUID\(/,
    except: ['env', 'console'], // the page runs in a browser
  },
  { what: /(?<![\w.])set(Timeout|Interval|Immediate)\(/, except: ['env', 'console'] },
  { what: /\bprocess\.(?!versions)/, except: ['env', 'cli'] },
  { what: /\bthrow new Error\(/, except: ['console'] },
  { what: /(?<![-/])\bconsole\.(?!css)/, except: [] },
];

test('only env touches disk, clock, chance and process', () => {
  const problems = offenders((source) =>
    WORLD.flatMap(({ what, except }) => {
      if (except.includes(source.room)) return [];
      const code = source.text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
      return what.exec(code)?.[0];
    }),
  );
  expect(problems).toEqual([]);
});

test('no time or number is formatted by a formatter that is made for it alone', () => {
  const problems = offenders(({ text }) => [/\.toLocale\w*\((?!\))/.exec(text)?.[0]]);
  expect(problems).toEqual([]);
});

test('no file is longer than 400 lines', () => {
  const problems = offenders(({ text }) => {
    const lines = text.split('\n').length - 1;
    return [lines > MAX_LINES ? `has ${lines} lines` : undefined];
  });
  expect(problems).toEqual([]);
});

test('no module has a name such as manager, helper or util', () => {
  const vague = /(^|[/-])(manager|helpers?|utils?|service|handler|common|misc)s?(\.ts$|\/|-)/;
  expect(sources.map(({ path }) => path).filter((path) => vague.test(path))).toEqual([]);
});

test('src/README.md lists every folder, and no other', () => {
  const folders = readdirSync(SRC, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `${relative(SRC, join(entry.parentPath, entry.name)).replaceAll('\\', '/')}/`);
  const [list] = readFileSync(join(SRC, 'README.md'), 'utf8').split('## Where');
  const listed = [...list!.matchAll(/^\| `([^`]+\/)` /gm)].map((match) => match[1]!);
  expect(listed.sort()).toEqual(folders.sort());
});

test('src/README.md names only files that exist', () => {
  const [, index] = readFileSync(join(SRC, 'README.md'), 'utf8').split('## Where');
  const named = [...index!.matchAll(/`([\w/.-]+\.ts)`/g)].map((match) => match[1]!);
  const paths = new Set(sources.map(({ path }) => path));
  expect(named.filter((path) => !paths.has(path))).toEqual([]);
  expect(named.length).toBeGreaterThan(10);
});
