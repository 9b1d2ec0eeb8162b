import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

const PROJECT = resolve(import.meta.dirname, '../..');
const MODULES = join(PROJECT, 'node_modules');
const NEEDED = ['package.json', 'tsconfig.json', 'README.md', 'LICENSE', 'src', '.ci'];

/** Whether `dist` was built, to its last step, from the sources as they are now, as it is after `npm ci`. */
function isBuilt(): boolean {
  const builtMs = statSync(join(PROJECT, 'dist/stillpoint.1'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const times = NEEDED.flatMap((name) => {
    const path = join(PROJECT, name);
    const below = statSync(path).isDirectory() ? readdirSync(path, { recursive: true }) : [];
    return [path, ...below.map((entry) => join(path, String(entry)))].map((at) => statSync(at).mtimeMs);
  });
  return Math.max(...times) < builtMs;
}

/**
 * Packs the present sources, built anew unless `dist` is of them, and installs the tarball as a user would, into
 * `project/node_modules`. What it depends on comes from this checkout, so that no network is needed; `others` are packages that the
 * user's project has besides.
 */
export function installPacked(folder: string, project: string, others: readonly string[]): void {
  const env = { ...process.env, npm_config_update_notifier: 'false' };
  const pack = (cwd: string, ...more: string[]) =>
    execFileSync('npm', ['pack', '--silent', '--pack-destination', folder, ...more], {
      cwd,
      env,
      stdio: 'pipe',
    });
  if (isBuilt()) pack(PROJECT, '--ignore-scripts');
  else {
    const checkout = join(folder, 'checkout');
    mkdirSync(checkout);
    for (const name of NEEDED) cpSync(join(PROJECT, name), join(checkout, name), { recursive: true });
    symlinkSync(MODULES, join(checkout, 'node_modules'));
    pack(checkout);
  }
  const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))!;
  const installed = join(project, 'node_modules/stillpoint');
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(folder, tarball), '-C', installed, '--strip-components=1']);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  for (const name of [...Object.keys(dependencies), ...others]) {
    const place = join(project, 'node_modules', name);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(join(MODULES, name), place);
  }
}
