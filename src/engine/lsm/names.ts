/** The files that an lsm database is made of, relative to the data directory. */
export const LOG = 'lsm.wal';
export const CHECKPOINT = 'checkpoint.meta';
export const TABLES = 'sst';
/** Our lock file. The engine itself treats `*.alopex.lock` as lock files, which are no part of the state. */
export const LOCK = 'lsm.alopex.lock';

/** What a write of these files that was cut off leaves. */
const TEMPORARY = /^\.(lsm\.wal|checkpoint\.meta)\.tmp$/;

/** Whether a name at the root of a data directory is the engine's. */
export const ownsName = (name: string): boolean =>
  [LOG, CHECKPOINT, TABLES, LOCK].includes(name) || TEMPORARY.test(name);

const TEMPORARY_TABLE = /^\.[0-9]+\.sst\.tmp$/;

/** Whether a path in the folder of the tables is the engine's. */
export function ownsInside(path: string): boolean {
  const name = path.slice(TABLES.length + 1);
  return tableId(name) !== undefined || TEMPORARY_TABLE.test(name);
}

/** The first four bytes of a table, and the last four. */
export const TABLE_MAGIC = 'ASST';
export const TABLE_END_MAGIC = 'TSSA';

/** No LSN and no id of a table gets this far. The numbers after it must still fit into a u64. */
export const LAST_SENSIBLE_NUMBER = 1n << 63n;

const MAX_U64 = 0xffff_ffff_ffff_ffffn;
const TABLE_NAME = /^(0|[1-9][0-9]{0,19})\.sst$/;

/** The id in the name of a table, without its folder. Undefined for leading zeros and for more than a u64. */
export function tableId(name: string): bigint | undefined {
  const digits = TABLE_NAME.exec(name)?.[1];
  if (digits === undefined) return undefined;
  const id = BigInt(digits);
  return id <= MAX_U64 ? id : undefined;
}

export const tablePath = (id: bigint): string => `${TABLES}/${id}.sst`;
