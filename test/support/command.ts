import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';

const MAIN = resolve(import.meta.dirname, '../../src/cli/main.ts');

/** The command line that starts `stillpoint` from its source. */
export const COMMAND = [process.execPath, '--import', import.meta.resolve('tsx'), MAIN] as const;

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout, which must be exactly one JSON document on one line. */
  // biome-ignore lint/suspicious/noExplicitAny: each command has a document of its own
  readonly json: any;
}

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Starts the real command as a process of its own, killed at the latest when the test ends. */
export function startStillpoint(
  args: readonly string[],
  { env = {}, cwd }: CommandOptions = {},
): ChildProcess {
  const [node, ...rest] = [...COMMAND, ...args];
  // The runner's own settings for colours are not what is tested.
  const { NO_COLOR, FORCE_COLOR, STILLPOINT_API_KEY, ...inherited } = process.env;
  const child = spawn(node!, rest, { env: { ...inherited, ...env }, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** Runs the real command to its end. */
export async function stillpoint(args: readonly string[], options?: CommandOptions): Promise<Outcome> {
  return outcomeOf(startStillpoint(args, options));
}

export async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  const ended = new Promise<number | null>((done) => child.once('close', (code) => done(code)));
  const [stdout, stderr] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  const code = await ended;
  return {
    code,
    stdout,
    stderr,
    get json() {
      if (stdout.indexOf('\n') !== stdout.length - 1)
        throw new Error(`not one line on stdout: ${stdout}\n${stderr}`);
      return JSON.parse(stdout);
    },
  };
}
