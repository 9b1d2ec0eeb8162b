// Writes dist/THIRD-PARTY-LICENSES.txt: the licence of each package whose code esbuild has put into ours. Part of `npm run build`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

const read = (path) => readFileSync(path, 'utf8');

const names = readdirSync('dist', { recursive: true })
  .filter((name) => name.endsWith('.js'))
  // Where a file's code begins, esbuild names it in a comment.
  .flatMap((name) => [...read(`dist/${name}`).matchAll(/^\/\/ node_modules\/((?:@[^/]+\/)?[^/]+)\//gm)])
  .map(([, name]) => name);
const texts = [...new Set(names)].sort().map((name) => {
  const folder = `node_modules/${name}`;
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  return `${name}\n\n${read(`${folder}/${file}`)}`;
});
writeFileSync('dist/THIRD-PARTY-LICENSES.txt', texts.join('\n---\n\n'));
