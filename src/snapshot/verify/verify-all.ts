import { join } from 'node:path';
import type { FileCheck } from '../../engine/engine.ts';
import { type Finding, isDamaged, noCounts, type Report } from '../../engine/report.ts';
import type { HeldLock } from '../../env/lock.ts';
import type { RunControl } from '../../env/run-control.ts';
import { isRefusal, StillpointError, toStillpointError } from '../../errors.ts';
import type { Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import type { FileProof } from '../ledger/ledger-file.ts';
import { checkOf, isProofOfFile, readProofs } from '../ledger/proven-files.ts';
import { LEDGER_WAIT_MS, noteProofs } from '../ledger/write-proofs.ts';
import { lockForReading } from '../source/folder-source.ts';
import { compareNames, nameOf } from '../store/layout.ts';
import { snapshotNames } from '../store/list.ts';
import { checkInBatches } from './check-files.ts';
import { prove } from './prove.ts';
import { bytesOf, findingFrom, groupsOf, type StoredFile, StoredFiles, type Survey } from './stored-files.ts';

/** The ledger is written after this many bytes, so that a killed run has not read in vain. */
const NOTE_BYTES = 4 * 1024 * 1024 * 1024;

export interface VerifyAllRequest {
  /** The folder that holds the snapshots. */
  readonly parent: string;
  readonly level: Level;
  /** Stop reading after about this many bytes. */
  readonly maxBytes: number;
  /** Files with a younger proof are not read again. */
  readonly olderThanMs: number;
  readonly control: RunControl;
  /** Called once it is known how many bytes will be read. */
  readonly onPlanned?: (bytes: number) => void;
}

export interface SnapshotVerdict {
  readonly name: string;
  readonly location: string;
  /** Everything that is wrong, shared files included. For files that were not read, their last proof counts. */
  readonly report: Report;
  /** False when some files have never been proven at this level, and were not read this time. */
  readonly complete: boolean;
}

export interface VerifyAllTotals {
  readonly snapshots: number;
  readonly damaged: number;
  /** Over all snapshots, shared files counted for each. */
  readonly files: number;
  readonly bytes: number;
  /** Files on disk: a shared file counts once. */
  readonly distinctFiles: number;
  readonly distinctBytes: number;
  readonly readFiles: number;
  readonly readBytes: number;
  readonly skippedFiles: number;
  readonly skippedBytes: number;
  /** Skipped files that have never been proven at this level. */
  readonly unprovenFiles: number;
  /** The time of the oldest proof among the skipped files; null when none has one. */
  readonly oldestProofAtMs: number | null;
}

export interface VerifyAllResult {
  /** Every snapshot is faithful, as far as it was read. */
  readonly ok: boolean;
  readonly level: Level;
  readonly location: string;
  /** Oldest first. */
  readonly snapshots: readonly SnapshotVerdict[];
  /** Names of snapshots that were removed during the run. */
  readonly gone: readonly string[];
  readonly totals: VerifyAllTotals;
  /** Warnings that concern no snapshot: the ledger could not be written. */
  readonly warnings: readonly Finding[];
}

/**
 * Verifies all snapshots in a folder. Reads each file on disk once, however many snapshots share it, the one with the oldest proof
 * first. The ledger decides only the order and, where the caller limits the reading, what is left out. Changes nothing but
 * the ledger. Damage of a file is a finding of every snapshot that has it.
 */
export const verifySnapshots = (env: Environment, request: VerifyAllRequest): Promise<VerifyAllResult> =>
  new VerifyingAll(env, request).run();

class VerifyingAll {
  readonly #env: Environment;
  readonly #request: VerifyAllRequest;
  readonly #surveys = new Map<string, Survey>();
  readonly #warnings: Finding[] = [];
  readonly #sinceMs: number;

  constructor(env: Environment, request: VerifyAllRequest) {
    this.#env = env;
    this.#request = request;
    this.#sinceMs = env.clock.nowMs();
  }

  async run(): Promise<VerifyAllResult> {
    const { parent, level, maxBytes, olderThanMs, control, onPlanned } = this.#request;
    const { fs } = this.#env;
    const names = (await snapshotNames(fs, parent)).sort(compareNames);
    const stored = new StoredFiles(this.#env, level, this.#sinceMs);
    for (const name of names) {
      const survey = await this.#whileLocked(name, (folder) => stored.survey(folder, control)).catch(
        (error) => {
          if (!isRefusal(error)) throw error;
          return { problem: findingFrom('', error) };
        },
      );
      if (survey !== undefined) this.#surveys.set(name, survey);
    }
    const chosen = stored.choose(maxBytes, olderThanMs);
    onPlanned?.(bytesOf(chosen));
    for (const group of groupsOf(chosen, NOTE_BYTES)) {
      await this.#whileLocked(group[0]!.home, (folder) => this.#readGroup(folder, group));
    }
    const snapshots: SnapshotVerdict[] = [];
    for (const [name, survey] of this.#surveys) {
      const verdict =
        'problem' in survey
          ? await this.#unjudged(name, survey.problem)
          : await this.#whileLocked(name, (folder) => this.#judge(name, folder, survey.files));
      if (verdict !== undefined) snapshots.push(verdict);
    }
    const judged = new Set(snapshots.map(({ name }) => name));
    return {
      ok: snapshots.every(({ report }) => report.ok),
      level,
      location: parent,
      snapshots,
      gone: names.filter((name) => !judged.has(name)),
      totals: this.#addUp(snapshots),
      warnings: this.#warnings,
    };
  }

  /** Locks a snapshot against pruning for one step. Undefined when it is gone: it may be pruned between steps. */
  async #whileLocked<T>(name: string, work: (folder: string) => Promise<T>): Promise<T | undefined> {
    const { fs } = this.#env;
    this.#request.control.checkCancelled();
    const folder = join(this.#request.parent, name);
    if ((await fs.inspect(folder)) === undefined) return undefined;
    let lock: HeldLock | undefined;
    let isLocked = false;
    try {
      lock = await lockForReading(this.#env, folder);
      isLocked = true;
      return await work(folder);
    } catch (error) {
      const isBeingDeleted = !isLocked && error instanceof StillpointError && error.code === 'CONFLICT';
      if (isBeingDeleted || (await fs.inspect(folder)) === undefined) return undefined;
      throw error;
    } finally {
      await lock?.release();
    }
  }

  /** REQUIRES: the files have the same home, hence the same engine. */
  async #readGroup(home: string, group: readonly StoredFile[]): Promise<void> {
    try {
      await this.#read(home, group);
    } catch (error) {
      findingFrom('', error);
      // Read them one by one, to find which cannot be read.
      for (const file of group) {
        await this.#read(home, [file]).catch((failure) => {
          file.failure = findingFrom(file.path, failure);
        });
      }
    }
    await this.#note(home, group);
  }

  async #read(root: string, files: readonly StoredFile[]): Promise<void> {
    const { level, control } = this.#request;
    const { engine } = files[0]!;
    const sized = files.map(({ path, stat }) => ({ path, sizeBytes: stat.sizeBytes }));
    const checks = await checkInBatches(this.#env, { root, engine, level, live: false, control }, sized);
    for (const file of files) file.check = checks.get(file.path)!;
  }

  /** Undefined when it is gone. */
  async #unjudged(name: string, problem: Finding): Promise<SnapshotVerdict | undefined> {
    const { parent, level } = this.#request;
    const location = join(parent, name);
    if ((await this.#env.fs.inspect(location)) === undefined) return undefined;
    return { name, location, report: unjudged(level, problem), complete: false };
  }

  async #judge(name: string, location: string, files: readonly StoredFile[]): Promise<SnapshotVerdict> {
    const { level, control } = this.#request;
    const { known, unread } = await this.#knowledgeOf(location, files);
    const engine = files[0]?.engine;
    try {
      const options = { level, control, known, unread, ...(engine && { engine }) };
      const { report } = await prove(this.#env, location, options);
      await this.#note(
        location,
        files.filter(({ home }) => home !== name),
      );
      return { name, location, report, complete: unread.size === 0 };
    } catch (error) {
      return { name, location, report: unjudged(level, findingFrom('', error)), complete: false };
    }
  }

  /** For each file of a snapshot: what was read, what its last proof says, or why neither is known. */
  async #knowledgeOf(location: string, files: readonly StoredFile[]) {
    const { level, control } = this.#request;
    const known = new Map<string, FileCheck>();
    const unread = new Map<string, Finding | undefined>();
    const hasSkipped = files.some(({ isSkipped }) => isSkipped);
    const proofs = hasSkipped ? await readProofs(this.#env.fs, location) : new Map<string, FileProof>();
    for (const { path, stat, check, failure, isSkipped } of files) {
      if (check !== undefined) known.set(path, check);
      else if (failure !== undefined) unread.set(path, failure);
      else if (isSkipped) {
        // Also when the bytes differ from the manifest: what was found wrong stays wrong until it is read again.
        const proof = proofs.get(path);
        const carried = proof && isProofOfFile(proof, stat) && checkOf(proof, level, control.wantsMedium);
        if (carried) known.set(path, carried);
        else unread.set(path, undefined);
      } // else its home was pruned before it was read: it is read with this snapshot
    }
    return { known, unread };
  }

  async #note(location: string, files: readonly StoredFile[]): Promise<void> {
    const read = files
      .filter(({ check, failure }) => check !== undefined || (failure && failure.verdict !== 'unread'))
      .map(({ path, check }) => ({ path, check }));
    if (read.length === 0) return;
    const isFirst = this.#warnings.length === 0;
    const waitMs = isFirst ? LEDGER_WAIT_MS : 0; // after one lock timeout, do not wait for this holder again
    try {
      const survey = this.#surveys.get(nameOf(location));
      const before = survey !== undefined && 'files' in survey ? survey.ledger : undefined;
      const reading = { level: this.#request.level, before };
      await noteProofs(this.#env, location, read, reading, { waitMs });
    } catch (error) {
      if (!isFirst) return; // one warning is enough
      this.#warnings.push(notOnRecord(error));
    }
  }

  #addUp(snapshots: readonly SnapshotVerdict[]): VerifyAllTotals {
    const all = snapshots.flatMap(({ name }) => {
      const survey = this.#surveys.get(name);
      return survey !== undefined && 'files' in survey ? survey.files : [];
    });
    const distinct = [...new Set(all)];
    const read = distinct.filter(({ check }) => check !== undefined);
    const skipped = distinct.filter(({ isSkipped }) => isSkipped);
    const proven = skipped.filter(({ provenAtMs }) => provenAtMs > 0);
    return {
      snapshots: snapshots.length,
      damaged: snapshots.filter(({ report }) => isDamaged(report)).length,
      files: all.length,
      bytes: bytesOf(all),
      distinctFiles: distinct.length,
      distinctBytes: bytesOf(distinct),
      readFiles: read.length,
      readBytes: bytesOf(read),
      skippedFiles: skipped.length,
      skippedBytes: bytesOf(skipped),
      unprovenFiles: skipped.length - proven.length,
      oldestProofAtMs: proven.reduce<number | null>(
        (oldest, { provenAtMs }) => Math.min(oldest ?? provenAtMs, provenAtMs),
        null,
      ),
    };
  }
}

/** The report on a snapshot that could not be judged any further. */
const unjudged = (level: Level, finding: Finding): Report => ({
  ok: false,
  verdict: finding.verdict ?? 'copy-damaged',
  level,
  medium: false,
  engine: 'files',
  steps: [],
  counts: noCounts(),
  findings: [finding],
});

/** What was found could not be put on record: damage is forgotten until it is found again. */
export const notOnRecord = (error: unknown): Finding => ({
  path: '',
  offset: null,
  code: 'LEDGER_NOT_WRITTEN',
  severity: 'warning',
  message: `what was found cannot be put on record: ${toStillpointError(error).message}`,
});
