import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

// Another database on the same disk: it appends, makes that durable, and waits a little, until it is told to end. Prints how long
// each append took, in milliseconds.

const path = process.argv[2]!;
const RECORD = Buffer.alloc(4096, 'n');
const PAUSE_MS = 2;

const file = openSync(path, 'w');
const durations: number[] = [];
const timer = setInterval(() => {
  const began = performance.now();
  writeSync(file, RECORD);
  fdatasyncSync(file);
  durations.push(performance.now() - began);
  if (durations.length === 1) process.stdout.write('begun\n');
}, PAUSE_MS);

process.stdin.resume().on('end', () => {
  clearInterval(timer);
  closeSync(file);
  rmSync(path);
  process.stdout.write(`${JSON.stringify(durations)}\n`);
});
