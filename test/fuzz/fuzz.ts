import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { compiled } from '../support/build.ts';
import { keepDefect, readCorpus, writeCorpus } from './corpus.ts';
import { fuzzTarget } from './fuzz-target.ts';
import { TARGETS } from './targets.ts';

const HELP = `Looks for inputs that a decoder does not survive, guided by what of its code they reach.

  npm run fuzz -- --seconds 600 --only manifest --save

  --seconds N   in all, shared equally among the decoders (default 340)
  --only TEXT   only decoders whose name contains it
  --seed N      for the same inputs again (default: another one each time)
  --save        keep the smallest inputs that reach new code in fixtures/corpus

Inputs that show a defect are kept there in any case, and run in every npm test. Exit code 1 if there is one.`;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '340' },
    only: { type: 'string', default: '' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    save: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const targets = TARGETS.filter(({ name }) => name.includes(values.only));
const seconds = Number(values.seconds) / targets.length;
const seed = Number(values.seed);
if (!(seconds > 0) || !Number.isInteger(seed)) {
  console.error(`no decoder is called that, or --seconds or --seed is no number\n\n${HELP}`);
  process.exit(2);
}
const row = (...cells: (string | number)[]): void =>
  console.log(
    cells.map((cell, i) => (i === 0 ? String(cell).padEnd(24) : String(cell).padStart(11))).join(' '),
  );

console.log(`seed ${seed}, ${seconds.toFixed(1)} s each`);
row('decoder', 'executions', 'functions', '% of these', 'inputs', 'slowest ms', 'defects');
let executions = 0;
let defects = 0;
for (const { name } of targets) {
  const outcome = await fuzzTarget({
    module: pathToFileURL(compiled('test/fuzz/targets.ts')).href,
    target: name,
    watched: '/src/',
    seconds,
    seed,
    corpus: readCorpus(name).map(({ input }) => input),
  });
  executions += outcome.executions;
  defects += outcome.defects.length;
  row(
    name,
    outcome.executions,
    outcome.functions,
    outcome.percent.toFixed(1),
    outcome.inputs,
    outcome.slowestMs.toFixed(1),
    outcome.defects.length,
  );
  for (const { message, stack, input } of outcome.defects) {
    console.log(
      `  ${message}\n  ${stack.split('\n').slice(1, 6).join('\n  ')}\n  kept as ${keepDefect(name, input)}`,
    );
  }
  if (values.save && outcome.kept.length > 0) writeCorpus(name, outcome.kept);
}
console.log(`${executions} executions, ${defects} defects`);
process.exitCode = defects > 0 ? 1 : 0;
