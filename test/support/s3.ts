import { randomBytes } from 'node:crypto';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

/** `.ci/run` starts an S3 server and sets these; without them the tests that need one are skipped. */
const { S3_ENDPOINT: endpoint, S3_REGION: region = 'us-east-1' } = process.env;

export const hasS3 = endpoint !== undefined;

const BUCKET = 'stillpoint-tests';

/** The chain of the SDK takes the keys from there. */
export function useKeys(id = process.env.S3_ACCESS_KEY_ID, secret = process.env.S3_SECRET_ACCESS_KEY): void {
  process.env.AWS_ACCESS_KEY_ID = id;
  process.env.AWS_SECRET_ACCESS_KEY = secret;
}

export const s3Url = (path: string, at = endpoint): string => `s3://${path}?endpoint=${at}&region=${region}`;

let made: Promise<unknown> | undefined;

/** A prefix of its own in the bucket of the tests. */
export async function newS3Place(at = endpoint): Promise<string> {
  useKeys();
  made ??= makeBucket();
  await made;
  return s3Url(`${BUCKET}/${randomBytes(8).toString('hex')}`, at);
}

async function makeBucket(): Promise<void> {
  const client = new S3Client({ endpoint: endpoint!, region, forcePathStyle: true });
  try {
    await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  } catch (error) {
    if (!/BucketAlready/.test((error as Error).name)) throw error;
  } finally {
    client.destroy();
  }
}
