import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { satisfies } from 'semver';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const json = (name: string) => JSON.parse(readFileSync(join(root, name), 'utf8'));

interface Locked {
  readonly dev?: true;
  readonly optional?: true;
  readonly peer?: true;
  readonly engines?: { readonly node?: string };
}

test('every dependency admits the oldest supported Node.js', () => {
  const { engines } = json('package.json');
  const oldest = `${engines.node.replace('>=', '')}.0`;
  const packages: Record<string, Locked> = json('package-lock.json').packages;
  const refused = Object.entries(packages).filter(
    ([name, { dev, optional, peer, engines }]) =>
      name !== '' && !dev && !optional && !peer && !satisfies(oldest, engines?.node ?? '*'),
  );
  expect(refused.map(([name]) => name)).toEqual([]);
});

test('package.json has no overrides: they work in this checkout only, not where the package is installed', () => {
  expect(json('package.json').overrides).toBeUndefined();
});

test('what README.md links to is in the package', () => {
  const listed = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, npm_config_update_notifier: 'false' },
  });
  const packed = JSON.parse(listed)[0].files.map(({ path }: { path: string }) => path);
  const links = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/\]\(([^)#]+)/g)];
  const local = links.map(([, target]) => target!).filter((target) => !/^https?:/.test(target));
  expect(local).toContain('src/snapshot/way-of-a-snapshot.svg');
  expect(packed).toContain('src/guides/disk-full.md'); // hints name these pages
  for (const target of local) expect(packed).toContain(target);
});
