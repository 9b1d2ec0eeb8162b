import { type Engine, type FileCheck, MANIFEST } from '../../engine/engine.ts';
import { detectEngine, engineByName } from '../../engine/index.ts';
import type { Finding } from '../../engine/report.ts';
import type { FileStat } from '../../env/file-system.ts';
import type { RunControl } from '../../env/run-control.ts';
import { isRefusal, systemCode, toStillpointError } from '../../errors.ts';
import type { Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { type LedgerState, readLedgerIfAllowed } from '../ledger/ledger-file.ts';
import { checkOf, isProofOf, isProofOfFile } from '../ledger/proven-files.ts';
import { compareNames, nameOf, placeOf } from '../store/layout.ts';
import { readManifest } from '../store/manifest-file.ts';
import { copyDamage } from './compare-tree.ts';

/** A file on disk, with all names that snapshots have for it. */
export interface StoredFile {
  readonly path: string;
  engine: Engine;
  /** From before the file is read. */
  readonly stat: FileStat;
  /** The newest snapshot that has the file: it is pruned last. */
  home: string;
  /** Zero when the file has no proof at the wanted level. */
  provenAtMs: number;
  isSkipped: boolean;
  check?: FileCheck;
  /** Why the file could not be read. */
  failure?: Finding;
}

/** The files of a snapshot, or the problem that keeps them unknown. */
export type Survey =
  | { readonly files: readonly StoredFile[]; readonly ledger: LedgerState | undefined }
  | { readonly problem: Finding };

/** The files of many snapshots, each once, with the time of its last proof. */
export class StoredFiles {
  readonly #env: Environment;
  readonly #level: Level;
  readonly #nowMs: number;
  readonly #files = new Map<string, StoredFile>();

  /** A proof counts if it is of `level` or a deeper one. */
  constructor(env: Environment, level: Level, nowMs: number) {
    this.#env = env;
    this.#level = level;
    this.#nowMs = nowMs;
  }

  /** Adds the files of a snapshot that exist with the size in its manifest. Call it for the oldest snapshot first. */
  async survey(folder: string, control: RunControl): Promise<Survey> {
    try {
      const manifest = await readManifest(this.#env, folder);
      if (manifest === undefined) {
        const message = 'a snapshot without its manifest';
        return { problem: copyDamage(MANIFEST, null, 'MANIFEST_MISSING', message) };
      }
      const written = manifest.snapshot && engineByName(manifest.snapshot.engine);
      const named = written ?? (await detectEngine(this.#env.fs, folder)) ?? engineByName('files');
      const engine = named.forFiles?.(manifest.entries.map(({ path }) => path)) ?? named;
      const ledger = await readLedgerIfAllowed(this.#env.fs, folder);
      const files: StoredFile[] = [];
      for (const entry of manifest.entries) {
        control.checkCancelled();
        const stat = await this.#env.fs.inspect(placeOf(folder, entry.path));
        if (stat?.kind !== 'file' || stat.sizeBytes !== entry.size) continue; // judging the snapshot reports it
        const file = this.#find(engine, entry.path, stat);
        file.home = nameOf(folder);
        file.engine = engine; // it knows all files of this home
        const proof = ledger?.proofs.get(entry.path);
        const { wantsMedium } = control;
        if (
          isProofOf(proof, entry) &&
          isProofOfFile(proof, stat) &&
          checkOf(proof, this.#level, wantsMedium)
        ) {
          const atMs = wantsMedium ? proof.medium_at_ms! : proof.proven_at_ms;
          // A proof from the future, of a clock that was set back, must not make the file look proven for ever.
          const provenAtMs = atMs <= this.#nowMs ? atMs : 0;
          file.provenAtMs = Math.max(file.provenAtMs, provenAtMs);
        }
        files.push(file);
      }
      // Not the proofs in it: they would be as many as all files of all snapshots.
      return { files, ledger: ledger && { id: ledger.id, sequence: ledger.sequence } };
    } catch (error) {
      return { problem: findingFrom(MANIFEST, error) };
    }
  }

  #find(engine: Engine, path: string, stat: FileStat): StoredFile {
    // The path is part of the key: under another name the engine checks the file as something else.
    const within = engine.partOf?.(path)?.engine ?? '';
    const key = [engine.name, within, path, stat.dev, stat.ino, stat.sizeBytes, stat.mtimeNs].join('\0');
    let file = this.#files.get(key);
    if (file === undefined) {
      file = { path, engine, stat, home: '', provenAtMs: 0, isSkipped: false };
      this.#files.set(key, file);
    }
    return file;
  }

  /** The files to be read, oldest proof first; the others are marked as skipped. */
  choose(maxBytes: number, olderThanMs: number): StoredFile[] {
    const byAge = [...this.#files.values()].sort(
      (a, b) => a.provenAtMs - b.provenAtMs || compareNames(a.home, b.home),
    );
    let bytes = 0;
    const chosen: StoredFile[] = [];
    for (const file of byAge) {
      const isFresh = file.provenAtMs > 0 && this.#nowMs - file.provenAtMs < olderThanMs;
      file.isSkipped = isFresh || bytes >= maxBytes;
      if (file.isSkipped) continue;
      bytes += file.stat.sizeBytes;
      chosen.push(file);
    }
    return chosen;
  }
}

export const bytesOf = (files: readonly StoredFile[]): number =>
  files.reduce((sum, { stat }) => sum + stat.sizeBytes, 0);

/** Neighbours with the same home, in groups of about `limitBytes`. */
export function groupsOf(files: readonly StoredFile[], limitBytes: number): StoredFile[][] {
  const groups: StoredFile[][] = [];
  let bytes = 0;
  for (const file of files) {
    const group = groups.at(-1);
    if (group?.[0]?.home === file.home && bytes < limitBytes) group.push(file);
    else {
      groups.push([file]);
      bytes = 0;
    }
    bytes += file.stat.sizeBytes;
  }
  return groups;
}

/**
 * A finding from an error: damage, or `unread` where the system would not let this process look. Rethrows what says nothing about the
 * snapshot: a cancel, or a defect of ours.
 */
export function findingFrom(path: string, error: unknown): Finding {
  const { code, message, cause } = toStillpointError(error);
  if (code === 'CANCELLED' || code === 'INTERNAL') throw error;
  const unread = { severity: 'warning', verdict: 'unread' } as const;
  if (isRefusal(error)) return { path, offset: null, code: 'FILE_UNREADABLE', message, ...unread };
  const isSystem = code === 'IO_ERROR' || systemCode(cause) !== undefined;
  return copyDamage(path, null, isSystem ? 'FILE_UNREADABLE' : code, message);
}
