import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

const PROJECT = resolve(import.meta.dirname, '../..');
const MODULES = join(PROJECT, 'node_modules');
const NEEDED = ['package.json', 'tsconfig.json', 'README.md', 'LICENSE', 'src', '.ci'];

/**
 * Builds and packs the present sources and installs the tarball as a user would, into `project/node_modules`. What it depends on
 * comes from this checkout, so that no network is needed; `others` are packages that the user's project has besides.
 */
export function installPacked(folder: string, project: string, others: readonly string[]): void {
  const checkout = join(folder, 'checkout');
  mkdirSync(checkout);
  for (const name of NEEDED) cpSync(join(PROJECT, name), join(checkout, name), { recursive: true });
  symlinkSync(MODULES, join(checkout, 'node_modules'));
  const env = { ...process.env, npm_config_update_notifier: 'false' };
  execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], {
    cwd: checkout,
    env,
    stdio: 'pipe',
  });
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
