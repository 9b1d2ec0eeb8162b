import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { type Body, bodyOf, getSmall } from '../../src/destination/destination.ts';
import { addressOf, openDestination } from '../../src/destination/open.ts';
import { parseS3Url } from '../../src/destination/s3-url.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { testDestination } from '../../src/testing/index.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { describeWithRight } from '../support/needs.ts';
import { hasS3, newS3Place, s3Url, useKeys } from '../support/s3.ts';
import { temporaryFolder } from '../support/temp.ts';

describeWithRight('an S3 server (S3_ENDPOINT)', hasS3, 'with a real S3 server', () => {
  testDestination({ test, name: 's3', createDestination: async () => openDestination(await newS3Place()) });

  test('an object of several parts comes back as it was, and can be read in ranges over their borders', async () => {
    const destination = await openDestination(await newS3Place());
    const content = Buffer.alloc(19 * 1024 * 1024 + 3, 'not the same everywhere, since 41 is prime. ');
    expect(await destination.put('large', bodyOf(content), { ifAbsent: true })).toBe('written');
    expect((await getSmall(destination, 'large', 64 * 1024 * 1024))!.equals(content)).toBe(true);
    const border = 8 * 1024 * 1024;
    const parts: Uint8Array[] = [];
    const range = { offset: border - 10, length: 20 };
    for await (const part of (await destination.get('large', { range }))!) parts.push(part);
    expect(Buffer.concat(parts)).toEqual(content.subarray(border - 10, border + 10));
    expect(await destination.put('large', bodyOf(content), { ifAbsent: true })).toBe('exists');
    expect(await destination.abortStale(0)).toBe(0);
  });

  test('a large body that fails in its middle leaves no part behind', async () => {
    const destination = await openDestination(await newS3Place());
    const failure = new Error('the source is gone');
    const failing: Body = {
      sizeBytes: 40 * 1024 * 1024,
      async *open() {
        for (let i = 0; i < 30; i++) yield Buffer.alloc(1024 * 1024, i);
        throw failure;
      },
    };
    await expect(destination.put('k', failing)).rejects.toBe(failure);
    expect(await destination.head('k')).toBeUndefined();
    expect(await destination.abortStale(0)).toBe(0);
  });

  test('a missing bucket, wrong keys and missing rights are told apart', async () => {
    const place = await newS3Place();
    await expect(openDestination(s3Url('no-such-bucket-anywhere/x'))).rejects.toMatchObject({
      code: 'DESTINATION_NOT_FOUND',
    });
    useKeys('test:nobody', 'wrong');
    // A HEAD has no body that could tell more than 403.
    await expect(openDestination(place)).rejects.toMatchObject({
      code: expect.stringMatching(/^DESTINATION_(PERMISSION_DENIED|CREDENTIALS_INVALID)$/),
    });
    useKeys(process.env.S3_ACCESS_KEY_ID_2, process.env.S3_SECRET_ACCESS_KEY_2);
    await expect(openDestination(place)).rejects.toMatchObject({ code: 'DESTINATION_PERMISSION_DENIED' });
    useKeys();
  });

  test('a server that does not answer is unreachable', async () => {
    useKeys();
    await expect(openDestination(s3Url('bucket', 'http://127.0.0.1:9'))).rejects.toMatchObject({
      code: 'DESTINATION_UNREACHABLE',
    });
  });

  test('a backup goes to a bucket, only what is new goes there again, and it comes back', async () => {
    const to = await newS3Place();
    const dataDir = await plainDirectory();
    writeTree(dataDir, { large: randomBytes(20_000_000) });
    await initRepository(to);
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
    const first = await backUp(dataDir, { to, coordinator });
    expect(first.uploadedBytes).toBeGreaterThan(20_000_000);
    writeTree(dataDir, { new: 'small' });
    const second = await backUp(dataDir, { to, coordinator });
    expect(second.uploadedBytes).toBe(5);
    expect(await verifyBackup('latest', { from: to, level: 'full' })).toMatchObject({ ok: true });
    const into = join(await temporaryFolder(), 'out');
    await restoreBackup('latest', { from: to, into });
    expect(readTree(into)).toEqual(readTree(dataDir));
  });
});

test('a URL says where the bucket is', () => {
  expect(parseS3Url('s3://my-bucket')).toEqual({
    url: 's3://my-bucket',
    bucket: 'my-bucket',
    prefix: '',
    pathStyle: false,
    checksums: true,
  });
  const own = 's3://my-bucket/a/b/?endpoint=http://127.0.0.1:9000&region=eu-1&profile=backup';
  expect(parseS3Url(own)).toEqual({
    url: own,
    bucket: 'my-bucket',
    prefix: 'a/b/',
    endpoint: 'http://127.0.0.1:9000',
    region: 'eu-1',
    profile: 'backup',
    pathStyle: true,
    checksums: false,
  });
});

test.each([
  ['s3://', 'is no name of a bucket'],
  ['s3://UPPER_case', 'bucket'],
  ['s3://bucket/a//b', 'prefix'],
  ['s3://bucket/a%20b', 'prefix'],
  ['s3://bucket?endpont=http://x', 'there is no setting "endpont"'],
  ['s3://bucket?endpoint=ftp://x', 'endpoint must be'],
  ['s3://bucket?endpoint=http://user:secret@x', 'endpoint must be'],
  ['s3://bucket?path_style=yes', 'path_style must be true or false'],
  ['s3://bucket?region=a&region=b', 'twice'],
])('the URL %s is refused', (url, message) => {
  expect(() => parseS3Url(url)).toThrow(
    expect.objectContaining({
      code: 'DESTINATION_CONFIG_INVALID',
      message: expect.stringContaining(message),
    }),
  );
});

test.each([
  's3://AKIA:topsecret@bucket/x',
  's3://AKIA:w/topsecret@bucket',
  's3://AKIA/topsecret@bucket?region=a',
  's3://bucket?secret_key=topsecret',
  's3://bucket?endpoint=http://AKIA:topsecret@host',
  's3://bucket?endpoint=http%3A%2F%2FAKIA%3Atopsecret%40host',
])('keys in the URL %s are refused and not repeated', (url) => {
  expect(() => parseS3Url(url)).toThrow(
    expect.objectContaining({ message: expect.not.stringContaining('topsecret') }),
  );
  expect(addressOf(url)).not.toContain('topsecret');
});

test('a bucket whose region nobody says is refused, with where to say it', async () => {
  onTestFinished(() => void vi.unstubAllEnvs());
  for (const name of ['AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_PROFILE']) vi.stubEnv(name, undefined);
  for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, '/nowhere');
  await expect(openDestination('s3://bucket/p')).rejects.toMatchObject({
    code: 'DESTINATION_CONFIG_INVALID',
    message: 's3://bucket/p: Region is missing',
    hint: expect.stringContaining('?region=NAME'),
  });
});
