import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { startProcess } from './command.ts';

/** `stillpoint console` as a process of its own. */
export async function startConsole(args: readonly string[]) {
  const child = startProcess(['console', ...args, '--json']);
  onTestFinished(() => void child.kill('SIGKILL'));
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const [line] = await Promise.race([
    once(createInterface(child.stdout!), 'line'),
    once(child, 'close').then(() => [stderr]),
  ]);
  const { url, key } = JSON.parse(line);
  return {
    url: url as string,
    key: key as string,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await once(child, 'close');
      return { code, stderr };
    },
  };
}
