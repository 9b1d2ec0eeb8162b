import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const PROJECT = resolve(import.meta.dirname, '../..');

/** Processes that many tests start. */
const PROCESSES = [
  'fleet-controller',
  'fleet-node',
  'host-process',
  'job-holder',
  'lsm-writer',
  'postgres-holder',
  'schedule-service',
  'steps-controller',
];

/** Packages that cannot be bundled, or that only few of these processes load. */
const NOT_BUNDLED = [
  '@aws-sdk/client-s3',
  '@dbos-inc/dbos-sdk',
  '@node-rs/crc32',
  'classic-level',
  'fs-native-extensions',
  'pg',
  'piscina',
  'snappy',
];

/** Bundled CommonJS packages call `require`, which a module does not have. */
const REQUIRE = `--banner:js=import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);`;

/**
 * Compiles `src`, `test/support` and `test/fuzz` into a new folder: a package called `stillpoint`, whose processes start without a loader.
 * The command and the code of threads are bundled as in the package. What many tests start, and the entries that their scripts import,
 * are bundled with their dependencies: that halves the time of a start.
 */
export function compileInto(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const compiler = join(PROJECT, 'node_modules/typescript/bin/tsc');
  execFileSync(
    process.execPath,
    [compiler, '-p', join(PROJECT, 'test/support/build.tsconfig.json'), '--outDir', folder],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const bundle = (script: string, outdir: string, ...more: string[]) => {
    const args = ['run', '--silent', script, '--', `--outdir=${join(folder, outdir)}`, ...more];
    execFileSync('npm', args, { cwd: PROJECT, stdio: ['ignore', 'inherit', 'inherit'] });
  };
  bundle('bundle:console', 'src/console');
  bundle('bundle:worker', 'src/snapshot/tasks');
  bundle('bundle:command', 'src');
  const { exports } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
  const entries = entriesOf(exports);
  const processes = PROCESSES.map((name) => `test/support/${name}=test/support/${name}.ts`);
  const places = ['--splitting', `--chunk-names=${BESIDE_THREADS}/process-[name]-[hash]`];
  const external = NOT_BUNDLED.map((name) => `--external:${name}`);
  const sources = entries.map(({ bundled, source }) => `${bundled}=${source}.ts`);
  bundle('bundle', '', REQUIRE, ...external, ...places, ...processes, ...sources);
  symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
  const inBuild = entries.map(({ name, bundled }) => [name, `./${bundled}.js`]);
  const description = {
    name: 'stillpoint',
    type: 'module',
    exports: { ...Object.fromEntries(inBuild), './package.json': './package.json' },
  };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(description));
}

/** The code finds that of its threads from there. */
const BESIDE_THREADS = 'src/snapshot';

/** The entries of the package that are code, each with its source and the file that it is bundled into here. */
function entriesOf(exports: Record<string, string | { default: string }>) {
  return Object.entries(exports).flatMap(([name, entry]) => {
    if (typeof entry === 'string') return [];
    const source = entry.default.replace('./dist/', 'src/').replace(/\.js$/, '');
    return [{ name, source, bundled: `${BESIDE_THREADS}/entry-${source.replaceAll('/', '-')}` }];
  });
}

let build = process.env.STILLPOINT_BUILD;

/** The compiled file of a source such as `src/cli/main.ts`. The test runner compiles once for all; a program of its own does so here. */
export function compiled(source: string): string {
  if (build === undefined) {
    const folder = mkdtempSync(join(tmpdir(), 'stillpoint-build-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    compileInto(folder);
    build = folder;
  }
  return join(build, source.replace(/\.ts$/, '.js'));
}
