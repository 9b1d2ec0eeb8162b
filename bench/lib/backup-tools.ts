import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { quoted, run, shell } from './command.ts';
import { removeAll } from './workspace.ts';

/** What brings a folder to another place and back: ours and theirs, each as the command that a user would run. */
export interface BackupTool {
  readonly name: string;
  /** Not measured where a tool has nothing to prepare; else part of its first backup. */
  readonly prepare: () => Promise<unknown>;
  readonly backUp: (folder: string) => Promise<unknown>;
  readonly restore: (folder: string, into: string) => Promise<unknown>;
  /** All that it keeps there. */
  readonly remove: () => Promise<unknown>;
}

export interface Place {
  readonly name: string;
  readonly tools: readonly BackupTool[];
}

const CLI = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const {
  S3_ENDPOINT,
  S3_REGION = 'us-east-1',
  S3_ACCESS_KEY_ID = '',
  S3_SECRET_ACCESS_KEY = '',
} = process.env;
const BUCKET = 'stillpoint-bench';
/** Of this run: what a run before left must not be found. */
const PREFIX = randomBytes(4).toString('hex');
const KEYS = { AWS_ACCESS_KEY_ID: S3_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: S3_SECRET_ACCESS_KEY };
const RCLONE = {
  RCLONE_CONFIG_S3_TYPE: 's3',
  RCLONE_CONFIG_S3_PROVIDER: 'Other',
  RCLONE_CONFIG_S3_ENDPOINT: S3_ENDPOINT ?? '',
  RCLONE_CONFIG_S3_REGION: S3_REGION,
  RCLONE_CONFIG_S3_ACCESS_KEY_ID: S3_ACCESS_KEY_ID,
  RCLONE_CONFIG_S3_SECRET_ACCESS_KEY: S3_SECRET_ACCESS_KEY,
};

type Tools = Readonly<Record<string, string | null>>;

/** A folder beside the data. What is copied into it is made durable. */
export function folderPlace(root: string, tools: Tools): Place {
  const at = (name: string) => join(root, `to-${name}`);
  const remove = (name: string) => async () => removeAll(at(name));
  const sync = (name: string) => run('sync', ['-f', at(name)]);
  const durable = (script: string, into: string) => shell(`${script}; sync -f ${quoted(into)}`);
  return {
    name: 'folder',
    tools: [
      stillpoint('stillpoint', at('stillpoint'), remove('stillpoint')),
      ...(tools.restic ? [restic(at('restic'), remove('restic'), () => sync('restic'))] : []),
      ...(tools.rclone ? [rclone(at('rclone'), remove('rclone'), () => sync('rclone'))] : []),
      {
        name: 'cp -a + sync',
        prepare: async () => undefined,
        backUp: (folder) => durable(`cp -a ${quoted(folder)} ${quoted(at('cp'))}`, at('cp')),
        restore: (_folder, into) => durable(`cp -a ${quoted(at('cp'))} ${quoted(into)}`, into),
        remove: remove('cp'),
      },
    ],
  };
}

/** A bucket of the server that `S3_ENDPOINT` names, with its keys in `S3_ACCESS_KEY_ID` and `S3_SECRET_ACCESS_KEY`. */
export async function bucketPlace(tools: Tools): Promise<Place | undefined> {
  if (S3_ENDPOINT === undefined) return undefined;
  await makeBucket();
  const remove = (name: string) => () =>
    run('rclone', ['purge', `s3:${BUCKET}/${PREFIX}/${name}`], { env: RCLONE });
  const url = `s3://${BUCKET}/${PREFIX}/stillpoint?endpoint=${S3_ENDPOINT}&region=${S3_REGION}`;
  return {
    name: 'S3',
    tools: [
      stillpoint('stillpoint', url, remove('stillpoint')),
      ...(tools.restic ? [restic(`s3:${S3_ENDPOINT}/${BUCKET}/${PREFIX}/restic`, remove('restic'))] : []),
      ...(tools.rclone ? [rclone(`s3:${BUCKET}/${PREFIX}/rclone`, remove('rclone'))] : []),
    ],
  };
}

async function makeBucket(): Promise<void> {
  Object.assign(process.env, KEYS);
  const client = new S3Client({ endpoint: S3_ENDPOINT!, region: S3_REGION, forcePathStyle: true });
  try {
    await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  } catch (error) {
    if (!/BucketAlready/.test((error as Error).name)) throw error;
  } finally {
    client.destroy();
  }
}

function stillpoint(name: string, at: string, remove: BackupTool['remove']): BackupTool {
  const command = (...args: string[]) => run(process.execPath, [CLI, ...args], { env: KEYS });
  return {
    name,
    prepare: () => command('repo', 'init', at),
    backUp: (folder) => command('backup', 'run', folder, '--to', at),
    restore: (_folder, into) => command('backup', 'restore', 'latest', '--from', at, '--into', into),
    remove,
  };
}

function restic(
  repository: string,
  remove: BackupTool['remove'],
  sync: () => Promise<unknown> = async () => undefined,
): BackupTool {
  const command = (...args: string[]) =>
    run('restic', ['-q', '-r', repository, '--no-cache', ...args], {
      env: { ...KEYS, RESTIC_PASSWORD: 'bench' },
    });
  return {
    name: 'restic',
    prepare: () => command('init'),
    backUp: async (folder) => {
      await command('backup', '--exclude', '.lifecycle', folder);
      await sync();
    },
    restore: async (_folder, into) => {
      await command('restore', 'latest', '--target', into);
      await run('sync', ['-f', into]);
    },
    remove,
  };
}

/** Copies files and proves nothing. */
function rclone(
  remote: string,
  remove: BackupTool['remove'],
  sync: () => Promise<unknown> = async () => undefined,
): BackupTool {
  const command = (...args: string[]) => run('rclone', args, { env: RCLONE });
  return {
    name: 'rclone copy',
    prepare: async () => undefined,
    backUp: async (folder) => {
      await command('copy', '--exclude', '.lifecycle/**', folder, remote);
      await sync();
    },
    restore: async (_folder, into) => {
      await command('copy', remote, into);
      await run('sync', ['-f', into]);
    },
    remove,
  };
}
