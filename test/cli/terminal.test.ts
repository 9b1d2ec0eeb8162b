import { spawn } from 'node:child_process';
import { mkdir, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { interruptible } from '../../src/cli/interrupt.ts';
import { pause } from '../../src/env/clock.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { COMMAND, outcomeOf, startProcess } from '../support/command.ts';
import { needsPrograms } from '../support/needs.ts';
import { diskFolder } from '../support/temp.ts';

/** One file so large that no machine has read it before it is interrupted; it occupies nothing. */
async function folderThatTakesLong(sizeBytes: number): Promise<string> {
  const dir = join(await diskFolder(), 'data');
  await mkdir(dir);
  const file = await open(join(dir, 'large'), 'w');
  await file.truncate(sizeBytes);
  await file.close();
  return dir;
}

/** A snapshot is refused where there is no room for it. */
const freeBytes = () => nodeFileSystem.freeBytes(process.env.STILLPOINT_DISK!);

const LARGE = 256 * 1024 ** 3;

describe('an interrupted command', () => {
  it('cleans up, says so, and exits with 130', async () => {
    const data = await folderThatTakesLong(Math.min(LARGE, (await freeBytes()) / 2));
    const backup = join(data, '.lifecycle/backup');
    const child = startProcess(['snapshot', data, '--engine', 'files', '--json']);
    const ended = outcomeOf(child);
    const isCapturing = async () =>
      (await readdir(backup).catch(() => [])).some((name) => name.startsWith('.partial-'));
    while (!(await isCapturing())) {
      if (child.exitCode !== null) throw new Error(JSON.stringify(await ended));
      await pause(10);
    }
    child.kill('SIGINT');
    const { code, json, stderr } = await ended;
    expect(code).toBe(130);
    expect(json.error).toMatchObject({ code: 'CANCELLED' });
    expect(stderr).toMatch(/^cancelling … .*\nerror: cancelled on request\n {2}hint: .* {2}\(CANCELLED\)\n$/);
    expect(await readdir(backup)).toEqual(['records.jsonl']);
    const lines = (await readFile(join(backup, 'records.jsonl'), 'utf8')).trim().split('\n');
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ state: { status: 'cancelled' } });
  });

  it('is killed by the second signal', async () => {
    const listeners = () => ['SIGINT', 'SIGTERM', 'SIGHUP'].map((name) => process.listenerCount(name));
    const before = listeners();
    const heard: string[] = [];
    const reason = interruptible(
      (signal) =>
        new Promise((done) => signal.addEventListener('abort', () => done([signal.reason, listeners()]))),
      (name) => heard.push(name),
    );
    expect(listeners()).toEqual(before.map((count) => count + 1));
    process.emit('SIGTERM', 'SIGTERM');
    expect(await reason).toEqual(['SIGTERM', before]);
    expect(heard).toEqual(['SIGTERM']);
    await interruptible(async () => undefined, expect.fail);
    expect(listeners()).toEqual(before);
  });

  it('on a terminal shows how far it is, until Ctrl-C', async (context) => {
    needsPrograms(context, 'script');
    const data = await folderThatTakesLong(LARGE);
    const args = ['verify', data, '--engine', 'files', '--max-bytes-per-second', '100G'];
    const command = [...COMMAND, ...args].map((part) => `'${part}'`).join(' ');
    const { NO_COLOR, FORCE_COLOR, ...inherited } = process.env;
    const env = { ...inherited, TERM: 'xterm' };
    const terminal = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], { env });
    onTestFinished(() => void terminal.kill('SIGKILL'));
    let screen = '';
    let isInterrupted = false;
    for await (const chunk of terminal.stdout) {
      screen += chunk;
      if (isInterrupted || !screen.includes('% of 256 GiB')) continue;
      isInterrupted = true;
      terminal.stdin.write('\u0003');
    }
    if (terminal.exitCode === null) await new Promise((done) => terminal.once('exit', done));
    expect(screen).toMatch(/verify {3}\[[=-]{18}\] \d+% of 256 GiB, \d s left at 100 GiB\/s/);
    expect(screen).toContain('\u001b[31m'); // `error:` in red
    expect(screen).toContain('(CANCELLED)');
    // A second Ctrl-C could come now: no bar is on the screen any more.
    expect(screen).toContain('cancelling …');
    expect(screen.slice(screen.indexOf('cancelling …'))).not.toContain('% of');
    expect(terminal.exitCode).toBe(130);
  });
});
