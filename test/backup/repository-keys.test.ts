import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import {
  addRepositoryKeys,
  listRepositoryKeys,
  removeRepositoryKey,
  rotateRepositoryKeys,
} from '../../src/backup/repository-keys.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { stillpointProcess } from '../support/command.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { needsPrograms } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';

async function newIdentity(): Promise<{ identity: string; recipient: string }> {
  const identity = join(await temporaryFolder(), 'identity');
  const secret = await generateIdentity();
  writeFileSync(identity, `# made for a test\n${secret}\n`, { mode: 0o600 });
  return { identity, recipient: await identityToRecipient(secret) };
}

async function passphraseFile(text: string): Promise<string> {
  const file = join(await temporaryFolder(), 'passphrase');
  writeFileSync(file, `${text}\n`);
  return `file:${file}`;
}

const backUpInto = (to: string, dataDir: string, encryption: object) =>
  backUp(dataDir, { to, encryption, coordinator: new BackupCoordinator({ dataDir, engine: 'files' }) });

const opens = (to: string, encryption: object): Promise<string> =>
  listBackups({ from: to, encryption }).then(
    () => 'opens',
    (error) => error.code,
  );

test('an identity, a passphrase and a key file each open a repository, and a mistyped one does not', async () => {
  const { identity, recipient } = await newIdentity();
  const folder = await temporaryFolder();
  const [to, keyFile] = [join(folder, 'repository'), join(folder, 'key')];
  const passphrase = await passphraseFile('correct horse');
  await initRepository(to, { encryption: { recipients: [recipient], passphrase, keyFile } });
  expect(statSync(keyFile).mode & 0o777).toBe(0o600);
  expect(await opens(to, { identity })).toBe('opens');
  expect(await opens(to, { passphrase })).toBe('opens');
  expect(await opens(to, { keyFile })).toBe('opens');
  expect(await opens(to, { passphrase: await passphraseFile('correct hors') })).toBe('REPOSITORY_KEY_WRONG');
  expect(await opens(to, { identity: (await newIdentity()).identity })).toBe('REPOSITORY_KEY_WRONG');
  expect(await opens(to, { identity: keyFile })).toBe('REPOSITORY_KEY_INVALID');
  expect(await opens(to, { keyFile: identity })).toBe('REPOSITORY_KEY_INVALID');
  expect(await opens(to, { keyFile: join(folder, 'none') })).toBe('REPOSITORY_KEY_INVALID');
  const text = readFileSync(identity, 'utf8');
  writeFileSync(identity, text.replace(/.\n$/, text.endsWith('Q\n') ? 'P\n' : 'Q\n'));
  expect(await opens(to, { identity })).toBe('REPOSITORY_KEY_INVALID');
  chmodSync(keyFile, 0o640);
  expect(await opens(to, { keyFile })).toBe('REPOSITORY_KEY_INVALID');
  expect((await listRepositoryKeys(to)).slots.map(({ kind }) => kind)).toEqual([
    'recipient',
    'passphrase',
    'key-file',
  ]);
});

test('after a rotation everything old is read, and what is new has another data key', async () => {
  const { identity, recipient } = await newIdentity();
  const to = join(await temporaryFolder(), 'repository');
  const dataDir = await plainDirectory();
  await initRepository(to, { encryption: { recipients: [recipient] } });
  await backUpInto(to, dataDir, { identity });
  expect(await rotateRepositoryKeys(to, { encryption: { identity } })).toMatchObject({
    generations: [1, 2],
    warnings: [],
  });
  writeTree(dataDir, { later: 'after the rotation' });
  const second = await backUpInto(to, dataDir, { identity });
  expect(second.objectsReused).toBeGreaterThan(0);
  expect((await verifyBackup('latest', { from: to, encryption: { identity } })).verdict).toBe('faithful');
  const into = join(await temporaryFolder(), 'into');
  await restoreBackup('latest', { from: to, into, encryption: { identity } });
  expect(readTree(into)).toEqual(readTree(dataDir));
  const generations = readdirSync(to, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('/manifest'))
    .sort()
    .map((file) => JSON.parse(readFileSync(join(to, file), 'latin1').split('\n')[0]!).key_generation);
  expect(generations).toEqual([1, 2]);
});

test('a slot is removed only by a key that opens another, and does not open the repository any more', async () => {
  const [one, two] = [await newIdentity(), await newIdentity()];
  const to = join(await temporaryFolder(), 'repository');
  await initRepository(to, { encryption: { recipients: [one.recipient] } });
  const byOne = { encryption: { identity: one.identity } };
  const byTwo = { encryption: { identity: two.identity } };
  await expect(addRepositoryKeys(to, { recipients: [two.recipient] }, byTwo)).rejects.toMatchObject({
    code: 'REPOSITORY_KEY_WRONG',
  });
  await addRepositoryKeys(to, { recipients: [two.recipient] }, byOne);
  await expect(addRepositoryKeys(to, { recipients: [two.recipient] }, byOne)).rejects.toMatchObject({
    code: 'CONFLICT',
  });
  await expect(removeRepositoryKey(to, 1, byOne)).rejects.toMatchObject({ code: 'CONFLICT' });
  await expect(removeRepositoryKey(to, 9, byTwo)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect((await removeRepositoryKey(to, 1, byTwo)).slots.map(({ slot }) => slot)).toEqual([2]);
  expect(await opens(to, byOne.encryption)).toBe('REPOSITORY_KEY_WRONG');
  expect(await opens(to, byTwo.encryption)).toBe('opens');
  const [id] = readdirSync(join(to, 'keys')) as [string];
  expect(readdirSync(join(to, 'keys', id))).toEqual(['00000003.json']);
});

test('a rotation needs each passphrase and key file at hand, and changes nothing without', async () => {
  const { identity, recipient } = await newIdentity();
  const to = join(await temporaryFolder(), 'repository');
  const passphrase = await passphraseFile('correct horse');
  await initRepository(to, { encryption: { recipients: [recipient], passphrase } });
  const before = await listRepositoryKeys(to);
  await expect(rotateRepositoryKeys(to, { encryption: { identity } })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringMatching(/slot 2: its passphrase is not at hand/),
  });
  expect(await listRepositoryKeys(to)).toEqual(before);
  await rotateRepositoryKeys(to, { encryption: { identity, passphrase } });
  expect(await opens(to, { passphrase })).toBe('opens');
});

test('keys that are missing, cut off or of another repository are told as that', async () => {
  const { identity, recipient } = await newIdentity();
  const [to, other] = [join(await temporaryFolder(), 'one'), join(await temporaryFolder(), 'two')];
  await initRepository(to, { encryption: { recipients: [recipient] } });
  await initRepository(other, { encryption: { recipients: [recipient] } });
  const keysOf = (repository: string) => {
    const [id] = readdirSync(join(repository, 'keys')) as [string];
    return join(repository, 'keys', id, '00000001.json');
  };
  const mine = JSON.parse(readFileSync(keysOf(to), 'utf8'));
  const his = JSON.parse(readFileSync(keysOf(other), 'utf8'));
  for (const bytes of [
    JSON.stringify(his),
    JSON.stringify({ ...mine, slots: his.slots }),
    JSON.stringify(mine).slice(0, 200),
    JSON.stringify({ ...mine, revision: 7 }),
  ]) {
    writeFileSync(keysOf(to), bytes);
    expect(await opens(to, { identity })).toBe('REPOSITORY_INVALID');
  }
  writeFileSync(keysOf(to), JSON.stringify(mine));
  expect(await opens(to, { identity })).toBe('opens');
});

test("Debian's age opens the wrapped keys, with an identity of age-keygen", async (context) => {
  needsPrograms(context, 'age', 'age-keygen');
  const folder = await temporaryFolder();
  const [to, identity] = [join(folder, 'repository'), join(folder, 'identity')];
  execFileSync('age-keygen', ['-o', identity], { stdio: 'pipe' });
  const recipient = execFileSync('age-keygen', ['-y', identity], { encoding: 'utf8' }).trim();
  const { repositoryId } = await initRepository(to, { encryption: { recipients: [recipient] } });
  expect(await opens(to, { identity })).toBe('opens');
  const { slots } = JSON.parse(readFileSync(join(to, 'keys', repositoryId, '00000001.json'), 'utf8'));
  const keyring = execFileSync('age', ['--decrypt', '-i', identity], {
    input: slots[0].wrapped,
    encoding: 'utf8',
  });
  expect(JSON.parse(keyring)).toMatchObject({
    format: 'stillpoint-keyring',
    repository_id: repositoryId,
    name_key: expect.stringMatching(/^[0-9a-f]{64}$/),
    data_keys: { 1: expect.stringMatching(/^[0-9a-f]{64}$/) },
  });
});

test('the command makes an encrypted repository, and takes the key from a variable', async () => {
  const { identity, recipient } = await newIdentity();
  const to = join(await temporaryFolder(), 'repository');
  const dataDir = await plainDirectory();
  const init = await stillpointProcess(['repo', 'init', to, '--recipient', recipient, '--json']);
  expect(init.code, init.stderr).toBe(0);
  expect(init.stderr).toContain('who loses it loses all backups');
  expect(init.json.key_fingerprint).toMatch(/^[0-9a-f]{64}$/);
  const run = ['backup', 'run', dataDir, '--to', to, '--engine', 'files', '--json'];
  const without = await stillpointProcess(run);
  expect(without.code).toBe(2);
  expect(without.stderr).toContain('REPOSITORY_KEY_REQUIRED');
  const key = { STILLPOINT_IDENTITY: identity };
  expect((await stillpointProcess(run, key)).code).toBe(0);
  const verified = await stillpointProcess([
    'backup',
    'verify',
    'latest',
    '--from',
    to,
    '--identity',
    identity,
  ]);
  expect(verified.code, verified.stderr).toBe(0);
  expect((await stillpointProcess(['backup', 'list', '--from', to], { STILLPOINT_IDENTITY: '' })).code).toBe(
    2,
  );
  const keys = await stillpointProcess(['repo', 'keys', 'list', to, '--json']);
  expect(keys.json.slots).toEqual([
    { slot: 1, kind: 'recipient', recipient, added_at_ms: expect.any(Number) },
  ]);
});
