import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem, type } from 'node:os';

const MEMORY_FILE_SYSTEMS = ['tmpfs', 'ramfs'];

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memory_bytes: number;
  readonly system: string;
  readonly file_system: string;
  readonly node: string;
  /** Null: not installed. */
  readonly tools: Readonly<Record<string, string | null>>;
}

export function describeMachine(dir: string, tools: Machine['tools']): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memory_bytes: totalmem(),
    system: `${type()} ${release()}`,
    // For ext the name alone is told by `df`, the family by `stat`.
    file_system: execFileSync('df', ['--output=fstype', dir]).toString().trim().split('\n').at(-1)!,
    node: process.version,
    tools,
  };
}

/** There a copy is durable at no cost, and no figure means anything. */
export const isInMemory = ({ file_system }: Machine): boolean => MEMORY_FILE_SYSTEMS.includes(file_system);
