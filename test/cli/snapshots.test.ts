import { createHash } from 'node:crypto';
import { cp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { inspectLsmFile } from '../../src/engine/lsm/inspect.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { stillpoint, stillpointProcess } from '../support/command.ts';
import { copyFixture, describeWithFixtures } from '../support/fixtures.ts';
import { temporaryFolder } from '../support/temp.ts';

const CONTENT = ['checkpoint.meta', 'lsm.wal', 'sst/1.sst', 'sst/2.sst'];

/** What the files hold. Of a log that is what it replays: a snapshot leaves out the dead bytes of the ring. */
async function contentOf(dir: string): Promise<unknown[]> {
  const tables = CONTENT.filter((path) => path !== 'lsm.wal').map((path) => digestOf(join(dir, path)));
  return Promise.all([...tables, inspectLsmFile(nodeFileSystem, join(dir, 'lsm.wal'))]);
}

const digestOf = async (path: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(path))
    .digest('hex');

describeWithFixtures('lsm', 'snapshots from the command line', () => {
  it('are taken, listed, shown, verified, restored and pruned, with the JSON that programs rely on', async () => {
    const data = await copyFixture('lsm/small');
    const before = await contentOf(data);
    const untouched = await Promise.all(CONTENT.map((path) => digestOf(join(data, path))));

    const first = await stillpoint(['snapshot', data, '--json']);
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(Object.keys(first.json)).toEqual([
      'id',
      'name',
      'location',
      'engine',
      'state',
      'entries',
      'total_bytes',
      'copied_bytes',
      'linked_bytes',
      'cloned_bytes',
      'reused_bytes',
      'carried_bytes',
      'reproven_bytes',
      'report',
      'durations_ms',
      'left_out',
      'pruned',
    ]);
    const sizes = await Promise.all(CONTENT.map(async (path) => (await stat(join(data, path))).size));
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    const counts = {
      files: 4,
      bytes,
      wal_entries: 17,
      wal_last_lsn: '232',
      tables: 2,
      blocks: 72,
      entries: 4290,
    };
    expect(first.json).toMatchObject({
      engine: 'lsm',
      entries: 4,
      total_bytes: bytes,
      reused_bytes: 0,
      state: { status: 'completed', reason: null, code: null, progress: { percent: 100 } },
      report: { ok: true, verdict: 'faithful', level: 'full', engine: 'lsm', counts, findings: [] },
      pruned: [],
    });
    for (const phase of ['capture', 'seal', 'prove', 'publish', 'mark']) {
      expect(first.json.durations_ms[phase], phase).toBeGreaterThan(0);
    }

    const second = await stillpoint(['snapshot', data, '--level', 'open', '--json']);
    expect(second.json).toMatchObject({ report: { level: 'open' }, reused_bytes: expect.any(Number) });
    expect(second.json.reused_bytes).toBeGreaterThan(0);
    const full = await stillpoint(['snapshot', data, '--full', '--mode', 'copy', '--keep', '2', '--json']);
    expect(full.json).toMatchObject({ reused_bytes: 0, pruned: [first.json.name] });

    const [list, show, verified, restored] = await Promise.all([
      stillpoint(['list', data, '--json']),
      stillpoint(['show', second.json.id, '--data-dir', data, '--json']),
      stillpoint(['verify', join(data, '.lifecycle/backup/latest'), '--json']),
      stillpoint(['restore', 'latest', '--data-dir', data, '--into', join(data, '../restored'), '--json']),
    ]);
    expect(list.code).toBe(0);
    expect(Object.keys(list.json)).toEqual(['latest', 'latest_good', 'snapshots', 'total']);
    const onDisk = list.json.snapshots.map(({ disk_bytes }: { disk_bytes: number }) => disk_bytes);
    expect(list.json.total).toEqual({
      count: 2,
      damaged: 0,
      total_bytes: 2 * bytes,
      disk_bytes: onDisk[0] + onDisk[1], // `--full` shares nothing
    });
    expect(list.json.latest).toBe(full.json.name);
    expect(list.json.snapshots).toMatchObject(
      [second.json, full.json].map(({ name, id, location }) => ({
        name,
        id,
        location,
        engine: 'lsm',
        entries: 4,
        total_bytes: bytes,
        created_at_ms: expect.any(Number),
        age_ms: expect.any(Number),
        mode: 'copy',
      })),
    );
    expect(show.json).toMatchObject({ name: second.json.name, sealed: true, parent: first.json.name });
    expect(show.json.files.map(({ path }: { path: string }) => path)).toEqual(CONTENT);
    expect(verified.code).toBe(0);
    expect(Object.keys(verified.json)).toEqual([
      'ok',
      'verdict',
      'level',
      'medium',
      'engine',
      'steps',
      'counts',
      'findings',
    ]);
    expect(verified.json).toMatchObject({ ok: true, counts });
    const into = join(data, '../restored');
    expect(restored.json).toEqual({
      from: full.json.location,
      into,
      files: 4,
      bytes,
      cloned_bytes: 0,
      undo: null,
      verdict: 'faithful',
    });
    expect(await contentOf(into)).toEqual(before);
    // invariant 4
    expect(await Promise.all(CONTENT.map((path) => digestOf(join(data, path))))).toEqual(untouched);

    const dry = await stillpoint(['prune', data, '--keep', '1', '--dry-run', '--json']);
    expect(dry.json).toMatchObject({ dry_run: true, removed: [{ name: second.json.name }], busy: [] });
    const pruned = await stillpoint(['prune', data, '--keep', '1', '--json']);
    expect(pruned.json).toEqual({ ...dry.json, dry_run: false });
    expect(await readdir(join(data, '.lifecycle/backup'))).not.toContain(second.json.name);
  });

  it('read well, and without colours in a pipe', async () => {
    const data = await copyFixture('lsm/small');
    const taken = await stillpointProcess(['snapshot', data]);
    expect(taken).toMatchObject({ code: 0, stderr: '' });
    const [, name] = /^(ts-\d+) {2}lsm {2}\//.exec(taken.stdout) ?? [];
    expect(taken.stdout).toMatch(/ {2}4 files, 1\.3 MiB: \d+ KiB copied, 1\.\d MiB of holes\n/);
    expect(taken.stdout).toContain('  proven: 2 tables, 72 blocks, 4,290 entries; log replayed to lsn 232\n');
    const [list, show, verify] = await Promise.all([
      stillpoint(['list', data]),
      stillpoint(['show', 'latest', '--data-dir', data]),
      stillpoint(['verify', data]),
    ]);
    const [latest, marker] = await Promise.all([
      stillpoint(['verify', 'latest', '--data-dir', data, '--level', 'files']),
      stillpoint(['verify', join(data, '.lifecycle/backup/latest'), '--level', 'files']),
    ]);
    expect(latest.stdout).toContain(`latest (${name}): faithful  (lsm, level files)\n`);
    expect(marker.stdout).toContain(`/latest (${name}): faithful  (lsm, level files)\n`);
    expect(list.stdout).toMatch(
      new RegExp(
        `^NAME .*\n${name} +\\d{4}-.*Z +\\d+ s +lsm +copy +4 +1\\.3 MiB +\\d+ KiB +\\d+ KiB +full +\\d+ s ago +latest +good\n1 snapshot: \\d+ KiB on disk for 1\\.3 MiB of files\n$`,
      ),
    );
    expect(show.stdout).toMatch(/sst\/1\.sst +225,465 +6b64e0e9 +immutable\n/);
    expect(verify.stdout).toContain(`${data}: faithful  (lsm, level full)\n`);
    for (const { stdout } of [taken, list, show, verify]) expect(stdout).not.toContain('\u001b');
  });

  it('name what is damaged, and a damaged source is refused', async () => {
    const data = await copyFixture('lsm/small');
    const path = join(data, 'sst/1.sst');
    const table = await readFile(path);
    table[5000]! ^= 1;
    await writeFile(path, table);

    const [verified, coloured, forPeople] = await Promise.all([
      stillpointProcess(['verify', data, '--json']),
      stillpoint(['verify', data], { FORCE_COLOR: '1' }),
      stillpoint(['verify', data], { FORCE_COLOR: '1', NO_COLOR: '1' }),
    ]);
    expect(verified).toMatchObject({ code: 3, stderr: '' });
    expect(verified.json).toMatchObject({ ok: false, verdict: 'source-damaged' });
    const { offset, code, message } = verified.json.findings[0];
    expect(verified.json.findings[0]).toMatchObject({ path: 'sst/1.sst', severity: 'error' });
    expect(forPeople.code).toBe(3);
    expect(forPeople.stdout).toContain(`sst/1.sst @${offset} ${code} ${message}\n`);
    expect(forPeople.stdout).toMatch(/: source-damaged: \d errors? {2}\(lsm, level full\)\n/);
    expect(coloured.stdout).toContain('\u001b[31m');
    expect(forPeople.stdout).not.toContain('\u001b');

    const taken = await stillpoint(['snapshot', data, '--json']);
    expect(taken.code).toBe(3);
    expect(taken.json.error).toMatchObject({
      code: 'SOURCE_DAMAGED',
      path: 'sst/1.sst',
      hint: expect.any(String),
    });
    expect(taken.json.error.data.findings[0]).toMatchObject({ path: 'sst/1.sst', offset, code });
    expect(taken.stderr).toMatch(
      /^error: .*\n( {2}sst\/1\.sst @\d+ [A-Z_]+ .*\n)+ {2}hint: .* {2}\(SOURCE_DAMAGED\)\n$/,
    );
    expect(await readdir(join(data, '.lifecycle/backup'))).toEqual(['records.jsonl']); // nothing partial, no marker
  });

  it('written by the original server are listed, verified and restored', async () => {
    const data = await copyFixture('lsm/small');
    const backup = join(data, '.lifecycle/backup');
    const name = 'ts-1700000000';
    const taken = (await stillpoint(['snapshot', data, '--json'])).json;
    await cp(taken.location, join(backup, name), { recursive: true });
    await rm(taken.location, { recursive: true });
    // As in section 6 of the format: no more than version and entries, an absolute path in the marker, no newlines.
    const manifest = JSON.parse(await readFile(join(backup, name, 'snapshot.manifest'), 'utf8'));
    const entries = manifest.entries.map(({ path, size, crc32 }: Record<string, unknown>) => ({
      path,
      size,
      crc32,
    }));
    await writeFile(
      join(backup, name, 'snapshot.manifest'),
      JSON.stringify({ version: 1, entries }, undefined, 2),
    );
    await writeFile(join(backup, 'latest'), join('/somewhere/else/.lifecycle/backup', name));

    const into = join(await temporaryFolder(), 'restored');
    const [list, verified, restored, people] = await Promise.all([
      stillpoint(['list', data, '--json']),
      stillpoint(['verify', 'latest', '--data-dir', data, '--json']),
      stillpoint(['restore', join(backup, 'latest'), '--into', into, '--json']),
      stillpoint(['list', data]),
    ]);
    expect(list.json).toMatchObject({
      latest: name,
      snapshots: [{ name, id: null, created_at_ms: 1_700_000_000_000, engine: 'lsm', entries: 4 }],
    });
    expect(people.stdout).toContain('2023-11-14 22:13:20Z');
    expect(verified).toMatchObject({ code: 0, json: { ok: true, engine: 'lsm' } });
    expect(verified.json.findings).toMatchObject([{ code: 'MANIFEST_UNSEALED', severity: 'warning' }]);
    expect(restored).toMatchObject({
      code: 0,
      json: { from: join(backup, name), into, files: 4, undo: null },
    });
    expect(await contentOf(into)).toEqual(await contentOf(data));
  });
});
