import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { startProcess, stillpoint } from '../support/command.ts';
import { entriesBelow } from '../support/folders.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// The API key is in no output, no file and no list of processes, whatever goes wrong.

const KEY = 'marked-key-of-the-test';
const WRONG = 'marked-and-wrong';
const MARK = 'marked-';

test.each(['argument', 'file', 'environment'])('a key given by %s shows up nowhere else', async (way) => {
  const root = await temporaryFolder();
  const data = join(root, 'data');
  await makeSmallLsm(data); // every byte of its files is read below
  writeFileSync(join(root, 'key'), `${KEY}\n`, { mode: 0o600 });
  const given = {
    argument: ['--api-key', KEY],
    file: ['--api-key-file', join(root, 'key')],
    environment: [],
  };
  const env = way === 'environment' ? { STILLPOINT_API_KEY: KEY } : {};
  const child = startProcess(['serve', data, '--port', '0', ...given[way as keyof typeof given]], env);
  const errors = text(child.stderr!);
  const lines: string[] = [];
  const output = createInterface(child.stdout!).on('line', (line) => lines.push(line));
  const [line] = await once(output, 'line');
  const url = /http:\S+/.exec(line)![0];
  // The list of processes is Linux's; its environment is for the same user and root alone.
  if (process.platform === 'linux')
    expect(readFileSync(`/proc/${child.pid}/cmdline`, 'utf8')).not.toContain(MARK);

  const ask = (method: string, path: string, headers: Record<string, string>, body?: string) =>
    fetch(`${url}${path}`, { method, headers, ...(body !== undefined && { body }) });
  const replies: string[] = [];
  for (const headers of [
    { 'x-api-key': WRONG },
    { authorization: `Bearer ${WRONG}` },
    { authorization: WRONG },
  ]) {
    for (const [method, path] of [
      ['GET', '/kv/a'],
      ['POST', '/api/admin/backup'],
      ['GET', '/none'],
    ] as const) {
      const reply = await ask(method, path, headers as Record<string, string>);
      expect(reply.status).toBe(401);
      replies.push(await reply.text(), JSON.stringify([...reply.headers]));
    }
  }
  const good = { 'x-api-key': KEY };
  for (const [method, path, body] of [
    ['PUT', '/kv/a', 'b'],
    ['POST', '/kv/_batch', '{broken'],
    ['GET', '/none', undefined],
    ['PATCH', '/kv/a', ''],
    ['POST', '/api/admin/lifecycle', '{"action":"none"}'],
    ['POST', '/api/admin/restore', '{"source":"/etc"}'],
    ['GET', '/api/admin/status', undefined],
    ['GET', '/api/admin/openapi.json', undefined],
  ] as const) {
    const reply = await ask(method, path, good, body);
    replies.push(await reply.text(), JSON.stringify([...reply.headers]));
  }
  const port = Number(new URL(url).port);
  const broken = connect(port, '127.0.0.1', () => broken.write(`GET / HTTP/1.1\r\nx-api-key ${KEY}\r\n\r\n`));
  replies.push(await text(broken));
  expect((await ask('POST', '/api/admin/backup', good)).status).toBe(200);
  const second = await stillpoint(['serve', data, '--port', '0', '--api-key', KEY, '--json']);
  expect(second.code).toBe(4);
  replies.push(second.stdout, second.stderr);

  child.kill('SIGTERM');
  await once(child, 'close');
  const everything = [...replies, ...lines, await errors];
  expect(everything.join('\n')).toContain('"authenticate"'); // the audit is among them
  for (const one of everything) expect(one).not.toContain(MARK);
  for (const entry of entriesBelow(data)) {
    if (!entry.isFile()) continue;
    expect(readFileSync(join(entry.parentPath, entry.name)).includes(MARK), entry.name).toBe(false);
  }
});

test('a key file must hold one line, and goes with no other key', async () => {
  const root = await temporaryFolder();
  writeFileSync(join(root, 'two'), `${KEY}\n${KEY}\n`);
  writeFileSync(join(root, 'none'), '\n');
  const serve = (...args: string[]) =>
    stillpoint(['serve', join(root, 'data'), '--port', '0', '--json', ...args]);
  for (const name of ['two', 'none', 'missing']) {
    const { code, stdout, stderr } = await serve('--api-key-file', join(root, name));
    expect(code, name).not.toBe(0);
    expect(stdout + stderr).not.toContain(MARK);
  }
  expect((await serve('--api-key-file', join(root, 'two'), '--api-key', KEY)).code).toBe(2);
  expect((await serve('--tls-key', join(root, 'two'))).code).toBe(2);
});
