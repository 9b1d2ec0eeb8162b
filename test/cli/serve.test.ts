import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { leveldbBackend } from '../../src/server/index.ts';
import { startProcess, stillpoint, stillpointProcess } from '../support/command.ts';
import { temporaryFolder } from '../support/temp.ts';

/** Starts a server and waits until it says where it is. */
async function startServing(data: string, env: Readonly<Record<string, string>> = {}) {
  const child = startProcess(['serve', data, '--port', '0', '--json'], env);
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const lines = createInterface(child.stdout!);
  const [line] = await Promise.race([once(lines, 'line'), once(child, 'close')]);
  if (typeof line !== 'string') throw new Error(`no server: ${stderr}`);
  const closed = once(child, 'close');
  return {
    document: JSON.parse(line),
    async stop(signal: NodeJS.Signals) {
      child.kill(signal);
      const [code] = await closed;
      return { code, stderr };
    },
  };
}

describe('serve', () => {
  it('serves a database that the other commands can snapshot but not replace, until SIGTERM', async () => {
    const data = join(await temporaryFolder(), 'data');
    const server = await startServing(data, { STILLPOINT_API_KEY: 'of the test' });
    const { url, port, pid } = server.document;
    expect(server.document).toEqual({
      url: `http://127.0.0.1:${port}`,
      port,
      data_dir: data,
      engine: 'lsm',
      pid,
    });
    const headers = { 'x-api-key': 'of the test' };
    expect((await fetch(`${url}/kv/k`, { method: 'PUT', body: 'v' })).status).toBe(401);
    expect((await fetch(`${url}/kv/k`, { method: 'PUT', body: 'v', headers })).ok).toBe(true);

    const taken = await stillpoint(['snapshot', data, '--json']);
    expect(taken).toMatchObject({ code: 0, json: { engine: 'lsm', report: { counts: { wal_entries: 1 } } } });
    const [second, replaced] = await Promise.all([
      stillpoint(['serve', data, '--port', '0', '--json']),
      stillpoint(['restore', 'latest', '--data-dir', data, '--in-place', '--json']),
    ]);
    expect(second).toMatchObject({
      code: 4,
      json: { error: { code: 'CONFLICT', hint: expect.stringContaining('has the database open') } },
    });
    expect(replaced).toMatchObject({ code: 4, json: { error: { code: 'CONFLICT' } } });
    expect(await (await fetch(`${url}/kv/k`, { headers })).text()).toBe('v');

    const { code, stderr } = await server.stop('SIGTERM');
    expect(code).toBe(0);
    expect(stderr).not.toContain('of the test');
    const restored = await stillpoint(['restore', 'latest', '--data-dir', data, '--in-place', '--json']);
    expect(restored).toMatchObject({ code: 0, json: { into: data } });
  });

  it('recognizes a LevelDB, and creates nothing in a folder with foreign files', async () => {
    const root = await temporaryFolder();
    const [data, letters] = [join(root, 'data'), join(root, 'letters')];
    await (await leveldbBackend().open(data)).close();
    await mkdir(letters);
    await writeFile(join(letters, 'letter.txt'), 'no database');
    const [server, asLsm, among] = await Promise.all([
      startServing(data),
      stillpoint(['serve', data, '--engine', 'lsm', '--port', '0', '--json']),
      stillpoint(['serve', letters, '--port', '0', '--json']),
    ]);
    expect(server.document.engine).toBe('leveldb');
    for (const refused of [asLsm, among]) {
      expect(refused).toMatchObject({ code: 2, json: { error: { code: 'ENGINE_MISMATCH' } } });
    }
    expect(asLsm.json.error.hint).toContain('`--engine leveldb`');
    expect(asLsm.json.error.hint).toContain('`backend: leveldbBackend()`');
    expect(await readdir(letters)).toEqual(['letter.txt']);
    expect(await readdir(data)).not.toContain('lsm.wal');
    expect((await server.stop('SIGTERM')).code).toBe(0);
  });

  it('ends with 130 when interrupted, and refuses to be reached from outside without a key', async () => {
    const data = join(await temporaryFolder(), 'data');
    const [interrupted, open, empty] = await Promise.all([
      startServing(data).then((server) => server.stop('SIGINT')),
      stillpoint(['serve', join(data, '../other'), '--host', '0.0.0.0', '--json']),
      stillpointProcess(['serve', data, '--json'], { STILLPOINT_API_KEY: '' }),
    ]);
    expect(interrupted.code).toBe(130);
    for (const { code, json } of [open, empty]) {
      expect(code).toBe(2);
      expect(json.error.code).toBe('INVALID_REQUEST');
    }
  });
});
