import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import * as z from 'zod';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { AUDITED_ROUTES } from '../../src/server/audit.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { type Injected, injected, untilFinished } from '../support/server.ts';
import { ended, withPlans } from '../support/server-plans.ts';
import { temporaryFolder } from '../support/temp.ts';

const REDOCLY = fileURLToPath(new URL('../../node_modules/@redocly/cli/bin/cli.js', import.meta.url));

interface Operation {
  readonly summary?: string;
  readonly description?: string;
  readonly operationId?: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly requestBody?: { readonly required?: boolean };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { schema: object }>> }>
  >;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: object };
}

const documentOf = async ({ rpc }: Injected): Promise<Document> =>
  (await rpc('GET', '/api/admin/openapi.json')).json;

/** What the router itself has, as `METHOD /path`. */
function routesOf({ app }: Injected): string[] {
  const routes: string[] = [];
  const path: string[] = [];
  for (const line of app.printRoutes({ commonPrefix: false }).split('\n')) {
    const match = /^([│ ]*)[├└]── (\S*) \(([A-Z, ]+)\)/.exec(line);
    if (match === null) continue;
    const [, indent = '', part = '', methods = ''] = match;
    path.length = indent.length / 4;
    path.push(part);
    for (const method of methods.split(', ')) routes.push(`${method} ${path.join('')}`);
  }
  return routes.sort();
}

const operationsOf = ({ paths }: Document): string[] =>
  Object.entries(paths)
    .flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
    )
    .sort();

test('the document names every route that there is, and no other', async () => {
  const server = await injected();
  const document = await documentOf(server);
  expect(document.openapi).toBe('3.1.0');
  const ofThePage = ['GET /', 'GET /console/main.css', 'GET /console/main.js'];
  expect([...operationsOf(document), ...ofThePage].sort()).toEqual(routesOf(server));
  expect(operationsOf(document)).toHaveLength(50);
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, { summary, description }] of Object.entries(operations)) {
      expect(summary, `${method} ${path}`).toBeTruthy();
      expect(description, `${method} ${path}`).toBeTruthy();
    }
  }
  const ids = Object.values(document.paths).flatMap((operations) =>
    Object.values(operations).map(({ operationId }) => operationId),
  );
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(
    expect.arrayContaining(['postBackup', 'getBackupByIdEvents', 'getKvByKey', 'postKvBatch']),
  );
});

test('the linter of OpenAPI has nothing to say about it', async () => {
  const document = join(await temporaryFolder(), 'openapi.json');
  const lint = () =>
    execFileSync(process.execPath, [REDOCLY, 'lint', document, '--format', 'json'], {
      encoding: 'utf8',
      stdio: 'pipe',
      env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' },
    });
  const described = await documentOf(await injected());
  writeFileSync(document, JSON.stringify(described));
  expect(JSON.parse(lint()).totals).toMatchObject({ errors: 0, warnings: 0 });
  writeFileSync(document, JSON.stringify({ ...described, info: undefined })); // so it can tell
  expect(lint).toThrow();
});

test('every admin route that changes something has a name in the audit', async () => {
  const changing = routesOf(await injected()).filter((route) =>
    /^(POST|PUT|DELETE) \/api\/admin\//.test(route),
  );
  // A proof changes nothing, and a part that arrives is one of thousands.
  const isAudited = (route: string) => !/\/verify$|\/prove$|\/files\/:path$/.test(route);
  expect(changing.filter(isAudited).sort()).toEqual(Object.keys(AUDITED_ROUTES).sort());
});

test('bodies that may be left out are not required, and no schema is named without use', async () => {
  const { paths, components } = await documentOf(await injected());
  expect(paths['/api/admin/backup']!.post!.requestBody!.required).toBe(false);
  expect(paths['/api/admin/lifecycle']!.post!.requestBody!.required).toBe(true);
  expect(Object.keys(components.schemas)).toEqual(
    expect.arrayContaining(['Error', 'OperationState', 'Report']),
  );
  for (const name of Object.keys(components.schemas)) {
    expect(JSON.stringify([paths, components])).toContain(`"#/components/schemas/${name}"`);
  }
});

test('what the server answers is what the document says, route by route', async () => {
  const server = await injected(await withPlans());
  const document = await documentOf(server);
  const backupSchema = schemaOf({ $ref: '#/components/schemas/Backup' }, document);
  expect(backupSchema.safeParse({ handle: 'x' }).success).toBe(false); // so it can tell
  const checked = new Set<string>();

  /** Sends a request, holds the reply against the document, and returns it. */
  const call = async (
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    params = {},
    body?: unknown,
  ) => {
    const url = Object.entries(params).reduce(
      (text, [name, value]) => text.replace(`{${name}}`, String(value)),
      path,
    );
    const { status, json, headers } = await server.rpc(method, url, body);
    const operation = document.paths[path]![method.toLowerCase()]!;
    const response = operation.responses[status] ?? operation.responses[`${String(status)[0]}XX`];
    expect(response, `${method} ${path} → ${status}`).toBeDefined();
    const type = String(headers['content-type']).split(';')[0]!;
    const media = response!.content?.[type];
    expect(media, `${method} ${path} → ${status} ${type}`).toBeDefined();
    if (json !== undefined) {
      const problems = schemaOf(media!.schema, document).safeParse(json).error?.issues;
      expect(problems, `${method} ${path} → ${status} ${JSON.stringify(json)}`).toBeUndefined();
    }
    if (status === 200) checked.add(`${method} ${path}`);
    return { status, json };
  };
  const backup = async () => {
    const { handle } = (await call('POST', '/api/admin/backup')).json;
    return untilFinished(async () => (await call('GET', '/api/admin/backup/{id}', { id: handle })).json);
  };
  const restore = async (path: string) => {
    const { handle } = (await call('POST', path)).json;
    await call('GET', '/api/admin/restore/{id}/events', { id: handle });
    return untilFinished(async () => (await call('GET', '/api/admin/restore/{id}', { id: handle })).json);
  };

  await call('GET', '/api/admin/status');
  await call('PUT', '/kv/{key}', { key: 'a' }, 'value');
  await call('GET', '/kv/{key}', { key: 'a' });
  await call('GET', '/kv/{key}', { key: 'none' });
  await call('POST', '/kv/_batch', {}, { ops: [{ op: 'put', key: 'b', value: '2' }] });
  await call('POST', '/kv/_batch', {}, { ops: 'none' });
  await call('GET', '/kv');
  await call('DELETE', '/kv/{key}', { key: 'b' });
  const first = await backup();
  await backup();
  await call('POST', '/api/admin/backup', {}, { keep: -1 });
  await call('GET', '/api/admin/backup/{id}/events', { id: first.handle });
  await call('POST', '/api/admin/backup/{id}/verify', { id: first.handle });
  await call('DELETE', '/api/admin/backup/{id}', { id: first.handle });
  await call('GET', '/api/admin/backup/{id}', { id: 'no handle' });
  await call('GET', '/api/admin/backups');
  await call('GET', '/api/admin/runs');
  await call('POST', '/api/admin/verify');
  await call('POST', '/api/admin/prune', {}, { keep: 1, dry_run: true });
  await call('POST', '/api/admin/prune', {}, { keep: 0 });
  const name = first.location.split('/').at(-1);
  await call('GET', '/api/admin/identity');
  await call('GET', '/api/admin/backups/{name}/manifest', { name });
  await call('GET', '/api/admin/backups/{name}/files/{path}', { name, path: 'checkpoint.meta' });
  await call('GET', '/api/admin/backups/{name}/files/{path}', { name, path: 'none' });
  await call('POST', '/api/admin/backups/{name}/verify', { name }, { level: 'files' });
  await call('POST', '/api/admin/backups/{name}/pin', { name }, { run: 'r', ttl_ms: 0 });
  const push = { key: 'k', repository: 'offsite' };
  const pushed = (await call('POST', '/api/admin/backups/{name}/push', { name }, push)).json;
  await ended(server, pushed.job.id);
  await call('POST', '/api/admin/backups/{name}/push', { name }, push);
  await call('POST', '/api/admin/backups/{name}/push', { name }, { key: 'k', repository: 'none' });
  const { epoch } = (await call('POST', '/api/admin/quiesce', {}, { run: 'r', ttl_ms: 60_000 })).json;
  await call('PUT', '/kv/{key}', { key: 'a' }, 'value');
  await call('POST', '/api/admin/resume', {}, { run: 'r', epoch });
  await call('POST', '/api/admin/resume', {}, { run: 'r', epoch: '0'.repeat(32) });
  const ofRun = { run: 'r', path: 'snapshot.manifest' };
  await call('POST', '/api/admin/incoming/{run}/prove', ofRun, {});
  await call('PUT', '/api/admin/incoming/{run}/files/{path}', ofRun, '{}');
  await call('PUT', '/api/admin/incoming/{run}/files/{path}', { ...ofRun, path: '..%2Fa' }, '{}');
  await call('GET', '/api/admin/incoming/{run}/files/{path}', ofRun);
  await call('POST', '/api/admin/incoming/{run}/prove', ofRun, {});
  await call('DELETE', '/api/admin/incoming/{run}', ofRun);
  await call('POST', '/api/admin/hold', {}, { run: 'r' });
  await call('GET', '/api/admin/status');
  await call('POST', '/api/admin/hold', {}, { run: 'another' });
  await call('POST', '/api/admin/release', {}, { run: 'r' });
  await restore('/api/admin/restore');
  await restore('/api/admin/restore/undo');
  await call('POST', '/api/admin/prune/undo', {}, { keep: 0, dry_run: true });
  await call('POST', '/api/admin/prune/undo', {}, { keep: -1 });
  await call('DELETE', '/api/admin/backups/{name}', { name: first.location.split('/').at(-1) });
  await call('DELETE', '/api/admin/backups/{name}', { name: 'latest' });
  await call('POST', '/api/admin/lifecycle', {}, { action: 'archive' });
  await call('POST', '/api/admin/lifecycle', {}, { action: 'none' });
  await call('POST', '/api/admin/lifecycle', {}, {});
  await call('POST', '/api/admin/export');
  await call('POST', '/api/admin/compaction');
  for (const name of ['status', 'health', 'metrics', 'capabilities', 'openapi.json']) {
    await call('GET', `/api/admin/${name}`);
  }
  const job = (await call('POST', '/api/admin/plans/{name}/run', { name: 'nightly' })).json;
  await call('POST', '/api/admin/plans/{name}/run', { name: 'none' });
  await call('GET', '/api/admin/plans');
  await ended(server, job.id);
  await call('GET', '/api/admin/jobs/{id}', { id: job.id });
  await call('GET', '/api/admin/jobs/{id}', { id: 'none' });
  await call('GET', '/api/admin/jobs');
  await call('GET', '/api/admin/records');
  await call('GET', '/api/admin/repositories');
  await call('GET', '/api/admin/repositories/{name}/backups', { name: 'offsite' });
  await call('DELETE', '/api/admin/jobs/{id}', { id: job.id });
  const jobs = await openSqliteJobStore(systemEnvironment, layoutOf(server.dataDir));
  const running = { ...(await jobs.getJob(job.id))!, id: newUlid(Date.now()), status: 'running' as const };
  await jobs.createBackupJob(running);
  await call('DELETE', '/api/admin/jobs/{id}', { id: running.id });
  await jobs.close();
  const all = operationsOf(document).map((route) => route.replace(/:(\w+)/g, '{$1}'));
  expect([...checked].sort()).toEqual(all.sort());
});

/** A schema of the document with the named ones beside it, and closed: a field that it does not name is a mistake. */
function schemaOf(schema: object, document: Document): z.ZodType {
  const text = JSON.stringify({ ...schema, $defs: document.components.schemas });
  return z.fromJSONSchema(JSON.parse(text.replaceAll('#/components/schemas/', '#/$defs/')));
}
