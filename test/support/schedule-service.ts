import { systemClock } from '../../src/env/clock.ts';
import { runSchedules } from '../../src/schedule/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';

// A service of its own process: `<settings file> <time at which its clock begins>`. Prints a line for each run.
const [file = '', began = ''] = process.argv.slice(2);
const shift = Number(began) - Date.now();
const environment = { ...systemEnvironment, clock: { ...systemClock, nowMs: () => Date.now() + shift } };
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
await runSchedules(file, {
  environment,
  signal: stop.signal,
  onRun: ({ schedule, dueMs, status, error }) => {
    console.log(JSON.stringify({ id: schedule.id, due: new Date(dueMs).toISOString(), status, error }));
  },
});
console.log('ended');
