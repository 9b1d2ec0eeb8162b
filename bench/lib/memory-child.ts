import { readFileSync, writeFileSync } from 'node:fs';
import { BackupCoordinator, type EngineName } from '../../src/index.ts';

// In a process of its own: what it occupies at most during one snapshot, above what it occupied before. Before means: the
// library is loaded and has done nothing, so that threads, their code and buffers all count. What the page cache keeps
// of the files is not part of it; the kernel does not count that as the process's.

const [dataDir, engine] = process.argv.slice(2) as [string, EngineName];

const status = (field: string): number => {
  const line = readFileSync('/proc/self/status', 'utf8')
    .split('\n')
    .find((candidate) => candidate.startsWith(`${field}:`));
  return Number.parseInt(line!.slice(field.length + 1), 10) * 1024;
};

writeFileSync('/proc/self/clear_refs', '5'); // the peak is counted from here on
const idle = status('VmRSS');
const { totalBytes, entries } = await new BackupCoordinator({ dataDir, engine }).backup();
process.stdout.write(JSON.stringify({ idle, peak: status('VmHWM'), totalBytes, entries }));
