import { afterAll, test } from 'vitest';
import { openFolder } from '../../src/destination/folder.ts';
import { openDestination } from '../../src/destination/open.ts';
import { testBackups } from '../../src/testing/index.ts';
import { describeWith, describeWithRight } from '../support/needs.ts';
import { hasPostgres, newDatabase } from '../support/postgres.ts';
import { hasS3, newS3Place } from '../support/s3.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// Each destination with each job store, all but the first pair in the long tier.

const folder = async () => openFolder(await temporaryFolder());
const bucket = async () => openDestination(await newS3Place());

/** Before each test the variable names a database of its own. */
const beside = (createDestination: typeof folder) => async () => {
  process.env.STILLPOINT_TEST_JOBS = await newDatabase();
  return createDestination();
};
afterAll(() => void delete process.env.STILLPOINT_TEST_JOBS);
const jobs = 'env:STILLPOINT_TEST_JOBS';

testBackups({ test, name: 'a folder', createDestination: folder });

// Each test takes seconds of a real server.
if (perTier(false, true)) {
  describeWith('a PostgreSQL server (POSTGRES_URL)', hasPostgres, 'with jobs in PostgreSQL', () => {
    testBackups({ test, name: 'a folder, jobs in PostgreSQL', createDestination: beside(folder), jobs });
  });
  describeWithRight('an S3 server (S3_ENDPOINT)', hasS3, 'in a bucket', () => {
    testBackups({ test, name: 'a bucket', createDestination: bucket });
    describeWith('a PostgreSQL server (POSTGRES_URL)', hasPostgres, 'with jobs in PostgreSQL', () => {
      testBackups({ test, name: 'a bucket, jobs in PostgreSQL', createDestination: beside(bucket), jobs });
    });
  });
}
