import { type Engine, type FileCheck, MANIFEST } from '../../engine/engine.ts';
import { recognizeEngine } from '../../engine/recognize.ts';
import type { Counts, Finding, Report } from '../../engine/report.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import { isSameIdentity } from '../../env/file-system.ts';
import { walk } from '../../env/folder-tree.ts';
import { RunControl } from '../../env/run-control.ts';
import { isRefusal, StillpointError, systemCode } from '../../errors.ts';
import type { Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { isSnapshotPlace, placeOf } from '../store/layout.ts';
import type { ManifestEntry, ParsedManifest } from '../store/manifest.ts';
import { readManifest } from '../store/manifest-file.ts';
import { checkInBatches, type SizedPath } from './check-files.ts';
import { compareTree, copyDamage, type FoundFile, notAFile } from './compare-tree.ts';
import { downgradeToWarnings, stillnessOf } from './live-directory.ts';
import { proofEngine } from './proof-engine.ts';
import { addUp, ReportBuilder } from './report-builder.ts';
import { findingFrom } from './stored-files.ts';

export interface ProveOptions {
  readonly level?: Level;
  /** Default: what the manifest says, else what the files look like. */
  readonly engine?: Engine;
  readonly control?: RunControl;
  /** Instead of the one in the folder: a staged copy has none yet. */
  readonly manifest?: ParsedManifest;
  /** Checks of files that were read already for this proof, or that carry an earlier one. */
  readonly known?: ReadonlyMap<string, FileCheck>;
  /** What was found while the files were captured. */
  readonly findings?: readonly Finding[];
  /** Files that are not read, with a finding for each that has one. While files are unknown, the files are not judged together. */
  readonly unread?: ReadonlyMap<string, Finding | undefined>;
  /** A file that the system would not let this process read is a finding, and the others are read. Default: no proof is possible then. */
  readonly readsOn?: boolean;
  readonly onPhase?: (step: string) => void;
  /** Called once the files are known: how many, and how many bytes will be read. */
  readonly onPlanned?: (files: number, bytes: number) => void;
}

export interface Proof {
  readonly report: Report;
  /** By path; for the ledger of proofs. */
  readonly checks: ReadonlyMap<string, FileCheck>;
  readonly manifest: ParsedManifest | undefined;
}

/** For a manifest whose seal holds although its bytes are not those that were sealed. */
export const REWRITTEN = 'the manifest still says what was sealed and is written differently: it was changed';

/**
 * Reads a snapshot, or a data directory without a manifest, and reports everything that is wrong. Read-only. Damage is a finding.
 * Rejects only when no report is possible: no such folder, no engine that knows it, a file that the system cannot read.
 */
export async function prove(env: Environment, folder: string, options: ProveOptions = {}): Promise<Proof> {
  for (let attempt = 1; ; attempt++) {
    const engine = options.engine ?? (await recognizeEngine(env.fs, folder).catch(() => undefined));
    const before = engine?.requiresStableDirectory && (await stillnessOf(env.fs, engine, folder));
    const proof = await new Proving(env, folder, options).run();
    const isLive = proof.manifest === undefined && proof.report.engine === engine?.name;
    if (proof.report.ok || !isLive || !engine?.requiresStableDirectory) return proof;
    if (before === (await stillnessOf(env.fs, engine, folder))) return proof;
    if (attempt === LIVE_ATTEMPTS) return { ...proof, report: downgradeToWarnings(proof.report) };
  }
}

/** How often a live directory that keeps changing is read before its findings become warnings. */
const LIVE_ATTEMPTS = 3;

class Proving {
  readonly #env: Environment;
  readonly #folder: string;
  readonly #options: ProveOptions;
  readonly #level: Level;
  readonly #control: RunControl;
  readonly #report: ReportBuilder;
  readonly #checks = new Map<string, FileCheck>();
  #isDistrusted = false;
  /** Files that were to be read and could not be looked at. */
  #refused = 0;

  constructor(env: Environment, folder: string, options: ProveOptions) {
    this.#env = env;
    this.#folder = folder;
    this.#report = new ReportBuilder(env.clock);
    this.#options = options;
    this.#level = options.level ?? 'full';
    this.#control = options.control ?? new RunControl();
  }

  async run(): Promise<Proof> {
    const manifest = await this.#step('manifest', () => this.#readManifest());
    const named = await proofEngine(
      this.#env.fs,
      { folder: this.#folder, manifest, isDistrusted: this.#isDistrusted },
      this.#options.engine,
    );
    const live = manifest === undefined && !this.#isDistrusted;
    if (live && (this.#level === 'files' || named.name === 'files')) {
      this.#report.warn(
        '',
        'NOTHING_TO_COMPARE',
        'without a manifest, reading the files shows that they can be read, and no more',
      );
    }
    const files = await this.#step('list', () =>
      manifest === undefined ? this.#listDirectory(named) : this.#compareTree(manifest.entries),
    );
    const engine = named.forFiles?.((manifest?.entries ?? files).map(({ path }) => path)) ?? named;
    const { known, unread: left, findings = [] } = this.#options;
    // A known check counts only while the file has not been written to since.
    const isKnown = ({ path, stat }: FoundFile) => {
      const identity = known?.get(path)?.identity;
      return identity !== undefined && stat !== undefined && isSameIdentity(identity, stat);
    };
    const unread = files.filter((file) => !isKnown(file) && !left?.has(file.path));
    this.#options.onPlanned?.(
      files.length,
      unread.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    );
    for (const [path, check] of known ?? []) this.#checks.set(path, check);
    await this.#step('read', () => this.#readFiles(engine, unread, live));
    for (const finding of left?.values() ?? []) if (finding !== undefined) this.#report.add(finding);
    const counts = addUp(this.#checks.values());
    await this.#step('content', async () => {
      if (manifest !== undefined) this.#compareChecksums(manifest.entries);
      this.#judgeContent(engine, live, counts);
      this.#report.addAll(findings);
    });
    const checks = [...this.#checks.values()];
    const isComplete = checks.length > 0 && this.#refused === 0 && (left === undefined || left.size === 0);
    const medium = isComplete && checks.every((check) => check.medium === true);
    const report = this.#report.build(engine.name, this.#level, medium, counts);
    return { report, checks: this.#checks, manifest };
  }

  #step<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#options.onPhase?.(name);
    return this.#report.step(name, work);
  }

  async #readManifest(): Promise<ParsedManifest | undefined> {
    if (this.#options.manifest !== undefined) return this.#options.manifest;
    let manifest: ParsedManifest | undefined;
    try {
      manifest = await readManifest(this.#env, this.#folder);
    } catch (error) {
      if (!(error instanceof StillpointError) || error.code !== 'MANIFEST_INVALID') throw error;
      return this.#distrust('MANIFEST_INVALID', error.message);
    }
    if (manifest === undefined) {
      if (!isSnapshotPlace(this.#folder)) return undefined;
      return this.#distrust('MANIFEST_MISSING', 'a snapshot without its manifest');
    }
    if (!manifest.sealed) {
      const message = 'the manifest carries no checksum of itself; another tool wrote it';
      this.#report.warn(MANIFEST, 'MANIFEST_UNSEALED', message);
    }
    if (manifest.rewritten) this.#report.add(copyDamage(MANIFEST, null, 'MANIFEST_REWRITTEN', REWRITTEN));
    if (manifest.entries.length === 0)
      this.#report.add(copyDamage(MANIFEST, null, 'MANIFEST_EMPTY', 'the manifest names no file'));
    return manifest;
  }

  /** Without a manifest there is nothing to compare the files with. They are read all the same, for their content. */
  #distrust(code: string, message: string): undefined {
    this.#isDistrusted = true;
    this.#report.add(copyDamage(MANIFEST, null, code, message));
  }

  async #listDirectory(engine: Engine): Promise<FoundFile[]> {
    if (this.#isDistrusted) return this.#listAll();
    const files: SizedPath[] = [];
    for (const path of await engine.listFiles(this.#env.fs, this.#folder)) {
      const stat = await this.#env.fs.inspect(placeOf(this.#folder, path));
      if (stat?.kind === 'file') files.push({ path, sizeBytes: stat.sizeBytes });
      else if (stat !== undefined)
        this.#report.add(copyDamage(path, null, 'NOT_A_FILE', `is a ${stat.kind}, not a regular file`));
    }
    return files;
  }

  /** Every regular file of a snapshot without a usable manifest. */
  async #listAll(): Promise<SizedPath[]> {
    const files: SizedPath[] = [];
    for await (const { path, kind } of walk(this.#env.fs, this.#folder)) {
      this.#control.checkCancelled();
      if (path === MANIFEST || kind === 'folder') continue;
      if (kind !== 'file') this.#report.add(notAFile(path, kind));
      else {
        const sizeBytes = (await this.#env.fs.inspect(placeOf(this.#folder, path)))?.sizeBytes ?? 0;
        files.push({ path, sizeBytes });
      }
    }
    return files;
  }

  async #compareTree(entries: readonly ManifestEntry[]): Promise<FoundFile[]> {
    const { files, findings } = await compareTree(this.#env.fs, this.#folder, entries, this.#control);
    this.#report.addAll(findings);
    return files;
  }

  async #readFiles(engine: Engine, files: readonly SizedPath[], live: boolean): Promise<void> {
    const request = { root: this.#folder, engine, level: this.#level, live, control: this.#control };
    const read = async (some: readonly SizedPath[]) => {
      for (const [path, check] of await checkInBatches(this.#env, request, some))
        this.#checks.set(path, check);
    };
    if (!live) {
      try {
        await read(files);
      } catch (error) {
        if (!this.#options.readsOn || !isRefusal(error)) throw error;
        for (const file of files) await read([file]).catch((refusal) => this.#refuse(file.path, refusal));
      }
      return;
    }
    // A live database may delete a file during the proof: then it is no longer part of the state.
    await mapConcurrent(files, this.#env.pool.concurrency, async (file) => {
      try {
        const [check] = (await checkInBatches(this.#env, request, [file])).values();
        this.#checks.set(file.path, check!);
      } catch (error) {
        if (!isGone(error) || (await engine.listFiles(this.#env.fs, this.#folder)).includes(file.path))
          throw error;
      }
    });
  }

  #refuse(path: string, error: unknown): void {
    if (!isRefusal(error)) throw error;
    this.#refused++;
    this.#report.add(findingFrom(path, error));
  }

  #compareChecksums(entries: readonly ManifestEntry[]): void {
    const named = this.#report.pathsOf(({ code }) => code === 'FILE_SIZE');
    for (const entry of entries) {
      const check = this.#checks.get(entry.path);
      if (check === undefined || named.has(entry.path)) continue;
      if (check.sizeBytes !== entry.size) {
        const message = `${check.sizeBytes} bytes were read; the manifest says ${entry.size}`;
        this.#report.add(copyDamage(entry.path, Math.min(check.sizeBytes, entry.size), 'FILE_SIZE', message));
        continue;
      }
      const differ = (kind: string, is: number, wanted: number) => {
        const message = `has ${kind} ${hex(is)}; the manifest says ${hex(wanted)}`;
        this.#report.add(copyDamage(entry.path, null, 'FILE_CRC', message));
      };
      if (check.crc32 !== entry.crc32) differ('CRC-32', check.crc32, entry.crc32);
      else if (entry.crc32c !== undefined && (check.crc32c ?? entry.crc32c) !== entry.crc32c)
        differ('CRC-32C', check.crc32c!, entry.crc32c);
    }
  }

  /** Adds the engine's findings: damage of the source, unless the copy is known to differ from it. */
  #judgeContent(engine: Engine, live: boolean, counts: Counts): void {
    if (this.#level === 'files') return;
    const damagedCopies = this.#report.pathsOf(({ severity }) => severity === 'error');
    const add = (finding: Finding) => {
      // Without a manifest nothing shows that the copy equals its source.
      const isCopy = this.#isDistrusted || damagedCopies.has(finding.path);
      const verdict = isCopy ? 'copy-damaged' : 'source-damaged';
      this.#report.add(finding.severity === 'error' ? { ...finding, verdict } : finding);
    };
    for (const check of this.#checks.values()) for (const finding of check.findings) add(finding);
    if (this.#options.unread?.size || this.#refused > 0) return;
    const together = engine.checkConsistency(this.#checks, { level: this.#level, live });
    Object.assign(counts, together.counts);
    for (const finding of together.findings) add(finding);
  }
}

const isGone = (error: unknown): boolean =>
  systemCode((error as StillpointError).cause ?? error) === 'ENOENT';
const hex = (value: number): string => value.toString(16).padStart(8, '0');
