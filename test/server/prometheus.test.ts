import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { dashboardFile } from '../../src/server/monitoring/dashboard.ts';
import { Definitions } from '../../src/server/monitoring/definitions.ts';
import { rulesFile } from '../../src/server/monitoring/rules.ts';
import { formatFor } from '../../src/server/prometheus.ts';
import { needsPrograms } from '../support/needs.ts';
import { rot } from '../support/rot.ts';
import { injected, listening, untilFinished } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

const TEXT = { accept: 'text/plain' };
const OPEN_METRICS = { accept: 'application/openmetrics-text; version=1.0.0' };

type Rpc = Awaited<ReturnType<typeof injected>>['rpc'];

async function takeSnapshot(rpc: Rpc): Promise<{ url: string; location: string }> {
  const { handle } = (await rpc('POST', '/api/admin/backup')).json;
  const url = `/api/admin/backup/${handle}`;
  const { location } = await untilFinished(async () => (await rpc('GET', url)).json);
  return { url, location };
}

/** The samples, by name and labels. */
async function samples(rpc: Rpc): Promise<Map<string, number>> {
  const text = (await rpc('GET', '/api/admin/metrics', undefined, TEXT)).bytes.toString();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.replace(/ \S+$/, ''), Number(/\S+$/.exec(line)![0])]));
}

test('the format is the one that the client prefers, and JSON for all others', () => {
  const prometheus2 =
    'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
  expect(formatFor(prometheus2)).toBe('openmetrics');
  expect(formatFor('text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.2')).toBe('prometheus');
  for (const accept of [
    undefined,
    '',
    '*/*',
    'application/json, text/plain;q=0.5',
    'constructor',
    'text/plain;q=x',
  ])
    expect(formatFor(accept), accept).toBeUndefined();
});

test('metrics tell of success, failure, damage and space', async () => {
  const { rpc } = await injected();
  const before = await samples(rpc);
  expect(before.get('stillpoint_safe')).toBe(0);
  expect(before.get('stillpoint_newest_good_snapshot_timestamp_seconds')).toBe(0);
  expect(before.get('stillpoint_runs_total{kind="backup",outcome="completed"}')).toBe(0);
  await rpc('PUT', '/kv/secret-name', '1');
  const { url, location } = await takeSnapshot(rpc);
  const taken = await samples(rpc);
  const nowSeconds = Date.now() / 1000;
  expect(taken.get('stillpoint_safe')).toBe(1);
  expect(taken.get('stillpoint_snapshots{state="good"}')).toBe(1);
  expect(taken.get('stillpoint_runs_total{kind="backup",outcome="completed"}')).toBe(1);
  expect(taken.get('stillpoint_run_duration_seconds_count{kind="backup"}')).toBe(1);
  expect(taken.get('stillpoint_run_read_bytes_total{kind="backup"}')).toBeGreaterThan(0);
  expect(taken.get('stillpoint_snapshots_disk_bytes')).toBeGreaterThan(0);
  for (const name of [
    'newest_good_snapshot_timestamp_seconds',
    'last_verified_timestamp_seconds',
    'last_success_timestamp_seconds{kind="backup"}',
  ])
    expect(Math.abs(taken.get(`stillpoint_${name}`)! - nowSeconds), name).toBeLessThan(60);
  expect([...taken.keys()].join()).not.toContain('secret-name');
  rot(join(location, 'lsm.wal'), 100);
  expect((await rpc('POST', `${url}/verify`)).json.ok).toBe(false);
  const damaged = await samples(rpc);
  expect(damaged.get('stillpoint_snapshots{state="damaged"}')).toBe(1);
  expect(damaged.get('stillpoint_safe')).toBe(0);
});

test('promtool finds nothing to complain about in the metrics', async (context) => {
  needsPrograms(context, 'promtool');
  const { rpc } = await injected();
  await rpc('PUT', '/kv/a', '1');
  await takeSnapshot(rpc);
  await rpc('GET', '/nowhere');
  const { bytes } = await rpc('GET', '/api/admin/metrics', undefined, TEXT);
  expect(
    execFileSync('promtool', ['check', 'metrics'], { input: bytes, encoding: 'utf8', stdio: 'pipe' }),
  ).toBe('');
  const open = await rpc('GET', '/api/admin/metrics', undefined, OPEN_METRICS);
  expect(open.headers['content-type']).toMatch(/^application\/openmetrics-text/);
  expect(open.bytes.toString()).toMatch(/# EOF\n$/);
});

test('the dashboard and the rules name only metrics that a server has, in expressions that Prometheus reads', async (context) => {
  needsPrograms(context, 'promtool');
  const metrics = await Definitions.read();
  const { rpc } = await injected();
  const scraped = (await rpc('GET', '/api/admin/metrics', undefined, TEXT)).bytes.toString();
  const known = new Map(
    [...scraped.matchAll(/^# TYPE (\w+) (\w+)$/gm)].map(([, name, type]) => [name, type]),
  );
  const dashboard = JSON.parse(dashboardFile(metrics));
  const expressions: string[] = dashboard.panels.flatMap(({ targets }: { targets: { expr: string }[] }) =>
    targets.map(({ expr }) => expr),
  );
  const named = [
    ...expressions.join(' ').matchAll(/stillpoint_\w+/g),
    ...rulesFile(metrics).matchAll(/stillpoint_\w+/g),
  ];
  for (const [name] of named) {
    const histogram = name.replace(/_bucket$/, '');
    expect(known.has(name) || known.get(histogram) === 'histogram', name).toBe(true);
  }
  expect(named.length).toBeGreaterThan(25);
  const titles = dashboard.panels.map(({ title }: { title: string }) => title);
  expect(titles).toEqual(
    expect.arrayContaining([
      'Last success',
      'Last proven',
      'Next due',
      'Recoverable window',
      'Time to restore',
    ]),
  );
  for (const { title, description, gridPos } of dashboard.panels) {
    expect(description, title).toMatch(/\.$/);
    expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
  }
  const records = expressions.map((expr, i) => {
    const plain = expr.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '5m');
    return `      - { record: 'of:${i}', expr: ${JSON.stringify(plain)} }`;
  });
  const file = join(await temporaryFolder(), 'dashboard.yml');
  writeFileSync(file, ['groups:', '  - name: dashboard', '    rules:', ...records, ''].join('\n'));
  const checked = execFileSync('promtool', ['check', 'rules', file], { encoding: 'utf8', stdio: 'pipe' });
  expect(checked).toContain(`SUCCESS: ${expressions.length} rules found`);
});

/** The YAML blocks of the page, as an operator would copy them. */
function blocksOf(page: string): string[] {
  const text = readFileSync(new URL(`../../src/server/${page}`, import.meta.url), 'utf8');
  return [...text.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, block]) => block!);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

test('a real Prometheus scrapes the server with the settings of the page, and its alerts fire', async (context) => {
  needsPrograms(context, 'promtool', 'prometheus');
  const apiKey = 'a-key-of-enough-length';
  const { server } = await listening({ apiKey });
  const dir = await temporaryFolder();
  const [scrape = ''] = blocksOf('README.md');
  const alerts = rulesFile(await Definitions.read());
  const rules = join(dir, 'alerts.yml');
  writeFileSync(rules, alerts.replaceAll(/for: \w+/g, 'for: 0s'));
  const checked = execFileSync('promtool', ['check', 'rules', rules], { encoding: 'utf8', stdio: 'pipe' });
  expect(checked).toContain('SUCCESS: 7 rules found');
  writeFileSync(join(dir, 'api-key'), apiKey);
  const settings = scrape
    .replace('/etc/stillpoint/api-key', join(dir, 'api-key'))
    .replace('127.0.0.1:4780', new URL(server.url).host);
  const file = join(dir, 'prometheus.yml');
  const often = 'global: { scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms }';
  writeFileSync(file, `${often}\nrule_files: [alerts.yml]\n${settings}`);

  const port = await freePort();
  const prometheus = spawn('prometheus', [
    `--config.file=${file}`,
    `--storage.tsdb.path=${join(dir, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  onTestFinished(async () => {
    const gone = once(prometheus, 'exit');
    prometheus.kill('SIGKILL');
    await gone;
  });
  const log: string[] = [];
  prometheus.stderr.on('data', (text) => log.push(String(text)));
  // biome-ignore lint/suspicious/noExplicitAny: answers of Prometheus
  const ask = async (path: string): Promise<any> =>
    (await fetch(`http://127.0.0.1:${port}/api/v1/${path}`)).json();
  const wait = { timeout: 60_000, interval: 200 };
  await vi.waitFor(async () => {
    const { data } = await ask('targets');
    expect(data.activeTargets, log.join('')).toMatchObject([{ health: 'up', lastError: '' }]);
  }, wait);
  const { data: types } = await ask('metadata?metric=stillpoint_runs');
  expect(types.stillpoint_runs, 'read as OpenMetrics').toMatchObject([{ type: 'counter' }]);
  await vi.waitFor(async () => {
    const { data } = await ask('alerts');
    const firing = data.alerts.map(({ labels }: { labels: { alertname: string } }) => labels.alertname);
    expect(firing).toContain('StillpointSnapshotTooOld'); // there is none at all
    expect(firing).not.toContain('StillpointDamage');
  }, wait);
});
