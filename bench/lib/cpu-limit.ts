import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PERIOD_US = 10_000;

/** A control group of Linux, whose processes together may use a part of one processor. */
export interface CpuLimit {
  add(pid: number): void;
  /** Once its processes have ended. */
  remove(): void;
}

/** @returns Undefined where this user may make no such group. */
export function cpuLimit(name: string, processors: number): CpuLimit | undefined {
  const quotaUs = Math.round(PERIOD_US * processors);
  for (const { mount, limits } of hierarchies(quotaUs)) {
    const folder = join(mount, `stillpoint-bench-${process.pid}-${name}`);
    try {
      mkdirSync(folder);
    } catch {
      continue;
    }
    try {
      for (const [file, text] of limits) writeFileSync(join(folder, file), text);
    } catch {
      rmdirSync(folder);
      continue;
    }
    return {
      add: (pid) => writeFileSync(join(folder, 'cgroup.procs'), String(pid)),
      remove: () => rmdirSync(folder),
    };
  }
  return undefined;
}

interface Hierarchy {
  readonly mount: string;
  readonly limits: readonly (readonly [file: string, text: string])[];
}

/** Where groups may be, of both versions, and what a limit is called there. */
function hierarchies(quotaUs: number): Hierarchy[] {
  const mounts = readFileSync('/proc/mounts', 'utf8').split('\n');
  return mounts.flatMap((line): Hierarchy[] => {
    const [, mount = '', type, options = ''] = line.split(' ');
    if (type === 'cgroup2') return [{ mount, limits: [['cpu.max', `${quotaUs} ${PERIOD_US}`]] }];
    if (type !== 'cgroup' || !options.split(',').includes('cpu')) return [];
    const limits = [
      ['cpu.cfs_period_us', String(PERIOD_US)],
      ['cpu.cfs_quota_us', String(quotaUs)],
    ] as const;
    return [{ mount, limits }];
  });
}
