import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import { decodeJson } from '../env/durable-json.ts';
import type { FileSystem } from '../env/file-system.ts';
import { readSmallFile } from '../env/io.ts';
import { isSecretName, secretIn } from '../env/secrets.ts';
import { StillpointError } from '../errors.ts';
import { periodMs } from '../options/period.ts';
import { type AlertSettings, alertSettings, alertsIn } from './alert-settings.ts';
import { cronProblem, isTimeZone } from './due-times.ts';

/** The settings file `stillpoint.json`: which data directories are backed up, where to, and when. */

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be made of letters, digits, ".", "_" and "-"');
const path = z.string().min(1, 'must be a path');

const period = z.string().transform((text, context) => {
  const ms = periodMs(text);
  if (ms !== undefined) return ms;
  context.addIssue({ code: 'custom', message: 'must be a time above 0, such as "30m", "12h" or "7d"' });
  return z.NEVER;
});

const store = z.strictObject({
  data_dir: path,
  engine: z.string().min(1).default('auto'),
});

const encryption = z.strictObject({
  identity: path.optional(),
  passphrase: z
    .string()
    .refine(isSecretName, 'must be "env:NAME" or "file:/path": a passphrase is named, not given')
    .optional(),
  key_file: path.optional(),
});

export const repositorySchema = z.strictObject({
  destination: z.string().min(1, 'must be a folder or s3://bucket/prefix'),
  encryption: encryption.optional(),
  /** Whether data that shrinks is stored compressed. */
  compress: z.boolean().default(true),
});

const atLeastOne = z.number().int().min(1);

const plan = z
  .strictObject({
    store: name,
    repository: name,
    /** When a backup is made. */
    backup: z.string(),
    /** When the newest backup is read, and when it is restored for a trial. */
    verify: z.string().optional(),
    drill: z.string().optional(),
    scratch: path.optional(),
    time_zone: z.string().refine(isTimeZone, 'must be a time zone, such as "Europe/Berlin"').default('UTC'),
    jitter: period.optional(),
    /** Whether the newest of the runs that were missed while nobody was there is made up. */
    catch_up: z.boolean().default(true),
    /** So long after it was due, a run that has not succeeded is overdue. */
    overdue_after: period.default(60 * 60 * 1000),
    /** Whether a snapshot stays beside the database at all. */
    local: z.boolean().default(true),
    /** While the newest backup is older, no heartbeat is sent. */
    max_age: period.optional(),
    /** Snapshots that stay beside the database. */
    keep_snapshots: atLeastOne.optional(),
    retention: z
      .strictObject({
        keep_last: atLeastOne.optional(),
        keep_within: period.optional(),
        keep_daily: atLeastOne.optional(),
        keep_weekly: atLeastOne.optional(),
        keep_monthly: atLeastOne.optional(),
      })
      .optional(),
  })
  .superRefine((value, context) => {
    for (const field of ACTIONS) {
      const pattern = value[field];
      const problem = pattern === undefined ? undefined : cronProblem(pattern, value.time_zone);
      if (problem !== undefined) context.addIssue({ code: 'custom', path: [field], message: problem });
    }
  });

/** What a plan can do. */
export const ACTIONS = ['backup', 'verify', 'drill'] as const;
export type Action = (typeof ACTIONS)[number];

const settings = z
  .strictObject({
    version: z.literal(1, 'must be 1'),
    /** Where jobs and records are kept, if not in the data directories. */
    jobs: z
      .string()
      .refine(
        isSecretName,
        'must be "env:NAME" or "file:/path": an address with a password is named, not given',
      )
      .optional(),
    stores: z.record(name, store),
    repositories: z.record(name, repositorySchema),
    plans: z.record(name, plan),
    alerts: alertSettings.optional(),
  })
  .superRefine(({ stores, repositories, plans }, context) => {
    for (const [id, { store, repository }] of Object.entries(plans)) {
      if (!Object.hasOwn(stores, store))
        context.addIssue({
          code: 'custom',
          path: ['plans', id, 'store'],
          message: `there is no store "${store}"`,
        });
      if (!Object.hasOwn(repositories, repository)) {
        const message = `there is no repository "${repository}"`;
        context.addIssue({ code: 'custom', path: ['plans', id, 'repository'], message });
      }
    }
  });

type Document = z.infer<typeof settings>;

export interface StoreSettings {
  readonly name: string;
  readonly dataDir: string;
  readonly engine: string;
}

export interface RepositorySettings {
  readonly name: string;
  readonly destination: string;
  readonly compress: boolean;
  readonly encryption:
    | { readonly identity?: string; readonly passphrase?: string; readonly keyFile?: string }
    | undefined;
}

export interface Plan extends Omit<Document['plans'][string], 'store' | 'repository'> {
  readonly name: string;
  readonly store: StoreSettings;
  readonly repository: RepositorySettings;
  readonly jobs: string | undefined;
  /** When its settings file was last changed: a due time before that was not meant. */
  readonly writtenAtMs: number;
}

export interface Settings {
  readonly path: string;
  readonly stores: readonly StoreSettings[];
  readonly repositories: readonly RepositorySettings[];
  readonly plans: readonly Plan[];
  readonly alerts: AlertSettings | undefined;
}

const LIMIT_BYTES = 1024 * 1024;

/**
 * Relative paths in the file are meant from the folder that it lies in. `INVALID_REQUEST` names the first two places that are
 * wrong; `NOT_FOUND`.
 */
export async function readSettings(fs: FileSystem, file: string): Promise<Settings> {
  const refuse = (why: string, cause?: unknown) =>
    new StillpointError('INVALID_REQUEST', `${file}: ${why}`, {
      path: file,
      cause,
      hint: 'src/schedule/README.md shows a whole file.',
    });
  const bytes = await readSmallFile(fs, file, LIMIT_BYTES);
  if (bytes === undefined) {
    throw new StillpointError('NOT_FOUND', `there is no settings file ${file}`, {
      path: file,
      hint: `There is nothing at ${resolve(file)}: check the path, or write that file; src/schedule/README.md shows a whole one.`,
    });
  }
  const writtenAtMs = Number((await fs.inspect(file))?.mtimeNs ?? 0n) / 1e6;
  const document = decodeJson<Document>(bytes.toString('utf8'), settings, refuse);
  const here = (text: string): string => resolve(dirname(file), text);
  const stores = Object.entries(document.stores).map(
    ([name, { data_dir, engine }]): StoreSettings => ({ name, dataDir: here(data_dir), engine }),
  );
  const repositories = Object.entries(document.repositories).map(
    ([name, value]): RepositorySettings => repositoryIn(name, value, here),
  );
  const plans = Object.entries(document.plans).map(
    ([name, plan]): Plan => ({
      ...plan,
      ...(plan.scratch !== undefined && { scratch: here(plan.scratch) }),
      name,
      jobs: document.jobs && secretIn(document.jobs, here),
      writtenAtMs,
      store: stores.find((one) => one.name === plan.store)!,
      repository: repositories.find((one) => one.name === plan.repository)!,
    }),
  );
  return {
    path: resolve(file),
    stores,
    repositories,
    plans,
    alerts: document.alerts && alertsIn(document.alerts, here),
  };
}

/** @param here Resolves a path that is relative to the file. */
export const repositoryIn = (
  name: string,
  { destination, encryption, compress }: z.infer<typeof repositorySchema>,
  here: (text: string) => string,
): RepositorySettings => ({
  name,
  compress,
  destination: placeOf(destination, here),
  encryption: encryption && {
    ...(encryption.identity !== undefined && { identity: here(encryption.identity) }),
    ...(encryption.passphrase !== undefined && { passphrase: secretIn(encryption.passphrase, here) }),
    ...(encryption.key_file !== undefined && { keyFile: here(encryption.key_file) }),
  },
});

function placeOf(destination: string, here: (text: string) => string): string {
  if (/^[a-z0-9]+:\/\//i.test(destination)) return destination;
  return here(destination.replace(/^folder:/, ''));
}
