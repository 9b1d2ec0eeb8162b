import { mkdirSync, mkdtempSync, statfsSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { defineConfig, type Plugin } from 'vitest/config';

const project = resolve(import.meta.dirname, '..');
const source = join(project, 'src/');

const NEEDED_BYTES = 2 * 1024 * 1024 * 1024;

/** In memory, where there is enough: most tests are not about the disk, and a sync of a real one takes milliseconds. */
function folderOfThisRun(): string {
  const memory = '/dev/shm';
  try {
    const { bavail, bsize } = statfsSync(memory);
    if (bavail * bsize >= NEEDED_BYTES) return mkdtempSync(join(memory, 'stillpoint-run-'));
  } catch {
    // this system has none
  }
  return mkdtempSync(join(tmpdir(), 'stillpoint-run-'));
}

// Workers and their child processes inherit these. The runner reads this file once for each of its projects.
if (process.env.STILLPOINT_RUN === undefined) {
  process.env.STILLPOINT_RUN = folderOfThisRun();
  process.env.STILLPOINT_BUILD = join(process.env.STILLPOINT_RUN, 'build');
  process.env.STILLPOINT_DISK = tmpdir();
  process.env.TMPDIR = join(process.env.STILLPOINT_RUN, 'tmp');
  mkdirSync(process.env.TMPDIR);
}

/** The product finds the code of its threads from `import.meta.url`; there is JavaScript in the build, which needs no loader. */
const threadsFromBuild: Plugin = {
  name: 'stillpoint:threads-from-build',
  enforce: 'pre',
  transform(code, id) {
    if (!id.startsWith(source) || !code.includes('import.meta.url')) return undefined;
    const file = join(process.env.STILLPOINT_BUILD!, relative(project, id).replace(/\.ts$/, '.js'));
    return { code: code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(file).href)), map: null };
  },
};

/**
 * The sources as they were compiled for threads and child processes: Node loads them itself, which takes a third less time in
 * each of the many processes than if the runner did. It cannot load them anew, or with something else in the place of a module.
 */
const sourcesFromBuild: Plugin = {
  name: 'stillpoint:sources-from-build',
  enforce: 'pre',
  resolveId(specifier, importer) {
    if (importer === undefined || !specifier.startsWith('.') || !specifier.endsWith('.ts')) return undefined;
    const file = resolve(dirname(importer), specifier);
    if (!file.startsWith(source)) return undefined;
    return join(process.env.STILLPOINT_BUILD!, relative(project, file).replace(/\.ts$/, '.js'));
  },
};

/** Files that leave no trace in their process: several share one, and load the code under test once. */
const PURE = [
  'test/*.test.ts',
  'test/{bench,format,options}/**/*.test.ts',
  'test/engine/{checksums,scanner,leveldb-*,lsm-*}.test.ts',
];

/** Files that load modules anew, or replace some. */
const REPLACING = [
  'test/backup/nonces.test.ts',
  'test/engine/{foreign-engine,table-windows}.test.ts',
  'test/env/worker-pool.test.ts',
];

/** Files that have a process each, because they take long or watch the process itself. They start first. */
const ALONE = [
  'test/{console,crash,fuzz,package,security,torture}/**/*.test.ts',
  'test/fleet/processes.test.ts',
];

const compiledSources = { extends: true as const, plugins: [sourcesFromBuild] };
const external = { deps: { external: [/\/build\/src\/.*\.js$/] } };

export default defineConfig(({ mode }) => {
  // The runner reads this file again for its projects, in another mode.
  const isLong = mode === 'long' || process.env.STILLPOINT_LONG === '1';
  if (isLong) process.env.STILLPOINT_LONG = '1';
  // Generous limits, so that a slow machine never decides a test.
  const timeoutMs = (isLong ? 60 : 2) * 60 * 1000;
  return {
    test: {
      projects: [
        {
          extends: true as const,
          plugins: [threadsFromBuild],
          test: { name: 'pure', include: PURE, isolate: false },
        },
        {
          extends: true as const,
          plugins: [threadsFromBuild],
          test: { name: 'replacing', include: REPLACING },
        },
        {
          ...compiledSources,
          test: { name: 'alone', include: ALONE, server: external },
        },
        {
          // To load the sources and their packages takes a second or two: the files of a worker share its process.
          ...compiledSources,
          test: {
            name: 'system',
            include: ['test/**/*.test.ts'],
            exclude: [...PURE, ...REPLACING, ...ALONE],
            isolate: false,
            server: external,
          },
        },
      ],
      globalSetup: ['test/support/global-setup.ts'],
      testTimeout: timeoutMs,
      hookTimeout: timeoutMs,
      reporters: ['default', join(import.meta.dirname, 'support/skipped-reporter.ts')],
      pool: 'forks',
      // One more than processors: many tests wait for a lease, a server or another process.
      maxWorkers: Math.max(2, availableParallelism() + 1),
    },
  };
});
