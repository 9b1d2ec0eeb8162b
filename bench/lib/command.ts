import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Other programs: run, awaited, and ended with this one. */

const running = new Set<ChildProcess>();

export function stopCommands(): void {
  for (const { pid } of running) {
    try {
      process.kill(-pid!, 'SIGKILL'); // a shell with all that it started
    } catch {} // ended already
  }
}

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Lines for its standard input. */
  readonly input?: Iterable<string>;
}

/** Its standard output; rejects with what it said when it fails. */
export async function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const env = { ...process.env, ...options.env };
  const child = spawn(command, args, { env, stdio: 'pipe', detached: true });
  await once(child, 'spawn');
  running.add(child);
  const output: Buffer[] = [];
  const complaints: Buffer[] = [];
  child.stdout.on('data', (chunk) => output.push(chunk));
  child.stderr.on('data', (chunk) => complaints.push(chunk));
  child.stdin.on('error', () => undefined); // it ended early; its exit code tells
  const ended = once(child, 'close');
  try {
    for (const line of options.input ?? []) {
      if (child.exitCode !== null) break;
      if (!child.stdin.write(line)) await Promise.race([once(child.stdin, 'drain'), ended]);
    }
    child.stdin.end();
    const [code, signal] = await ended;
    if (code === 0) return Buffer.concat(output).toString();
    const said = Buffer.concat([...complaints, ...output]).toString();
    throw new Error(`${command} ${args.join(' ')} ended with ${code ?? signal}: ${said.slice(-2000).trim()}`);
  } finally {
    running.delete(child);
  }
}

export const shell = (script: string, env?: Readonly<Record<string, string>>): Promise<string> =>
  run('sh', ['-ec', script], { ...(env && { env }) });

/** A word of a shell script. */
export const quoted = (path: string): string => `'${path.replaceAll("'", "'\\''")}'`;

const VERSION_ARGS: Readonly<Record<string, readonly string[]>> = {
  cp: ['--version'],
  rsync: ['--version'],
  ldb: ['--version'],
  sst_dump: ['--version'],
  restic: ['version'],
  rclone: ['version'],
  chromium: ['--version'],
};

/** The peers, each with the first line that it says of its version; null when it is not installed. */
export function findTools(): Readonly<Record<string, string | null>> {
  const versionOf = (command: string, args: readonly string[]): string | null => {
    try {
      return execFileSync(command, args, { stdio: ['ignore', 'pipe', 'ignore'] })
        .toString()
        .split('\n')[0]!
        .trim();
    } catch {
      return null;
    }
  };
  return Object.fromEntries(
    Object.entries(VERSION_ARGS).map(([command, args]) => [command, versionOf(command, args)]),
  );
}
