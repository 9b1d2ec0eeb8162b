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
  'schedule-service',
  'steps-controller',
];

/**
 * Compiles `src`, `test/support` and `test/fuzz` into a new folder: a package called `stillpoint`, whose processes start without a loader.
 * The command, the code of threads and what many tests start are bundled as in the package: that halves the time of a start.
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
  const processes = PROCESSES.map((name) => `test/support/${name}=test/support/${name}.ts`);
  // The code finds that of its threads from there.
  const places = ['--splitting', '--chunk-names=src/snapshot/process-[name]-[hash]'];
  bundle('bundle', '', '--packages=external', ...places, ...processes);
  symlinkSync(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
  const { exports } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
  const description = { name: 'stillpoint', type: 'module', exports: inBuild(exports) };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(description));
}

/** The entries of the package, each in the file that it is compiled to here. */
function inBuild(exports: Record<string, string | { default: string }>): Record<string, string> {
  const file = (entry: string | { default: string }) => (typeof entry === 'string' ? entry : entry.default);
  const entries = Object.entries(exports).map(([name, entry]) => [
    name,
    file(entry).replace('./dist/', './src/'),
  ]);
  return Object.fromEntries(entries);
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
