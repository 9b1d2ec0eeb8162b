import { createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { initRepository, showRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { getSmall } from '../../src/destination/destination.ts';
import { openDestination } from '../../src/destination/open.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { entriesBelow, plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { describeWithRight } from '../support/needs.ts';
import { hasS3, newS3Place } from '../support/s3.ts';
import { temporaryFolder } from '../support/temp.ts';

const PLANTED = 'PLANTED-CONTENT-0123456789';
const NAME = 'planted-name';

/** A key file as `repo init` would make it. */
async function newKey(): Promise<string> {
  const keyFile = join(await temporaryFolder(), 'key');
  writeFileSync(keyFile, `${createHash('sha256').update(keyFile).digest('hex')}\n`, { mode: 0o600 });
  return keyFile;
}

const plantedDirectory = () =>
  plainDirectory({
    [`${NAME}-small`]: PLANTED,
    [`${NAME}-large`]: Buffer.alloc(2_500_000, PLANTED),
    [`${NAME}-other`]: Buffer.alloc(400_000, `${PLANTED} other `),
  });

const coordinatorOf = (dataDir: string) => new BackupCoordinator({ dataDir, engine: 'files' });

async function restored(from: string, encryption: object): Promise<Record<string, string>> {
  const into = join(await temporaryFolder(), 'restored');
  await restoreBackup('latest', { from, into, encryption });
  return readTree(into);
}

/** From a first backup to a restore, and nothing to read for who has no key. */
async function roundTrip(to: string): Promise<void> {
  const encryption = { keyFile: await newKey() };
  const dataDir = await plantedDirectory();
  // Compressed, nothing of it could be read either.
  await initRepository(to, { encryption });
  await backUp(dataDir, { to, encryption, compress: false, coordinator: coordinatorOf(dataDir) });
  writeTree(dataDir, { [`${NAME}-later`]: `${PLANTED} later` });
  const second = await backUp(dataDir, {
    to,
    encryption,
    compress: false,
    coordinator: coordinatorOf(dataDir),
  });
  expect(second.objectsReused).toBeGreaterThan(0);
  expect(second.uploadedBytes).toBeLessThan(1000);
  expect((await verifyBackup('latest', { from: to, encryption, level: 'full' })).verdict).toBe('faithful');
  expect(await restored(to, encryption)).toEqual(readTree(dataDir));

  const destination = await openDestination(to);
  const sha256 = createHash('sha256').update(Buffer.alloc(2_500_000, PLANTED)).digest('hex');
  const plain = [PLANTED, NAME, sha256, PLANTED.slice(0, 12), '"name"', 'snapshot_manifest'];
  let count = 0;
  for await (const { key } of destination.list('')) {
    const bytes = (await getSmall(destination, key, 16 * 1024 * 1024))!;
    const texts = [
      bytes.toString('latin1'),
      Buffer.from(bytes.toString('latin1'), 'base64').toString('latin1'),
    ];
    for (const text of [key, ...texts]) {
      for (const word of plain) expect(text.includes(word), `${word} in ${key}`).toBe(false);
    }
    count++;
  }
  expect(count).toBeGreaterThan(7);
  for (const wrong of [undefined, { keyFile: await newKey() }]) {
    const code = wrong === undefined ? 'REPOSITORY_KEY_REQUIRED' : 'REPOSITORY_KEY_WRONG';
    const options = wrong && { encryption: wrong };
    const into = join(await temporaryFolder(), 'into');
    await expect(listBackups({ from: to, ...options })).rejects.toMatchObject({ code });
    await expect(showRepository(to, { ...options })).rejects.toMatchObject({ code });
    await expect(verifyBackup('latest', { from: to, ...options })).rejects.toMatchObject({ code });
    await expect(restoreBackup('latest', { from: to, into, ...options })).rejects.toMatchObject({ code });
    await expect(
      backUp(dataDir, { to, coordinator: coordinatorOf(dataDir), ...options }),
    ).rejects.toMatchObject({ code });
  }
}

test('an encrypted repository in a folder gives everything back, and shows nothing', async () => {
  await roundTrip(join(await temporaryFolder(), 'repository'));
});

describeWithRight('an S3 server (S3_ENDPOINT)', hasS3, 'in a bucket', () => {
  test('an encrypted repository gives everything back, and shows nothing', async () => {
    await roundTrip(await newS3Place());
  });
});

interface Made {
  readonly to: string;
  readonly dataDir: string;
  readonly encryption: { readonly keyFile: string };
  readonly storeId: string;
  readonly backupId: string;
}

async function made(encryption = { keyFile: '' }): Promise<Made> {
  const given = encryption.keyFile === '' ? { keyFile: await newKey() } : encryption;
  const to = join(await temporaryFolder(), 'repository');
  const dataDir = await plantedDirectory();
  await initRepository(to, { encryption: given });
  const { storeId, backupId } = await backUp(dataDir, {
    to,
    encryption: given,
    coordinator: coordinatorOf(dataDir),
  });
  return { to, dataDir, encryption: given, storeId, backupId };
}

const filesBelow = (root: string, part: string): string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.includes(part))
    .map((file) => join(root, file))
    .sort();

const objectsIn = ({ to }: Made): string[] =>
  filesBelow(to, 'objects/').filter((file) => /-[0-9a-f]{32}$/.test(file));

describe('who can write to the repository and has no key', () => {
  test('cannot exchange two objects', async () => {
    const one = await made();
    const [a, b] = objectsIn(one) as [string, string];
    renameSync(a, `${a}.tmp`);
    renameSync(b, a);
    renameSync(`${a}.tmp`, b);
    const report = await verifyBackup('latest', { from: one.to, encryption: one.encryption });
    expect(report.verdict).toBe('copy-damaged');
    await expect(restored(one.to, one.encryption)).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
  });

  test('cannot put an object of the same size of another repository in its place', async () => {
    const one = await made();
    const other = await made(one.encryption); // the very same key file
    const sized = (m: Made) => objectsIn(m).map((file) => [readFileSync(file).byteLength, file] as const);
    const there = new Map(sized(other));
    for (const [bytes, file] of sized(one)) cpSync(there.get(bytes)!, file);
    const report = await verifyBackup('latest', { from: one.to, encryption: one.encryption });
    expect(report.findings.map(({ message }) => message)).toEqual(
      expect.arrayContaining([expect.stringMatching(/was sealed as something else/)]),
    );
    // The mark that verify left names no file.
    for (const mark of filesBelow(one.to, '/damaged/objects/').filter((file) => /-[0-9a-f]{32}$/.test(file)))
      expect(readFileSync(mark, 'latin1')).not.toContain(NAME);
  });

  test('cannot edit a manifest, its time, or put one in clear or of another backup in its place', async () => {
    const one = await made();
    const second = await backUp(one.dataDir, {
      to: one.to,
      encryption: one.encryption,
      coordinator: coordinatorOf(one.dataDir),
    });
    const [first, latest] = filesBelow(one.to, '/manifest') as [string, string];
    const good = readFileSync(latest);
    const { crc32 } = await import('../../src/format/crc32.ts');
    /** With all checksums right. */
    const forged = (change: (header: Record<string, unknown>, payload: Buffer) => Buffer): Buffer => {
      const end = good.indexOf('\n');
      const header = JSON.parse(good.subarray(0, end).toString());
      delete header.crc32;
      const payload = change(header, Buffer.from(good.subarray(end + 1, -1)));
      header.payload_bytes = payload.byteLength;
      header.payload_sha256 = createHash('sha256').update(payload).digest('hex');
      header.crc32 = crc32(Buffer.from(JSON.stringify(header)));
      return Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), payload, Buffer.from('\n')]);
    };
    const old = readFileSync(first);
    const cases: [Buffer, RegExp][] = [
      [
        forged((header, payload) => {
          header.created_at_ms = 1;
          return payload;
        }),
        /was sealed as something else/,
      ],
      [
        forged((_, payload) => {
          payload[100]! ^= 1;
          return payload;
        }),
        /was edited or cut off/,
      ],
      [forged((_, payload) => payload.subarray(0, -20)), /was edited or cut off/],
      [
        forged((header) => {
          delete header.key_generation;
          return Buffer.from('{}');
        }),
        /is in clear, and this repository is encrypted/,
      ],
      [forged(() => Buffer.from('{}')), /is not sealed/],
      [
        forged((header) => {
          header.created_at_ms = JSON.parse(old.subarray(0, old.indexOf('\n')).toString()).created_at_ms;
          return old.subarray(old.indexOf('\n') + 1, -1);
        }),
        /was sealed as something else/,
      ],
    ];
    for (const [bytes, message] of cases) {
      writeFileSync(latest, bytes);
      await expect(
        restoreBackup(second.backupId, {
          from: one.to,
          into: join(await temporaryFolder(), 'into'),
          encryption: one.encryption,
        }),
      ).rejects.toMatchObject({ code: 'BACKUP_DAMAGED', message: expect.stringMatching(message) });
    }
    writeFileSync(latest, good);
    expect(await restored(one.to, one.encryption)).toEqual(readTree(one.dataDir));
  });

  test('cannot get anything in clear: the next backup is refused when encryption is taken off', async () => {
    const { to, dataDir, encryption } = await made();
    const path = join(to, 'stillpoint-repository.json');
    const { encryption: taken, ...identity } = JSON.parse(readFileSync(path, 'utf8'));
    expect(taken).toMatchObject({ cipher: 'AES-256-GCM' });
    writeFileSync(path, JSON.stringify(identity));
    const before = readTree(to, []);
    const run = (more: object) => backUp(dataDir, { to, coordinator: coordinatorOf(dataDir), ...more });
    await expect(run({ encryption })).rejects.toMatchObject({ code: 'REPOSITORY_NOT_ENCRYPTED' });
    await expect(run({})).rejects.toMatchObject({ code: 'REPOSITORY_KEY_CHANGED' });
    expect(readTree(to, [])).toEqual(before);
  });

  test('cannot make others seal for his own keys', async () => {
    const { to, dataDir, encryption } = await made();
    const other = join(await temporaryFolder(), 'other');
    await initRepository(other, { encryption });
    const mine = JSON.parse(readFileSync(join(to, 'stillpoint-repository.json'), 'utf8'));
    const his = JSON.parse(readFileSync(join(other, 'stillpoint-repository.json'), 'utf8'));
    writeFileSync(
      join(to, 'stillpoint-repository.json'),
      JSON.stringify({ ...mine, encryption: his.encryption }),
    );
    await expect(
      backUp(dataDir, { to, encryption, coordinator: coordinatorOf(dataDir) }),
    ).rejects.toMatchObject({ code: 'REPOSITORY_INVALID' });
  });
});

test('a setting that got lost is an error, never a repository in clear', async () => {
  const to = join(await temporaryFolder(), 'repository');
  for (const encryption of [{}, { recipients: [] }, { passphrase: 'env:STILLPOINT_TEST_NOT_SET' }]) {
    await expect(initRepository(to, { encryption })).rejects.toMatchObject({
      code: 'REPOSITORY_KEY_INVALID',
    });
  }
  await expect(initRepository(to, { encryption: { passphrase: 'secret' } as never })).rejects.toThrow(
    /is named/,
  );
  await initRepository(to);
  const dataDir = await plainDirectory();
  for (const [encryption, code] of [
    [{}, 'REPOSITORY_KEY_INVALID'],
    [{ identity: undefined }, 'REPOSITORY_KEY_INVALID'],
    [{ keyFile: await newKey() }, 'REPOSITORY_NOT_ENCRYPTED'],
  ] as const) {
    await expect(
      backUp(dataDir, { to, encryption, coordinator: coordinatorOf(dataDir) }),
    ).rejects.toMatchObject({ code });
  }
  rmSync(to, { recursive: true });
});

test('a wrapped key that is damaged is named: the key that was given may be the right one', async () => {
  const encryption = { keyFile: await newKey() };
  const repository = await temporaryFolder();
  await initRepository(repository, { encryption });
  const [document] = entriesBelow(join(repository, 'keys')).filter((entry) => entry.isFile());
  const path = join(document!.parentPath, document!.name);
  const { slots, ...rest } = JSON.parse(readFileSync(path, 'utf8'));
  const wrapped = Buffer.from(slots[0].wrapped, 'base64');
  wrapped[wrapped.length >> 1]! ^= 1;
  writeFileSync(
    path,
    JSON.stringify({ ...rest, slots: [{ ...slots[0], wrapped: wrapped.toString('base64') }] }),
  );
  await expect(showRepository(repository, { encryption })).rejects.toMatchObject({
    code: 'REPOSITORY_KEY_WRONG',
    hint: expect.stringContaining(`${relative(repository, path)} is damaged`),
  });
});
