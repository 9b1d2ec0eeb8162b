import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { COMMAND, stillpoint } from '../support/command.ts';
import { describeWithRight } from '../support/needs.ts';
import { hasS3, newS3Place } from '../support/s3.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

interface Server {
  readonly url: string;
  readonly child: ChildProcess;
}

async function startServer(dir: string, engine: string): Promise<Server> {
  const [node, ...rest] = COMMAND;
  const child = spawn(node, [...rest, 'serve', dir, '--engine', engine, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [line] = await once(child.stdout!, 'data');
  return { child, url: JSON.parse(String(line)).url };
}

/** Two writers, until the server is gone; each keeps what was acknowledged to it. They leave time to whoever backs up. */
function writeTo({ url }: Server): Map<string, string> {
  const acknowledged = new Map<string, string>();
  const write = async (writer: number) => {
    for (let n = 0; ; n++) {
      const [key, value] = [`order-${writer}-${n % 500}`, `${n} `.repeat(60)];
      const reply = await fetch(`${url}/kv/${key}`, { method: 'PUT', body: value }).catch(() => undefined);
      if (reply === undefined) return;
      await reply.arrayBuffer().catch(() => undefined);
      if (reply.ok) acknowledged.set(key, value);
      if (acknowledged.size >= 500) await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  for (let writer = 0; writer < 2; writer++) void write(writer);
  return acknowledged;
}

const numberOf = (value: string): number => Number(value.split(' ', 1)[0]);

/** The machine burns: from the repository and the key alone, every write that was acknowledged before the backup comes back. */
async function drill(engine: string, to: string): Promise<void> {
  const key = join(await temporaryFolder(), 'key');
  const [dir, fresh] = [join(await temporaryFolder(), 'machine'), join(await temporaryFolder(), 'new')];
  expect((await stillpoint(['repo', 'init', to, '--key-file', key])).code).toBe(0);
  if (engine === 'lsm') await makeSmallLsm(dir);
  const server = await startServer(dir, engine);
  const acknowledged = writeTo(server);
  while (acknowledged.size < 500) await new Promise((resolve) => setTimeout(resolve, 20));
  const backUp = ['backup', 'run', dir, '--to', to, '--key-file', key, '--json'];
  expect((await stillpoint(backUp)).json).toMatchObject({ state: 'succeeded' });
  const promised = new Map(acknowledged);
  const second = (await stillpoint(backUp)).json;
  expect(second).toMatchObject({ state: 'succeeded', report: { ok: true } });
  server.child.kill('SIGKILL');
  await once(server.child, 'exit');
  rmSync(dir, { recursive: true });

  const restored = await stillpoint([
    'backup',
    'restore',
    'latest',
    '--from',
    to,
    '--key-file',
    key,
    '--into',
    fresh,
    '--json',
  ]);
  expect(restored.json).toMatchObject({ backup_id: second.backup_id });
  const again = await startServer(fresh, engine);
  const lost: string[] = [];
  for (const [name, value] of promised) {
    const reply = await fetch(`${again.url}/kv/${name}`);
    // A later write of the same key may be in the backup, an earlier one must not.
    if (!reply.ok || numberOf(await reply.text()) < numberOf(value)) lost.push(name);
  }
  expect(lost).toEqual([]);
}

// Where there is a bucket, that drill is enough for the quick tier.
test.each(perTier(hasS3 ? [] : ['leveldb'], ['lsm', 'leveldb']))(
  'a machine that burns comes back from a folder and a key: %s',
  async (engine) => {
    await drill(engine, join(await temporaryFolder(), 'repository'));
  },
);

describeWithRight('an S3 server (S3_ENDPOINT)', hasS3, 'with a bucket', () => {
  test.each(perTier(['lsm'], ['lsm', 'leveldb']))(
    'a machine that burns comes back from the bucket and a key: %s',
    async (engine) => {
      await drill(engine, await newS3Place());
    },
  );
});
