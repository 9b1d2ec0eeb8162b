/**
 * The catalogue of errors. A code never changes its meaning: HTTP status, exit code and hint hang on it, and so
 * do callers. `test/errors.test.ts` ties this list to the table in `errors.md`, both ways.
 */

interface CatalogueEntry {
  readonly http: number;
  readonly exit: number;
  readonly hint: string;
}

export const ERROR_CODES = {
  INVALID_REQUEST: { http: 400, exit: 2, hint: 'Correct the argument that the message names.' },
  UNAUTHORIZED: { http: 401, exit: 1, hint: 'Send the key as `x-api-key` or `Authorization: Bearer`.' },
  NOT_FOUND: { http: 404, exit: 5, hint: 'Check the path, name or id; `stillpoint list` shows what exists.' },
  CONFLICT: { http: 409, exit: 4, hint: 'Wait until what is running has ended, then try again.' },
  TARGET_NOT_EMPTY: { http: 409, exit: 4, hint: 'Name a folder that does not exist yet or is empty.' },
  PAYLOAD_TOO_LARGE: { http: 413, exit: 2, hint: 'Send less in one request.' },
  UNAVAILABLE: { http: 503, exit: 4, hint: 'The database is closed for a moment; try again.' },
  NOT_A_FOLDER: { http: 400, exit: 2, hint: 'Name the data directory itself, not a file.' },
  FOLDER_REPLACED: {
    http: 409,
    exit: 4,
    hint: 'The path leads to another folder than before. Restart the host, or make a new coordinator on the folder that is meant.',
  },
  EMPTY_SOURCE: { http: 409, exit: 2, hint: 'There is nothing to capture here; check the path.' },
  ENGINE_MISMATCH: { http: 409, exit: 2, hint: 'Check the path, or choose the engine with `--engine`.' },
  ENGINE_MISSING: { http: 500, exit: 2, hint: 'Install the package that the message names.' },
  ENGINE_INVALID: {
    http: 500,
    exit: 1,
    hint: 'The engine does not keep its contract; run `testEngine` of `stillpoint/testing` on it and tell its author.',
  },
  UNSUPPORTED_FILE: {
    http: 409,
    exit: 1,
    hint: 'Links and special files are never followed; move them out.',
  },
  PATH_OUTSIDE: { http: 400, exit: 2, hint: 'Name a place inside the folder that the message names.' },
  MANIFEST_INVALID: { http: 409, exit: 3, hint: 'The manifest cannot be trusted; use another snapshot.' },
  COPY_DAMAGED: { http: 500, exit: 3, hint: 'Check disk and memory, then take the snapshot again.' },
  SOURCE_DAMAGED: {
    http: 500,
    exit: 3,
    hint: 'The live database itself is damaged; `stillpoint verify DIR` says what is wrong. Keep the older snapshots: `stillpoint restore latest-good --data-dir DIR --in-place` brings the best of them back. Without one, `stillpoint salvage DIR --into NEW` writes what can still be read into a new database (src/guides/database-damaged.md).',
  },
  UNREAD: {
    http: 409,
    exit: 7,
    hint: 'Nothing damaged was found. To keep it all the same, allow it: `--allow-unread`, `allowUnread: true`.',
  },
  RESTORE_INTEGRITY_MISMATCH: {
    http: 409,
    exit: 3,
    hint: 'Nothing was changed. `stillpoint list DIR` shows which snapshots are good; `latest-good` names the best of them.',
  },
  SOURCE_CHANGING: {
    http: 500,
    exit: 1,
    hint: 'The files kept changing; try again with less load or a hook.',
  },
  HOOK_FAILED: { http: 500, exit: 1, hint: 'The function of the host failed, as the message says.' },
  HOOK_TIMEOUT: {
    http: 500,
    exit: 1,
    hint: 'The function of the host took longer than it may; make it do less.',
  },
  HOOK_INVALID: { http: 500, exit: 1, hint: 'The function of the host returned something unusable.' },
  NO_SPACE: {
    http: 507,
    exit: 1,
    hint: 'Free space on that file system: `stillpoint prune DIR --keep 1` works on a full disk too (src/guides/disk-full.md).',
  },
  ACCESS_DENIED: { http: 500, exit: 1, hint: 'Give this process access to the path.' },
  IO_ERROR: {
    http: 500,
    exit: 1,
    hint: 'The operating system refused; check the disk, its mount and the limits that it sets.',
  },
  JOBS_UNAVAILABLE: {
    http: 503,
    exit: 1,
    hint: 'Check address, name and password of the PostgreSQL server that keeps the jobs, and whether it runs.',
  },
  STEPS_UNAVAILABLE: {
    http: 503,
    exit: 1,
    hint: 'Check address, name and password of the PostgreSQL server that keeps the steps, and whether it runs; then run the command again.',
  },
  DATABASE_CLOSED: { http: 503, exit: 1, hint: 'Open the database again.' },
  DATABASE_DAMAGED: {
    http: 500,
    exit: 3,
    hint: 'Restore the latest snapshot; nothing was skipped or repaired.',
  },
  QUIESCED: {
    http: 503,
    exit: 4,
    hint: 'Writes are refused for a moment; send it again after `retry-after`.',
  },
  LEASE_LOST: { http: 409, exit: 4, hint: 'The node took writes meanwhile; quiesce it anew.' },
  KEY_REUSED: { http: 409, exit: 4, hint: 'Send another key: this one stands for another request.' },
  KEY_FORGOTTEN: { http: 410, exit: 4, hint: 'Look at the snapshots of the node, then send a new key.' },
  RANGE_INVALID: { http: 416, exit: 2, hint: 'Ask for bytes that the file has.' },
  NODE_UNREACHABLE: {
    http: 502,
    exit: 1,
    hint: 'Check the URL, the network and the server there (src/guides/node-down.md).',
  },
  NODE_REPLY_INVALID: {
    http: 502,
    exit: 1,
    hint: 'Check what answers at that URL; it does not keep to the admin RPC.',
  },
  PLAN_INVALID: { http: 409, exit: 3, hint: 'The plan cannot be trusted; make a new one in another folder.' },
  JOURNAL_INVALID: {
    http: 409,
    exit: 3,
    hint: 'The journal cannot be trusted; begin a new backup in another folder.',
  },
  RECEIPT_INVALID: {
    http: 500,
    exit: 1,
    hint: 'The executor did not say what it did; correct the executor.',
  },
  PREFLIGHT_REFUSED: {
    http: 409,
    exit: 4,
    hint: 'Nothing was changed; settle what the message names, then run it again.',
  },
  TOPOLOGY_CHANGED: {
    http: 409,
    exit: 4,
    hint: 'Nothing was changed; make a new plan for the fleet as it is now.',
  },
  NO_READY_OPERATION: { http: 409, exit: 4, hint: 'Look at the state with `stillpoint fleet status DIR`.' },
  STORE_INVALID: {
    http: 500,
    exit: 1,
    hint: 'The identity of this database cannot be read; bring back `.lifecycle/store.json` from a copy.',
  },
  DESTINATION_NOT_FOUND: {
    http: 404,
    exit: 5,
    hint: 'Check the destination, and that its disk is mounted. Only where there never was one: `stillpoint repo init DEST` makes a repository.',
  },
  DESTINATION_PERMISSION_DENIED: {
    http: 403,
    exit: 1,
    hint: 'Give these credentials, or this user, access to the destination.',
  },
  DESTINATION_CREDENTIALS_INVALID: {
    http: 401,
    exit: 1,
    hint: 'Check the keys: the usual variables (AWS_ACCESS_KEY_ID, …), the profile, or the role of the machine.',
  },
  DESTINATION_CONFIG_INVALID: {
    http: 422,
    exit: 2,
    hint: 'Correct what the message names in the destination.',
  },
  DESTINATION_NO_SPACE: {
    http: 507,
    exit: 1,
    hint: 'Make room at the destination, then try again. `stillpoint backup prune` works on a full disk, too (src/guides/backup-disk-full.md).',
  },
  DESTINATION_UNREACHABLE: {
    http: 502,
    exit: 1,
    hint: 'Check the network and the server of the destination, then try again.',
  },
  DESTINATION_PATH_CONFLICT: {
    http: 422,
    exit: 4,
    hint: 'Something else stands at that place of the destination; name another one.',
  },
  REPOSITORY_EXISTS: { http: 409, exit: 4, hint: 'Use the repository that is there, or name another place.' },
  REPOSITORY_INVALID: {
    http: 409,
    exit: 3,
    hint: 'What the message names cannot be trusted; bring that object back from a copy of the repository.',
  },
  REPOSITORY_KEY_REQUIRED: {
    http: 409,
    exit: 2,
    hint: 'Name the key: `--identity FILE`, `--passphrase env:NAME` or `--key-file FILE`; in the library `encryption`.',
  },
  REPOSITORY_KEY_WRONG: { http: 403, exit: 1, hint: 'Use the key that this repository was made with.' },
  REPOSITORY_KEY_INVALID: { http: 422, exit: 2, hint: 'Correct the key that the message names.' },
  REPOSITORY_NOT_ENCRYPTED: {
    http: 409,
    exit: 2,
    hint: 'Nothing was written. Check that it is the right repository; to use one in clear, name no key.',
  },
  REPOSITORY_KEY_CHANGED: {
    http: 409,
    exit: 3,
    hint: 'Nothing was written. Somebody has put another repository in the place of yours: bring it back, or begin with a new one.',
  },
  BACKUP_DAMAGED: {
    http: 409,
    exit: 3,
    hint: 'Use another backup, and make a new one: `stillpoint backup run` uploads what is damaged again.',
  },
  SOURCE_UNAVAILABLE: {
    http: 503,
    exit: 1,
    hint: 'The snapshot to back up is not there or not usable; take another one.',
  },
  BACKUP_ALREADY_RUNNING: {
    http: 409,
    exit: 4,
    hint: 'Wait for the job that the message names; `stillpoint jobs show` tells how far it is.',
  },
  RESTORE_PRECONDITION_FAILED: {
    http: 409,
    exit: 4,
    hint: 'Make sure that this is the right backup; `--allow-other-store` restores it all the same.',
  },
  STORE_DIVERGED: {
    http: 409,
    exit: 4,
    hint: 'Somebody else has backed up under this store id: a clone of this directory, perhaps. Let one go on with `--claim`, and the other begin with `--new-store`.',
  },
  PUBLICATION_UNKNOWN: {
    http: 502,
    exit: 1,
    hint: 'The backup may stand or not; the next run looks, and adopts it if it does.',
  },
  BACKUP_NOT_RECORDED: {
    http: 500,
    exit: 1,
    hint: 'The backup stands and can be restored; the next run records it.',
  },
  INTERRUPTED: { http: 500, exit: 1, hint: 'The process ended in the middle of it; start it again.' },
  CANCELLED: { http: 409, exit: 130, hint: 'Nothing was changed; start it again whenever you like.' },
  INTERNAL: { http: 500, exit: 1, hint: 'This is a defect of stillpoint; report it with the cause.' },
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** What the catalogue says to do about a code; null for one that it does not have. */
export const hintOf = (code: string | null): string | null =>
  code !== null && Object.hasOwn(ERROR_CODES, code) ? ERROR_CODES[code as ErrorCode].hint : null;

export interface ErrorDetail {
  /** The file or folder concerned. */
  readonly path?: string;
  readonly cause?: unknown;
  /** Replaces the catalogue's hint where the place knows better. */
  readonly hint?: string;
  /** Further data for programs, such as the findings of a proof. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** Every error that stillpoint throws on purpose, save `TypeError` for a mistake in a call. */
export class StillpointError extends Error {
  override readonly name = 'StillpointError';
  readonly code: ErrorCode;
  readonly hint: string;
  readonly path: string | undefined;
  readonly data: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    this.code = code;
    this.hint = detail.hint ?? ERROR_CODES[code].hint;
    this.path = detail.path;
    this.data = detail.data;
  }

  /** Also of another copy of this module: the command, the worker threads and an engine of your own may each have one. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    const { name, code } = (value ?? {}) as { name?: unknown; code?: unknown };
    return (
      value instanceof Error &&
      name === 'StillpointError' &&
      typeof code === 'string' &&
      Object.hasOwn(ERROR_CODES, code)
    );
  }

  get httpStatus(): number {
    return ERROR_CODES[this.code].http;
  }

  get exitCode(): number {
    return ERROR_CODES[this.code].exit;
  }
}

const SYSTEM_CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'NOT_FOUND',
  ENOSPC: 'NO_SPACE',
  EDQUOT: 'NO_SPACE',
  EACCES: 'ACCESS_DENIED',
  EPERM: 'ACCESS_DENIED',
  EROFS: 'ACCESS_DENIED',
};

/** Where the hint of the code would not help. */
const SYSTEM_HINTS: Readonly<Record<string, string>> = {
  EROFS:
    'That file system is mounted read-only: no right of this process changes that. Mount it for writing, or work on a copy elsewhere.',
};

/** The code of a Node system error (`ENOENT`, …), else undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** What the system says for want of rights or resources, and not of the bytes: they may be as they were. */
const REFUSALS: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EMFILE', 'ENFILE', 'ENOMEM']);

/** Whether the system would not let this process look. Nothing is known then of what it did not see. */
export function isRefusal(error: unknown): boolean {
  const { code, cause } = toStillpointError(error);
  return code === 'ACCESS_DENIED' || REFUSALS.has(systemCode(cause) ?? '');
}

/** Whether a disk was full, or a quota used up. */
export const isNoSpace = (error: unknown): boolean => toStillpointError(error).code === 'NO_SPACE';

const SYSTEM_WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  ENOTDIR: 'lies below something that is not a folder',
  EISDIR: 'is a folder',
  EACCES: 'may not be accessed by this user',
  EPERM: 'may not be changed by this user',
  EROFS: 'lies on a file system that is read-only',
  ENOSPC: 'lies on a disk that is full',
  EDQUOT: 'lies on a disk where the quota of this user is used up',
};

/** What a system error says, in words: `/mnt/backups does not exist`. Its own message where there are none. */
export function systemMessage(error: Error): string {
  const { path, dest } = error as { path?: unknown; dest?: unknown };
  const words = SYSTEM_WORDS[systemCode(error) ?? ''];
  return words === undefined || typeof path !== 'string' || dest !== undefined
    ? error.message
    : `${path} ${words}`;
}

/**
 * Any thrown value as a `StillpointError`: one that is already such passes, a system error gets its code and keeps
 * its path, anything else is `INTERNAL`. The cause is always kept.
 */
export function toStillpointError(error: unknown): StillpointError {
  if (error instanceof StillpointError) return error;
  const code = systemCode(error);
  const message = error instanceof Error ? error.message : String(error);
  const path = (error as { path?: unknown } | null)?.path;
  const detail = { cause: error, ...(typeof path === 'string' ? { path } : {}) };
  if (code !== undefined && /^E[A-Z0-9]+$/.test(code)) {
    const words = error instanceof Error ? systemMessage(error) : message;
    const hint = SYSTEM_HINTS[code];
    return new StillpointError(SYSTEM_CODES[code] ?? 'IO_ERROR', words, {
      ...detail,
      ...(hint !== undefined && { hint }),
    });
  }
  return new StillpointError('INTERNAL', message, detail);
}

/** An error as plain data, for crossing a thread; `reviveError` is its inverse. */
export function flattenError(error: unknown): FlatError {
  const known = toStillpointError(error);
  const system = systemCode(known.cause) ?? undefined;
  return {
    code: known.code,
    message: known.message,
    hint: known.hint,
    ...(known.path === undefined ? {} : { path: known.path }),
    ...(known.data === undefined ? {} : { data: known.data }),
    ...(system === undefined ? {} : { system }),
  };
}

export interface FlatError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  readonly path?: string;
  readonly data?: Readonly<Record<string, unknown>>;
  /** Code of the system error behind it. */
  readonly system?: string;
}

export function reviveError(flat: FlatError): StillpointError {
  const { code, message, system, ...detail } = flat;
  const cause = system === undefined ? undefined : Object.assign(new Error(message), { code: system });
  return new StillpointError(code, message, cause === undefined ? detail : { ...detail, cause });
}
