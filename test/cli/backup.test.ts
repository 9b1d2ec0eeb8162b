import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stillpoint, stillpointProcess } from '../support/command.ts';
import { plainDirectory, readTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test('what is printed to be pasted can be, and where nothing is to be replaced the way is told', async () => {
  const folder = await temporaryFolder();
  const dest = join(folder, 'my backups & more');
  const made = await stillpoint(['repo', 'init', dest]);
  expect(made.stdout).toContain(`--to '${dest}'`);
  const missing = await stillpoint([
    ...['backup', 'restore', 'latest', '--from', dest, '--in-place', join(folder, 'gone')],
  ]);
  expect(missing).toMatchObject({ code: 5, stderr: expect.stringContaining('--into') });
});

test('from the first backup to a restore on a new machine', async () => {
  const dest = join(await temporaryFolder(), 'backups');
  const dataDir = await plainDirectory();
  const before = readTree(dataDir);
  const made = await stillpoint(['repo', 'init', dest, '--json']);
  expect(made.json).toMatchObject({
    repository_id: expect.any(String),
    destination: `folder:${dest}`,
    stores: [],
  });
  expect((await stillpoint(['backup', 'list', '--from', dest, '--json'])).json).toMatchObject({
    backups: [],
  });
  const run = await stillpoint(['backup', 'run', dataDir, '--to', dest, '--engine', 'files', '--json']);
  expect(run.code, run.stderr).toBe(0);
  expect(run.json).toMatchObject({
    job_id: expect.any(String),
    backup_id: expect.any(String),
    store_id: expect.any(String),
    state: 'succeeded',
    total_bytes: 1_300_016,
    uploaded_bytes: expect.any(Number),
    reused_bytes: 0,
    objects_uploaded: expect.any(Number),
    objects_reused: 0,
    report: { ok: true },
    durations_ms: { upload: expect.any(Number) },
  });
  const { backup_id, store_id, job_id } = run.json;
  const listed = {
    backup_id,
    engine: 'files',
    total_bytes: 1_300_016,
    tool: expect.stringContaining('stillpoint/'),
  };
  const list = ['backup', 'list', '--from', dest, '--json'];
  expect((await stillpoint(list)).json).toMatchObject({ store_id, name: 'data', backups: [listed] });
  expect((await stillpoint(['repo', 'show', dest, '--json'])).json).toMatchObject({
    stores: [{ store_id, name: 'data', engine: 'files', backups: 1, latest: backup_id }],
  });
  for (const level of ['manifest', 'data', 'full']) {
    const report = await stillpoint([
      'backup',
      'verify',
      'latest',
      '--from',
      dest,
      '--level',
      level,
      '--json',
    ]);
    const isRead = level !== 'manifest';
    expect(report.code).toBe(isRead ? 0 : 7);
    expect(report.json).toMatchObject({
      backup_id,
      ok: isRead,
      verdict: isRead ? 'faithful' : 'unread',
      level,
      findings: [],
    });
  }
  expect((await stillpoint(['jobs', 'list', dataDir, '--json'])).json).toMatchObject({
    jobs: [{ id: job_id, kind: 'backup', status: 'succeeded', progress: 100, backup_id, error: null }],
  });
  expect((await stillpoint(['jobs', 'show', dataDir, job_id, '--json'])).json).toMatchObject({ id: job_id });
  rmSync(dataDir, { recursive: true });
  const restored = await stillpoint([
    'backup',
    'restore',
    'latest',
    '--from',
    dest,
    '--into',
    dataDir,
    '--json',
  ]);
  expect(restored.json).toMatchObject({ backup_id, into: dataDir, files: 5, bytes: 1_300_016, undo: null });
  expect(readTree(dataDir)).toEqual(before);
});

test('people read the same in words', async () => {
  const dest = await temporaryFolder();
  const dataDir = await plainDirectory();
  const run = async (...args: string[]) => (await stillpoint(args)).stdout;
  expect(await run('repo', 'init', dest)).toContain('stillpoint backup run DIR --to');
  expect(await run('backup', 'run', dataDir, '--to', dest, '--engine', 'files')).toMatch(
    /uploaded.*\n.*snapshot proven: .*\n.*snapshot ts-\d+ stays beside the database; .*\n.*repository: every object is there with its size/,
  );
  expect(await run('backup', 'list', '--from', dest)).toMatch(/BACKUP +CREATED +ENGINE +FILES +SIZE/);
  expect(await run('backup', 'show', 'latest', '--from', dest)).toContain('5 files');
  const verified = await run('backup', 'verify', 'latest', '--from', dest);
  expect(verified).toMatch(/faithful .*level data/);
  expect(verified).toContain('not on record for `status`: that takes `--data-dir DIR`');
  expect(await run('jobs', 'list', dataDir)).toMatch(/backup +succeeded/);
  const inPlace = await run('backup', 'restore', 'latest', '--from', dest, '--in-place', dataDir);
  expect(inPlace).toContain('back with: stillpoint undo');
  expect(await run('jobs', 'list', await plainDirectory())).toBe('no jobs yet\n');
  expect(await run('jobs', 'list', await plainDirectory(), '--status', 'failed')).toBe('no such jobs\n');
});

test('a warning reads as one sentence, and a missing place by its path', async () => {
  const dest = await temporaryFolder();
  const dataDir = await plainDirectory();
  await stillpoint(['repo', 'init', dest]);
  const args = ['backup', 'run', dataDir, '--to', dest, '--engine', 'files', '--json'];
  const { json } = await stillpoint(args);
  writeFileSync(join(dest, 'stores', json.store_id, 'backups', json.backup_id, 'manifest'), 'spoiled');
  const { code, stderr } = await stillpointProcess(args);
  expect(code, stderr).toBe(0);
  expect(stderr).toMatch(/^warning: stores\/.*manifest: has no header$/m);
  expect(stderr).not.toContain('(node:');
  const gone = join(dest, 'gone');
  await stillpoint(args);
  for (const [expected, ...args] of [
    [`${gone} does not exist`, 'backup', 'list', '--from', gone],
    [
      `no such scratch folder: ${gone}`,
      'backup',
      'verify',
      'latest',
      '--from',
      dest,
      '--level',
      'full',
      '--scratch',
      gone,
    ],
  ] as const) {
    const { stderr } = await stillpoint(args);
    expect(stderr).toContain(expected);
    expect(stderr).not.toMatch(/ENOENT|cause:/);
  }
});

test('damage exits with 3, and names what is damaged', async () => {
  const dest = await temporaryFolder();
  const dataDir = await plainDirectory();
  await stillpoint(['repo', 'init', dest]);
  const { json } = await stillpoint(['backup', 'run', dataDir, '--to', dest, '--engine', 'files', '--json']);
  const objects = join(dest, 'stores', json.store_id, 'objects');
  rmSync(join(objects, readdirSync(objects)[0]!), { recursive: true });
  const verified = await stillpoint(['backup', 'verify', json.backup_id, '--from', dest, '--json']);
  expect(verified.code).toBe(3);
  expect(verified.json).toMatchObject({
    ok: false,
    findings: [{ path: 'deep/er/b.bin', code: 'OBJECT_MISSING' }],
  });
  const into = join(await temporaryFolder(), 'out');
  const restored = await stillpoint([
    'backup',
    'restore',
    'latest',
    '--from',
    dest,
    '--into',
    into,
    '--json',
  ]);
  expect(restored.code).toBe(3);
  expect(restored.json.error.code).toBe('BACKUP_DAMAGED');
  const again = await stillpoint(['backup', 'run', dataDir, '--to', dest, '--engine', 'files']);
  expect(again.stdout).toContain('1 file uploaded again: the objects are damaged, missing or about to go');
  expect((await stillpoint(['backup', 'verify', 'latest', '--from', dest])).code).toBe(0);
});

test.each([
  [['backup', 'run', 'DATA', '--to', '/no/such/place'], 5, 'DESTINATION_NOT_FOUND'],
  [['backup', 'run', 'DATA'], 2, 'INVALID_REQUEST'],
  [['backup', 'run', '/no/such/data', '--to', 'DEST'], 5, 'NOT_FOUND'],
  [['backup', 'restore', 'latest', '--from', 'DEST'], 2, 'INVALID_REQUEST'],
  [['backup', 'list', '--from', 'gopher://x'], 2, 'DESTINATION_CONFIG_INVALID'],
  [['backup', 'show', 'latest', '--from', 'DEST'], 5, 'NOT_FOUND'],
  [['repo', 'init', 'DATA/.lifecycle/backups'], 4, 'DESTINATION_PATH_CONFLICT'],
  [['backup', 'frobnicate'], 2, 'INVALID_REQUEST'],
  [['jobs', 'show', 'DATA', 'nothing'], 5, 'NOT_FOUND'],
  [['repo', 'init', 'DEST'], 4, 'REPOSITORY_EXISTS'],
])('%j exits with %i and says %s', async (args, code, error) => {
  const dest = await temporaryFolder();
  const dataDir = await plainDirectory();
  await stillpoint(['repo', 'init', dest]);
  const given = args.map((arg) => arg.replace('DATA', dataDir).replace('DEST', dest));
  const outcome = await stillpoint([...given, '--json']);
  expect(outcome.code).toBe(code);
  expect(outcome.json.error.code).toBe(error);
});

test('prune, pin, delete, drill and reconcile, as a person and as a program read them', async () => {
  const dest = join(await temporaryFolder(), 'backups');
  const dataDir = await plainDirectory();
  await stillpoint(['repo', 'init', dest]);
  const ids: string[] = [];
  for (let i = 0; i < 3; i++) {
    const run = await stillpoint(['backup', 'run', dataDir, '--to', dest, '--engine', 'files', '--json']);
    ids.push(run.json.backup_id);
  }
  const from = ['--from', dest];
  expect((await stillpoint(['backup', 'pin', ids[0]!, ...from])).stdout).toContain('pinned');
  const dry = await stillpoint(['backup', 'prune', ...from, '--keep-last', '1', '--dry-run', '--json']);
  expect(dry.json).toMatchObject({
    kept: [
      { backup_id: ids[0], reasons: ['pinned'] },
      { backup_id: ids[2], reasons: ['newest', 'newest good', 'last 1'] },
    ],
    removed: [ids[1]],
    objects_condemned: 0,
    objects_deleted: 0,
    dry_run: true,
  });
  const pruned = await stillpoint(['backup', 'prune', ...from, '--keep-last', '1']);
  expect(pruned.stdout).toMatch(new RegExp(`${ids[1]} +removed`));
  expect((await stillpoint(['backup', 'list', ...from])).stdout).toMatch(new RegExp(`${ids[0]}.*pinned`));
  const refused = await stillpoint(['backup', 'delete', ids[0]!, ...from, '--json']);
  expect(refused.code).toBe(4);
  expect(refused.json.error).toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('pinned') });
  await stillpoint(['backup', 'unpin', ids[0]!, ...from]);
  expect((await stillpoint(['backup', 'delete', ids[0]!, ...from])).stdout).toContain('deleted');
  expect((await stillpoint(['backup', 'drill', 'latest', ...from, '--json'])).json).toMatchObject({
    backup_id: ids[2],
    verdict: 'faithful',
    restore_ms: expect.any(Number),
    bytes: 1_300_016,
    probe: null,
  });
  const reconciled = await stillpoint(['backup', 'reconcile', dataDir, ...from, '--json']);
  expect(reconciled.json).toMatchObject({ adopted: [], lost: [], forgotten: ids.slice(0, 2) });
  rmSync(join(dest, 'stores'), { recursive: true });
  expect((await stillpoint(['backup', 'reconcile', dataDir, ...from])).code).toBe(5);
});
