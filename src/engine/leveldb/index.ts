import { type Checks, checkOptions, optional, wholeNumber } from '../../env/checks.ts';
import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/worker-pool.ts';
import { CURRENT, LOCK, parseFileName } from '../../format/leveldb/file-name.ts';
import type { Engine, FileCheck, FileCheckRequest } from '../engine.ts';
import { checkRawFile } from '../raw-file-check.ts';
import { checkConsistency } from './check-consistency.ts';
import { checkCurrent } from './check-current.ts';
import { checkLog } from './check-log.ts';
import { checkManifest } from './check-manifest.ts';
import { checkTable } from './check-table.ts';
import { detect, listFiles } from './directory.ts';
import type { LeveldbFacts } from './facts.ts';
import { planFromOutside } from './plan.ts';
import { aGateable, attachWriteBarrier } from './write-barrier.ts';

export interface LeveldbOptions {
  /**
   * The open database (`ClassicLevel` or another `abstract-level` over LevelDB), if it lives in this process. Its writes
   * are then held back while the files are looked at, some milliseconds, so that a snapshot holds every write that was
   * acknowledged when it was taken and none that was not. Writes that began before this call are not waited for.
   * Default: none; then a write that is under way may or may not be in the snapshot.
   */
  readonly database?: object;
  /**
   * How often an instant without change is looked for before the logs are taken first and the tables after them, which
   * always ends. Default 24.
   */
  readonly windowRounds?: number;
}

export interface LeveldbEngine extends Engine {
  /** Takes the gate off the database given as `database`. */
  detach(): void;
}

const WINDOW_ROUNDS = 24;

const OPTIONS: Checks<LeveldbOptions> = {
  database: optional(aGateable),
  windowRounds: optional(wholeNumber(0)),
};

/** LevelDB, as written by `classic-level` and Google's LevelDB up to 1.23. `TypeError` for an unusable option. */
export function createLeveldbEngine(options: LeveldbOptions = {}): LeveldbEngine {
  checkOptions('createLeveldbEngine', options, OPTIONS);
  const { database, windowRounds = WINDOW_ROUNDS } = options;
  const gate = database === undefined ? undefined : attachWriteBarrier(database);
  return {
    name: 'leveldb',
    // Only ever opened from another process: closing any descriptor on it would release the lock of the one that has it.
    lockFile: LOCK,
    hasImmutableFiles: true,
    requiresStableDirectory: true,
    detect,
    listFiles,
    plan: (context) => planFromOutside(context, { gate, windowRounds }),
    checkFile,
    checkConsistency,
    detach: () => gate?.detach(),
  };
}

export const leveldbEngine: Engine = createLeveldbEngine();

async function checkFile(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck> {
  const checkContent = request.level === 'files' ? undefined : contentCheckOf(request.path);
  if (checkContent === undefined) return checkRawFile(file, request, run);
  const { facts: content = null, ...check } = await checkContent(file, request, run);
  const isDeferred = request.live && request.path !== CURRENT;
  const facts = { content, deferred: isDeferred ? check.findings : [] } as LeveldbFacts;
  return { ...check, findings: isDeferred ? [] : check.findings, facts };
}

function contentCheckOf(path: string): Engine['checkFile'] | undefined {
  if (path === CURRENT) return checkCurrent;
  switch (parseFileName(path)?.kind) {
    case 'log':
      return checkLog;
    case 'manifest':
      return checkManifest;
    case 'table':
      return checkTable;
    default:
      return undefined;
  }
}
