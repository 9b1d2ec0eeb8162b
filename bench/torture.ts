import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { torture } from '../test/support/torture.ts';

// The server killed at random moments, again and again; see `test/support/torture.ts` for what is checked each time.

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const root = await mkdtemp(join(values.dir, 'stillpoint-torture-'));
const seed = Number(values.seed);
const summary = await torture({
  root,
  command: [process.execPath, resolve(import.meta.dirname, '../dist/cli/main.js')],
  kills: Number(values.kills),
  longestMs: 4_000,
  seed,
  onKill: ({ kills, acknowledged, snapshots, restores }) => {
    if (kills % 10 === 0) {
      process.stderr.write(
        `${kills} kills: ${acknowledged} writes, ${snapshots} snapshots, ${restores} restores\n`,
      );
    }
  },
});
await rm(root, { recursive: true });
if (values.json) console.log(JSON.stringify({ seed, ...summary }));
else console.table({ seed, ...summary });
