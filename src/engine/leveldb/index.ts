import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { CURRENT, LOCK, ownsName, parseFileName } from '../../format/leveldb/file-name.ts';
import type { Engine, FileCheck, FileCheckRequest } from '../engine.ts';
import { checkRawFile } from '../raw-file-check.ts';
import { checkConsistency } from './check-consistency.ts';
import { checkCurrent } from './check-current.ts';
import { checkLog } from './check-log.ts';
import { checkManifest } from './check-manifest.ts';
import { checkTable } from './check-table.ts';
import { detect, listFiles } from './directory.ts';
import type { LeveldbFacts } from './facts.ts';
import { history } from './history.ts';
import { planFromOutside } from './plan.ts';
import { rewriteManifest } from './rewrite-manifest.ts';
import type { WriteBarrier } from './write-barrier.ts';

export interface LeveldbEngine extends Engine {
  /** Gives the database its own methods back. */
  detach(): void;
}

/** @param barrier Holds back the writes of a database in this process. */
export function leveldbEngineWith(barrier: WriteBarrier | undefined, windowRounds: number): LeveldbEngine {
  return {
    name: 'leveldb',
    // Only ever opened from another process: closing any descriptor on it would release the lock of the one that has it.
    lockFile: LOCK,
    ownsName,
    hasImmutableFiles: true,
    requiresStableDirectory: true,
    detect,
    listFiles,
    plan: (context) => planFromOutside(context, { barrier, windowRounds }),
    checkFile,
    checkConsistency,
    rewriteManifest,
    history,
    detach: () => barrier?.detach(),
  };
}

/** How many moments without change to look for before the logs are captured first. */
export const WINDOW_ROUNDS = 24;

export const leveldbEngine: Engine = leveldbEngineWith(undefined, WINDOW_ROUNDS);

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
