import { join } from 'node:path';
import type { CapturePlan, Engine } from '../engine/engine.ts';
import type { Finding, Level, Report } from '../engine/report.ts';
import { makeFolders, removeTree } from '../env/io.ts';
import { warn } from '../env/safe-calls.ts';
import type { RunControl } from '../env/worker-pool.ts';
import { type ErrorCode, StillpointError } from '../errors.ts';
import { type Capture, capture, type Mode } from './capture/capture.ts';
import type { Environment } from './environment.ts';
import { noteDamage, noteSnapshot } from './ledger/note.ts';
import { type ReusableSnapshot, readReusable } from './ledger/proven-files.ts';
import { copySnapshot } from './restore/copy-snapshot.ts';
import { folderSource } from './source/folder-source.ts';
import { compareNames, type Layout, partialFolder } from './store/layout.ts';
import { latestName, snapshotNames } from './store/list.ts';
import type { Manifest } from './store/manifest.ts';
import { readManifest, writeManifest } from './store/manifest-file.ts';
import { mark, publish } from './store/publish.ts';
import type { CloneChoice } from './tasks/reflinker.ts';
import { prove } from './verify/prove.ts';

/** The steps of one snapshot in their order; `admit` and `checkpoint` come before and are the coordinator's. */
export const PHASES = ['admit', 'checkpoint', 'capture', 'seal', 'prove', 'publish', 'mark'] as const;
export type Phase = (typeof PHASES)[number];

export interface TakeRequest {
  readonly id: string;
  readonly layout: Layout;
  readonly engine: Engine;
  /** Where it will be published: a folder directly below `parent`. */
  readonly location: string;
  /** `backup`, `archive` or `export` of the lifecycle folder. */
  readonly parent: string;
  readonly mode: Mode;
  readonly level: Level;
  readonly clone: CloneChoice;
  readonly reuse: boolean;
  /** Reads shared files again, too. */
  readonly reprove: boolean;
  readonly tool: string;
  readonly control: RunControl;
  /** What the checkpoint hook holds; undefined: plan from outside. */
  readonly plan?: CapturePlan | undefined;
  /** The last byte is captured: the host may go on as it likes. */
  readonly onCaptured: () => Promise<void>;
  /** The user's own check; runs on the sealed copy before it counts. */
  readonly probe?: ((dir: string) => Promise<unknown>) | undefined;
  readonly onPhase: (phase: Phase) => void;
  readonly onPlanned: (files: number, bytes: number) => void;
}

export interface TakeResult {
  readonly manifest: Manifest;
  readonly report: Report;
  readonly capture: Capture;
}

/**
 * From capture to the latest marker. Whatever goes wrong, the partial folder is removed and the marker stays as it was.
 * `COPY_DAMAGED` and `SOURCE_DAMAGED` carry the proof's findings as `data.findings`.
 */
export async function takeSnapshot(env: Environment, request: TakeRequest): Promise<TakeResult> {
  const { fs } = env;
  const { layout, parent, control } = request;
  const partial = partialFolder(parent, request.id);
  await makeFolders(fs, parent);
  await fs.makeFolder(partial);
  try {
    const previous = await newestProven(env, layout);
    control.checkCancelled();
    request.onPhase('capture');
    const captured = await capture(env, {
      engine: request.engine,
      dir: layout.dataDir,
      into: partial,
      mode: request.mode,
      level: request.level,
      clone: request.clone,
      plan: request.plan,
      previous: request.reuse ? previous.files : undefined,
      reprove: request.reprove,
      control,
      onPlanned: request.onPlanned,
      onCaptured: request.onCaptured,
    });
    request.onPhase('seal');
    const manifest = describe(env, request, captured, previous);
    await writeManifest(env, partial, manifest);
    control.checkCancelled();
    request.onPhase('prove');
    const { engine, level } = request;
    const { known, findings } = captured;
    const proof = await prove(env, partial, { engine, level, control, known, findings });
    if (!proof.report.ok) await noteDamage(env, layout.backup, proof).catch(warn);
    refuseDamage(proof.report, captured.reusedBytes > 0);
    await runProbe(env, request, partial);
    control.checkCancelled(); // the last moment: what is published stays
    request.onPhase('publish');
    await publish(fs, partial, request.location);
    request.onPhase('mark');
    await mark(fs, parent, request.location.slice(parent.length + 1));
    // Without it the next snapshot reads more than it needs to; that is no reason to fail this one.
    const reading = { level, sinceMs: env.clock.nowMs() };
    await noteSnapshot(env, request.location, manifest.entries, proof, reading).catch(warn);
    return { manifest, report: proof.report, capture: captured };
  } catch (error) {
    await removeTree(fs, partial);
    throw error;
  }
}

interface Newest {
  /** What `latest` names. */
  readonly name?: string;
  /** The highest of `latest` and of the newest by name: another tool may have moved the marker, or lost it. */
  readonly sequence: number;
  readonly files?: ReusableSnapshot | undefined;
}

/** The snapshot that `latest` names. One that does not read is no obstacle: everything is then copied anew. */
async function newestProven(env: Environment, layout: Layout): Promise<Newest> {
  const { fs } = env;
  const read = (snapshot: string | undefined) =>
    snapshot === undefined
      ? undefined
      : readManifest(env, join(layout.backup, snapshot)).catch(() => undefined);
  const name = await latestName(fs, layout.backup);
  const newest = (await snapshotNames(fs, layout.backup)).sort(compareNames).at(-1);
  const manifest = await read(name);
  const other = newest === name ? undefined : await read(newest);
  const sequence = Math.max(manifest?.snapshot?.sequence ?? 0, other?.snapshot?.sequence ?? 0);
  if (name === undefined || manifest?.snapshot === undefined) return { sequence, ...(name && { name }) };
  return { name, sequence, files: await readReusable(fs, join(layout.backup, name), manifest) };
}

function describe(env: Environment, request: TakeRequest, captured: Capture, previous: Newest): Manifest {
  return {
    version: 1,
    entries: captured.entries,
    snapshot: {
      id: request.id,
      sequence: previous.sequence + 1,
      created_at_ms: env.clock.nowMs(),
      engine: request.engine.name,
      tool: request.tool,
      ...(previous.name && { parent: previous.name }),
      ...(captured.checkpoint && { checkpoint: captured.checkpoint }),
      total_bytes: captured.entries.reduce((sum, { size }) => sum + size, 0),
    },
  };
}

const SHARED_DAMAGE =
  'If the file is shared with the last snapshot, it is damaged there too, and the next one copies it anew: take it again (`--full`, `reuse: false`, copies all).';

function refuseDamage(report: Report, isShared: boolean): void {
  if (report.ok) return;
  const errors = report.findings.filter(({ severity }) => severity === 'error');
  const code: ErrorCode = report.verdict === 'source-damaged' ? 'SOURCE_DAMAGED' : 'COPY_DAMAGED';
  const what = code === 'SOURCE_DAMAGED' ? 'the database itself is damaged' : 'the copy is not what was read';
  throw new StillpointError(code, `${what}: ${describeFindings(errors)}`, {
    ...(errors[0] && { path: errors[0].path }),
    ...(code === 'COPY_DAMAGED' && isShared && { hint: SHARED_DAMAGE }),
    data: { findings: errors, verdict: report.verdict },
  });
}

/** The probe may open the copy with the real engine, which may write. So it gets a disposable copy of the copy. */
async function runProbe(env: Environment, request: TakeRequest, partial: string): Promise<void> {
  if (request.probe === undefined) return;
  const into = partialFolder(request.parent, `probe-${request.id}`);
  try {
    const { engine, level, control } = request;
    const source = folderSource(env, partial);
    const { entries } = await source.manifest();
    const options = { isLasting: false, clone: 'auto' } as const; // it is removed before a block can go bad
    await copySnapshot(env, { source, into, entries, engine, level, control, ...options });
    await request.probe(into);
  } catch (cause) {
    if (request.control.isCancelled) request.control.checkCancelled();
    const message = `the probe refused the copy: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new StillpointError('HOOK_FAILED', message, { cause });
  } finally {
    await removeTree(env.fs, into);
  }
}

/** The first few findings in one line. */
export function describeFindings(findings: readonly Finding[]): string {
  const shown = findings.slice(0, 3).map(({ path, message }) => `${path}: ${message}`);
  return shown.join('; ') + (findings.length > 3 ? `; and ${findings.length - 3} more` : '');
}
