import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { FLOWS, killAgainAndAgain } from '../test/support/killing.ts';
import { torture } from '../test/support/torture.ts';

// Processes killed by SIGKILL, again and again: a host of each engine amid every flow (`test/support/killing.ts` says what is
// checked each time), and the server over HTTP at random moments (`test/support/torture.ts`).

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const kills = Number(values.kills);
const seed = Number(values.seed);
const root = await mkdtemp(join(values.dir, 'stillpoint-torture-'));
const serverKills = Math.ceil(kills / 10);
const hostKills = Math.ceil((kills - serverKills) / 2);

const tell = (what: string) => (summary: { kills: number; acknowledged: number }) => {
  if (summary.kills % 10 === 0)
    process.stderr.write(`${what}: ${summary.kills} kills, ${summary.acknowledged} writes\n`);
};

const host = (engine: 'lsm' | 'leveldb') =>
  killAgainAndAgain({ root: join(root, engine), engine, kills: hostKills, seed, onKill: tell(engine) });
const [lsm, leveldb] = await Promise.all([host('lsm'), host('leveldb')]);
const server = await torture({
  root: join(root, 'server'),
  command: [process.execPath, resolve(import.meta.dirname, '../dist/cli/main.js')],
  kills: serverKills,
  longestMs: 4_000,
  seed,
  onKill: tell('server'),
});
await rm(root, { recursive: true });

if (values.json) {
  console.log(JSON.stringify({ seed, lsm, leveldb, server }));
} else {
  console.log(`seed ${seed}: no promise broken`);
  const { deaths: inLsm, ...lsmCounts } = lsm;
  const { deaths: inLeveldb, ...leveldbCounts } = leveldb;
  console.table({ lsm: lsmCounts, leveldb: leveldbCounts });
  console.table({ server });
  // Where death came: the flow, and the phase that had been told last; `after` the flow, or `begin` where there are no phases.
  const places = [...new Set([...Object.keys(inLsm), ...Object.keys(inLeveldb)])];
  const order = FLOWS.map(({ name }) => name);
  places.sort((a, b) => order.indexOf(a.split(' ')[0]!) - order.indexOf(b.split(' ')[0]!));
  console.table(
    Object.fromEntries(
      places.map((place) => [place, { lsm: inLsm[place] ?? 0, leveldb: inLeveldb[place] ?? 0 }]),
    ),
  );
}
