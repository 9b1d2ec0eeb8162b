/**
 * A process that ties three databases and a plain file of one folder together: it writes each number to `z-log` (lsm), then to `m-main`, then to
 * `a-index` (LevelDB), each only after the one before is acknowledged. Asked to, it replaces `settings.json` between two numbers.
 *
 * Messages: `settings` (answered with the number), `pause` (answered with the number), `go`, `stop`.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { pause } from '../../src/env/clock.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { keyOf, PARTS, SETTINGS } from './tied-parts.ts';

const dir = process.argv[2]!;
const small = { writeBufferSize: 64 * 1024, maxFileSize: 256 * 1024 };
for (const part of PARTS) mkdirSync(join(dir, part), { recursive: true });
const [index, main] = [PARTS[0], PARTS[1]].map((part) => new ClassicLevel(join(dir, part), small));
const log = await openLsm(join(dir, PARTS[2]));
await Promise.all([index!.open(), main!.open()]);

let n = 0;
let isPaused = false;
let isStopped = false;
let wantsSettings = false;
let goOn = () => {};

function writeSettings(): void {
  writeFileSync(join(dir, `${SETTINGS}.new`), JSON.stringify({ n }));
  renameSync(join(dir, `${SETTINGS}.new`), join(dir, SETTINGS));
  process.send!(n);
}

process.on('message', (message) => {
  if (message === 'settings') wantsSettings = true;
  if (message === 'pause') isPaused = true;
  if (message === 'stop') isStopped = true;
  if (message === 'go' || message === 'stop') {
    isPaused = false;
    goOn();
  }
});
process.on('disconnect', () => process.exit(0));

writeSettings();
while (!isStopped) {
  n++;
  const value = `${n} ${'x'.repeat(n % 300)}`;
  await log.put(Buffer.from(keyOf(n)), Buffer.from(value));
  await main!.put(keyOf(n), value);
  await index!.put(keyOf(n), value);
  if (wantsSettings) {
    wantsSettings = false;
    writeSettings();
  }
  if (isPaused) {
    process.send!(n);
    await new Promise<void>((resolve) => {
      goOn = resolve;
    });
  }
  if (n % 10 === 0) await pause(4); // the test is not about speed
}
await Promise.all([index!.close(), main!.close(), log.close()]);
process.disconnect();
