// Writes the description of each option into the type declarations in dist, where an editor shows it. The descriptions stand in
// the schemas, which type declarations cannot see. Part of `npm run build`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { aboutOf, OptionSet } = await import(pathToFileURL('dist/options/option.js').href);
const { describe } = await import(pathToFileURL('dist/options/describe.js').href);

let described = 0;
for (const name of readdirSync('dist', { recursive: true })) {
  if (!name.endsWith('.d.ts')) continue;
  const text = readFileSync(`dist/${name}`, 'utf8');
  if (!/^export declare const \w+: OptionSet<\{$/m.test(text)) continue;
  const sets = await import(pathToFileURL(`dist/${name.replace(/\.d\.ts$/, '.js')}`).href);
  let fields;
  const lines = text.split('\n').flatMap((line) => {
    const [, declared] = /^export declare const (\w+): OptionSet<\{$/.exec(line) ?? [];
    if (declared !== undefined)
      fields = sets[declared] instanceof OptionSet ? sets[declared].fields : undefined;
    if (line.startsWith('}')) fields = undefined;
    const [, option] = /^ {4}(\w+): /.exec(line) ?? [];
    if (fields?.[option] === undefined) return [line];
    described++;
    return [`    /** ${describe(aboutOf(fields[option])).replaceAll('*/', '*\\/')} */`, line];
  });
  writeFileSync(`dist/${name}`, lines.join('\n'));
}
if (described === 0) throw new Error('no option was described: have the declarations changed their form?');
