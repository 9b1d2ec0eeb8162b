import { type ChildProcess, spawn } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';
import { run } from '../../src/cli/program.ts';
import { compiled } from './build.ts';

/** The command line that starts `stillpoint`. */
export const COMMAND = [process.execPath, compiled('src/cli/main.ts')] as const;

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout, which must be exactly one JSON document on one line. */
  // biome-ignore lint/suspicious/noExplicitAny: each command has a document of its own
  readonly json: any;
}

type Environment = Readonly<Record<string, string>>;

/**
 * The whole command line without a process of its own, which takes most of the time of a short command.
 *
 * @param columns Of the terminal; without them the output goes to a file.
 */
export async function stillpoint(
  args: readonly string[],
  env: Environment = {},
  columns?: number,
): Promise<Outcome> {
  const stderr = new PassThrough();
  const stdout: PassThrough & { columns?: number } = new PassThrough();
  if (columns !== undefined) stdout.columns = columns;
  const texts = Promise.all([text(stdout), text(stderr)]);
  const code = await run(args, { stdout, stderr, env });
  stdout.end();
  stderr.end();
  return outcome(code, ...(await texts));
}

/** Starts the real command as a process of its own, killed at the latest when the test ends. */
export function startProcess(args: readonly string[], env: Environment = {}): ChildProcess {
  const [node, ...rest] = [...COMMAND, ...args];
  // The runner's own settings for colours are not what is tested.
  const { NO_COLOR, FORCE_COLOR, STILLPOINT_API_KEY, ...inherited } = process.env;
  const child = spawn(node!, rest, { env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** Runs the real command to its end. */
export async function stillpointProcess(args: readonly string[], env?: Environment): Promise<Outcome> {
  return outcomeOf(startProcess(args, env));
}

export async function outcomeOf(child: ChildProcess): Promise<Outcome> {
  const ended = new Promise<number | null>((done) => child.once('close', (code) => done(code)));
  const texts = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  return outcome(await ended, ...texts);
}

function outcome(code: number | null, stdout: string, stderr: string): Outcome {
  return {
    code,
    stdout,
    stderr,
    get json() {
      if (stdout.indexOf('\n') !== stdout.length - 1) throw new Error(`not one line: ${stdout}${stderr}`);
      return JSON.parse(stdout);
    },
  };
}
