import { dirname, join } from 'node:path';
import type { CapturePlan, Engine } from '../engine/engine.ts';
import { isDamaged, type Report } from '../engine/report.ts';
import type { FileSystem } from '../env/file-system.ts';
import { makeFolders, removeTree } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { warn } from '../env/safe-calls.ts';
import { type ErrorCode, StillpointError } from '../errors.ts';
import type { CloneChoice, Level, Mode } from '../options/choices.ts';
import { type Capture, capture } from './capture/capture.ts';
import { findPrevious, type PreviousSnapshot } from './capture/previous-snapshot.ts';
import type { Environment } from './environment.ts';
import { noteDamage, noteSnapshot } from './ledger/write-proofs.ts';
import { runProbe } from './run-probe.ts';
import { type LastSnapshot, writeLastSnapshot } from './store/last-snapshot.ts';
import { type Layout, nameOf, partialFolder, UNDO } from './store/layout.ts';
import { noteLeftBehind } from './store/left-behind.ts';
import type { Manifest } from './store/manifest.ts';
import { writeManifest } from './store/manifest-file.ts';
import { mark, publish } from './store/publish.ts';
import { positionIn, positionOf, withSetback } from './store/setback.ts';
import { describeFindings } from './verify/describe-findings.ts';
import { type Proof, prove } from './verify/prove.ts';

/**
 * What a run waits for; `admit` and `checkpoint` come before and are the coordinator's.
 *
 * - `capture`: the state is being decided: what the engine may change is copied, the rest is pinned.
 * - `copy`: the pinned files are copied, up to the last byte of the source. Writes from here on are not in the snapshot.
 * - `prove`: the rest of the copy is read back. Entered again after `seal`: the folder is compared with its manifest, and files
 *   that were shared without an earlier proof are read.
 * - `seal`: the manifest is written.
 * - `publish`, `mark`: the folder gets its name, then the latest marker moves.
 */
export type Phase = 'capture' | 'copy' | 'prove' | 'seal' | 'publish' | 'mark';

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
  /** Publish it also where not all of it could be read. */
  readonly allowUnread: boolean;
  readonly tool: string;
  /** Where the data directory was brought back from, if what is there does not go back to the last snapshot. */
  readonly putBackFrom: string | undefined;
  readonly control: RunControl;
  /** What the checkpoint hook holds; undefined: plan from outside. */
  readonly plan?: CapturePlan | undefined;
  /** No later write is in the snapshot: the host may go on as it likes. */
  readonly onFixed: () => Promise<void>;
  /** The last byte is captured. */
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
 * Takes one snapshot, from the capture to the latest marker. Each source byte is read once and each byte of the copy at most
 * once. On any failure the partial folder is removed and the marker stays as it was. After a crash the next start sweeps the
 * folder. `COPY_DAMAGED` and `SOURCE_DAMAGED` carry the proof's findings as `data.findings`.
 */
export async function takeSnapshot(env: Environment, request: TakeRequest): Promise<TakeResult> {
  const { fs } = env;
  const { layout, parent, engine, level, control } = request;
  const partial = partialFolder(parent, request.id);
  await makeFolders(fs, parent);
  await fs.makeFolder(partial);
  try {
    const previous = await findPrevious(env, layout);
    control.checkCancelled();

    // One state of the database. The host is free again at its last byte; what was copied is read back meanwhile and after.
    request.onPhase('capture');
    const captured = await captureFrom(env, request, partial, previous);

    // The manifest makes the folder a snapshot; from here on nothing in it changes.
    request.onPhase('seal');
    const manifest = describe(env, request, captured, previous);
    await writeManifest(env, partial, manifest);
    control.checkCancelled();

    // The folder is compared with its manifest, and what is known of its files is judged as a whole.
    request.onPhase('prove');
    const { known, findings } = captured;
    const proof = await prove(env, partial, { engine, level, control, known, findings });
    if (isDamaged(proof.report)) await noteDamage(env, layout.backup, proof).catch(warn);
    refuseDamage(proof.report, captured.reusedBytes > 0);
    if (!request.allowUnread) refuseUnread(proof.report);
    if (request.probe !== undefined) {
      const disposable = partialFolder(parent, `probe-${request.id}`);
      await runProbe(env, partial, disposable, { engine, level, control, probe: request.probe });
    }
    const { report, reached } = await judged(env, request, proof, previous);
    control.checkCancelled(); // the last moment: what is published stays
    if (parent === layout.backup) {
      const { sequence } = manifest.snapshot!;
      await writeLastSnapshot(fs, parent, {
        ...{ name: nameOf(request.location), sequence, engine: reached.engine },
        ...(reached.position !== undefined && { position: reached.position }),
      });
    }

    // The name, then the marker, each durable before the next step.
    request.onPhase('publish');
    await publish(fs, partial, request.location);
    request.onPhase('mark');
    await mark(fs, parent, nameOf(request.location));

    // Without the ledger the next snapshot reads more than it needs to; that is no reason to fail this one.
    const reading = { level, before: undefined };
    await noteSnapshot(env, request.location, manifest.entries, proof, reading).catch(warn);
    return { manifest, report, capture: captured };
  } catch (error) {
    await removeTree(fs, partial);
    throw error;
  }
}

function captureFrom(
  env: Environment,
  { engine, layout, mode, level, clone, plan, reuse, reprove, control, ...on }: TakeRequest,
  into: string,
  previous: PreviousSnapshot,
): Promise<Capture> {
  return capture(env, {
    engine,
    dir: layout.dataDir,
    into,
    mode,
    level,
    clone,
    plan,
    previous: reuse ? previous.files : undefined,
    // The proof of one engine says nothing to another, which may have passed over the content.
    reprove: reprove || previous.engine !== engine.name,
    control,
    onPlanned: on.onPlanned,
    onFixed: async () => {
      await on.onFixed();
      on.onPhase('copy');
    },
    onCaptured: async () => {
      await on.onCaptured();
      on.onPhase('prove');
    },
  });
}

/** How far the database has come, and the report: with a warning where it has fallen behind its last snapshot. */
async function judged(
  { fs }: Environment,
  { engine, layout, putBackFrom: from }: TakeRequest,
  { report, checks }: Proof,
  { name, last }: PreviousSnapshot,
): Promise<{ readonly report: Report; readonly reached: Pick<LastSnapshot, 'engine' | 'position'> }> {
  const past = await pastPosition(fs, engine, layout, name, last);
  const now = positionOf(engine, checks);
  const fellBehind =
    past === undefined || now === undefined ? undefined : engine.history!.setbackOf(now, past);
  // However far it has come since: what was between the two states is not in it.
  const isOther = from !== undefined && (name === undefined || from !== join(layout.backup, name));
  const setback =
    fellBehind ??
    (isOther ? broughtBack(layout, from) : undefined) ??
    (isOfOtherEngine(engine, last)
      ? `it is one of ${engine.name} now, and was one of ${last!.engine}`
      : undefined);
  // A proof that says nothing of it takes nothing back, whatever its engine.
  const position = now ?? past;
  const reached = position === undefined && last ? last : { engine: engine.name, position };
  const before = last?.name ?? name;
  if (setback === undefined || before === undefined) return { report, reached };
  await noteLeftBehind(fs, layout, [before, ...(name === undefined ? [] : [name])]);
  return { report: withSetback(report, setback, before), reached };
}

const broughtBack = ({ undo }: Layout, from: string): string =>
  dirname(from) === undo
    ? `an undo brought it back from ${UNDO}/${nameOf(from)}`
    : `it was restored from ${nameOf(from)}`;

/** Not so for `parts`: it has the database that was there before as one of several. */
const isOfOtherEngine = ({ name, history }: Engine, last: LastSnapshot | undefined): boolean =>
  history !== undefined &&
  last?.position !== undefined &&
  last.engine !== name &&
  ![name, last.engine].includes('parts');

/** How far the last snapshot had come, whether it is still there or not. */
async function pastPosition(
  fs: FileSystem,
  engine: Engine,
  layout: Layout,
  name: string | undefined,
  last: LastSnapshot | undefined,
): Promise<unknown> {
  if (last?.engine === engine.name && last.position !== undefined) return last.position;
  return name === undefined ? undefined : positionIn(fs, engine, join(layout.backup, name));
}

function describe(
  env: Environment,
  request: TakeRequest,
  captured: Capture,
  previous: PreviousSnapshot,
): Manifest {
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
      level: request.level,
      mode: request.mode,
      total_bytes: captured.entries.reduce((sum, { size }) => sum + size, 0),
    },
  };
}

const SHARED_DAMAGE =
  'If the file is shared with the last snapshot, it is damaged there too, and the next one copies it anew: take it again (`--full`, `reuse: false`, copies all).';

function refuseDamage(report: Report, isShared: boolean): void {
  if (!isDamaged(report)) return;
  const errors = report.findings.filter(({ severity }) => severity === 'error');
  const code: ErrorCode = report.verdict === 'source-damaged' ? 'SOURCE_DAMAGED' : 'COPY_DAMAGED';
  const what = code === 'SOURCE_DAMAGED' ? 'the database itself is damaged' : 'the copy is not what was read';
  throw new StillpointError(code, `${what}: ${describeFindings(errors)}`, {
    ...(errors[0] && { path: errors[0].path }),
    ...(code === 'COPY_DAMAGED' && isShared && { hint: SHARED_DAMAGE }),
    data: { findings: errors, verdict: report.verdict },
  });
}

/** What nobody has read may be damaged. It is published only where the caller knows that and wants it all the same. */
function refuseUnread(report: Report): void {
  if (report.verdict !== 'unread') return;
  const unread = report.findings.filter(({ verdict }) => verdict === 'unread');
  throw new StillpointError('UNREAD', `not all of the copy could be read: ${describeFindings(unread)}`, {
    ...(unread[0] && { path: unread[0].path }),
    data: { findings: unread, verdict: report.verdict },
  });
}
