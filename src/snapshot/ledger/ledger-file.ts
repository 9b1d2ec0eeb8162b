import { dirname, join } from 'node:path';
import * as z from 'zod';
import { type JsonDocument, readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { listIfPresent, makeFolders, removeIfPresent } from '../../env/io.ts';
import { acquireWithin } from '../../env/lock.ts';
import { warn } from '../../env/safe-calls.ts';
import { isRefusal, StillpointError } from '../../errors.ts';
import { crc32 } from '../../format/crc32.ts';
import { LEVELS } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { layoutAround, nameOf, proofsFolder } from '../store/layout.ts';
import { keepProofReserve, withReserve } from '../store/reserve.ts';

/**
 * `proofs/<name>.json` beside the snapshots: what was found out about each file of a snapshot, and when. Losing a proof costs
 * time, never correctness: it counts only for the very file and the very checksums that the manifest names. Damage that is not on
 * record is forgotten, and a list calls the snapshot good again: space is kept aside for a full disk.
 */

const LIMIT_BYTES = 256 * 1024 * 1024;
const EXTENSION = '.json';

const findingSchema = z.object({
  path: z.string(),
  offset: z.number().nullable(),
  code: z.string(),
  severity: z.literal('warning'),
  verdict: z.literal('unread').exactOptional(),
  message: z.string(),
});

const proofSchema = z.object({
  ino: z.string(),
  mtime_ns: z.string(),
  size: z.number().int().min(0),
  crc32: z.number().int().min(0).max(0xffffffff),
  crc32c: z.number().int().min(0).max(0xffffffff).optional(),
  level: z.enum(LEVELS),
  proven_at_ms: z.number(),
  /** When it was last proven by bytes that came from the device itself. */
  medium_at_ms: z.number().optional(),
  counts: z.record(z.string(), z.union([z.number(), z.string(), z.null()])),
  facts: z.unknown().optional(),
  /** A file with an error has no proof. */
  warnings: z.array(findingSchema).optional(),
  /** Which writing of the ledger entered it. */
  sequence: z.number().optional(),
});

/** What is on record of one file. */
export type FileProof = z.infer<typeof proofSchema>;

const damageSchema = z.object({
  at_ms: z.number(),
  /** Of the reading that found it: a lesser one cannot tell that it is gone. */
  level: z.enum(LEVELS),
  sequence: z.number(),
});

/** Of earlier versions: only the deepest reading that begins later tells that it is gone. */
const earlierDamage = z.number().transform((at_ms) => ({ at_ms, level: 'full', sequence: 0 }) as const);

/** That a file lost its proof. The time is for people: `sequence` says what came first. */
export type FileDamage = z.infer<typeof damageSchema>;

/** How far a ledger was at some moment. What was written later has a higher number, or the ledger has another id. */
export interface LedgerState {
  /** Null where nothing was written yet. */
  readonly id: string | null;
  /** Counts the writings. */
  readonly sequence: number;
}

export interface Ledger extends LedgerState {
  readonly proofs: Map<string, FileProof>;
  readonly damaged: Map<string, FileDamage>;
}

const sumOf = (content: object): number => crc32(Buffer.from(JSON.stringify(content)));

/**
 * `crc32` covers the compact JSON of everything else. A proof is believed without a look at the file, so one flipped bit must not
 * make a healthy database look damaged.
 */
const isIntact = (json: unknown): boolean => {
  const { crc32, ...content } = (json ?? {}) as Record<string, unknown>;
  return crc32 === sumOf(content);
};

const LEDGER: JsonDocument<Ledger> = {
  schema: z
    .unknown()
    .refine(isIntact)
    .pipe(
      z.object({
        files: z.record(z.string(), proofSchema),
        damaged: z.record(z.string(), z.union([damageSchema, earlierDamage])).optional(),
        id: z.string().nullish(),
        sequence: z.number().optional(),
      }),
    )
    .transform(({ files, damaged = {}, id = null, sequence = 0 }) => ({
      proofs: new Map(Object.entries(files)),
      damaged: new Map(Object.entries(damaged)),
      id,
      sequence,
    })),
  limitBytes: LIMIT_BYTES,
  refuse: (why, cause) => new StillpointError('IO_ERROR', why, { cause }),
};

const ledgerFile = (location: string): string =>
  join(proofsFolder(dirname(location)), `${nameOf(location)}${EXTENSION}`);

/**
 * The ledger of a snapshot. One that is absent or damaged counts as empty. Rejects where the system would not let this process look:
 * damage may be on record there, and whoever cannot read a ledger must not replace it.
 */
export async function readLedger(fs: FileSystem, location: string): Promise<Ledger> {
  const ledger = await readJson(fs, ledgerFile(location), LEDGER).catch((error) => {
    if (isRefusal(error)) throw error;
    return undefined;
  });
  return ledger ?? { proofs: new Map(), damaged: new Map(), id: null, sequence: 0 };
}

/** The same; undefined where this process may not look. */
export const readLedgerIfAllowed = (fs: FileSystem, location: string): Promise<Ledger | undefined> =>
  readLedger(fs, location).catch((error) => {
    if (isRefusal(error)) return undefined;
    throw error;
  });

export function writeLedger(
  { fs, newId }: Environment,
  location: string,
  { proofs, damaged, id, sequence }: Ledger,
): Promise<void> {
  const content = {
    files: Object.fromEntries(proofs),
    ...(damaged.size > 0 && { damaged: Object.fromEntries(damaged) }),
    id: id ?? newId(),
    sequence: sequence + 1,
  };
  return writeJson(fs, ledgerFile(location), { ...content, crc32: sumOf(content) }, 'compact');
}

export const removeLedger = (fs: FileSystem, location: string): Promise<void> =>
  removeIfPresent(fs, ledgerFile(location));

/**
 * Does `work`, which writes the ledgers of `locations` in one parent, and keeps space aside for writing them again. `isUrgent`: it
 * may use that space. `work` must be repeatable.
 */
export async function withProofReserve(
  fs: FileSystem,
  locations: readonly string[],
  isUrgent: boolean,
  work: () => Promise<void>,
): Promise<void> {
  const layout = locations[0] && layoutAround(dirname(locations[0]));
  if (!layout) return work();
  await (isUrgent ? withReserve(fs, layout, work, 'reserve-proofs') : work());
  let largestBytes = 0;
  for (const location of locations)
    largestBytes = Math.max(largestBytes, (await fs.inspect(ledgerFile(location)))?.sizeBytes ?? 0);
  await keepProofReserve(fs, layout, largestBytes).catch(warn); // what was to be on record is
}

/** The places of the snapshots in `parent` that have a ledger. */
export async function locationsWithLedger(fs: FileSystem, parent: string): Promise<string[]> {
  const files = await listIfPresent(fs, proofsFolder(parent));
  return files
    .filter(({ name }) => name.endsWith(EXTENSION))
    .map(({ name }) => join(parent, name.slice(0, -EXTENSION.length)));
}

/**
 * Runs `work` while no other process writes a ledger beside the snapshots in `parent`: two that read, change and write at once
 * would lose each other's notes, and bring back a proof that was taken away. `CONFLICT` after `waitMs`.
 */
export async function withLedgerLock(
  env: Environment,
  parent: string,
  waitMs: number,
  work: () => Promise<void>,
): Promise<void> {
  const folder = proofsFolder(parent);
  await makeFolders(env.fs, folder);
  const path = join(folder, 'lock');
  const lock = await acquireWithin(env, path, waitMs);
  if (lock === undefined)
    throw new StillpointError('CONFLICT', `another process keeps the ledger of proofs locked: ${path}`, {
      path,
    });
  try {
    await work();
  } finally {
    await lock.release();
  }
}
