import { spawn } from 'node:child_process';
import { StillpointError } from '../errors.ts';

const ERRORS_SHOWN = 300;

/**
 * Runs a program of the user to its end, without a shell, with a text on its standard input. What it prints is dropped. Rejects with
 * `HOOK_FAILED` when it cannot be started or does not exit with 0, and `HOOK_TIMEOUT` when the signal ends it.
 */
export async function runCommand(
  [program = '', ...args]: readonly string[],
  input: string,
  signal: AbortSignal,
): Promise<void> {
  // A group of its own, so that what it has started ends with it.
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'], detached: true });
  const endGroup = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // it has ended
    }
  };
  signal.addEventListener('abort', endGroup);
  if (signal.aborted) endGroup();
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors = (errors + text).slice(-ERRORS_SHOWN);
  });
  child.stdin.on('error', () => {}); // it may end without having read
  child.stdin.end(input);
  try {
    const ended = await new Promise<number | string>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, killedBy) => resolve(code ?? killedBy!));
    });
    if (signal.aborted) throw new StillpointError('HOOK_TIMEOUT', `${program} was ended: it took too long`);
    if (ended === 0) return;
    throw new StillpointError('HOOK_FAILED', `${program} ended with ${ended}: ${errors.trim()}`);
  } catch (cause) {
    if (cause instanceof StillpointError) throw cause;
    throw new StillpointError('HOOK_FAILED', `${program} cannot be started: ${(cause as Error).message}`, {
      cause,
    });
  } finally {
    signal.removeEventListener('abort', endGroup);
    child.stderr.destroy();
  }
}
