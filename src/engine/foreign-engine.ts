import { StillpointError, systemCode } from '../errors.ts';
import type { CapturePlan, ConsistencyCheck, Engine, FileCheck, ImageItem } from './engine.ts';
import { type Finding, noCounts } from './report.ts';

/** An engine from outside the package: how it is loaded, and what keeps a defect of it from looking like a good proof. */

const METHODS = ['detect', 'plan', 'listFiles', 'checkFile', 'checkConsistency'] as const;
/** The names of snapshots, files and options that an engine's name is part of are printed everywhere. */
const NAME = /^[a-z][a-z0-9-]{0,49}$/;
const RESERVED = 'auto';

const invalid = (what: string, cause?: unknown): StillpointError =>
  new StillpointError('ENGINE_INVALID', what, cause === undefined ? {} : { cause });

/** The default export of a module, if it is an engine; `ENGINE_MISSING` or `ENGINE_INVALID` if not. */
export async function loadEngineModule(href: string): Promise<Engine> {
  let exported: { readonly default?: unknown };
  try {
    exported = await import(href);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new StillpointError('ENGINE_MISSING', `the engine's module ${href} cannot be loaded: ${why}`, {
      cause,
      hint: 'Check the URL and that the packages which the module imports are installed.',
    });
  }
  const problem = engineProblem(exported.default);
  if (problem !== undefined) throw invalid(`the default export of ${href} ${problem}`);
  return exported.default as Engine;
}

function engineProblem(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'is not an engine';
  const engine = value as Partial<Engine>;
  const missing = METHODS.filter((name) => typeof engine[name] !== 'function');
  if (missing.length > 0) return `is not an engine: it has no ${missing.join(', ')}`;
  if (typeof engine.name !== 'string' || !NAME.test(engine.name) || engine.name === RESERVED)
    return `has the name ${JSON.stringify(engine.name)}; use up to 50 lower-case letters, digits and hyphens`;
  if (typeof engine.hasImmutableFiles !== 'boolean') return 'does not say `hasImmutableFiles`';
  if (engine.isDivisible !== undefined && typeof engine.joinParts !== 'function')
    return 'has `isDivisible` and no `joinParts`';
  return undefined;
}

/** The same engine, whose results are checked: what is not of the promised form rejects with `ENGINE_INVALID`. */
export function guardEngine(engine: Engine): Engine {
  const { name, lockFile, hasImmutableFiles, requiresStableDirectory, sealsWithCrc32 } = engine;
  const ownsName = engine.ownsName && ((file: string) => engine.ownsName!(file));
  const ownsInside = engine.ownsInside && ((path: string) => engine.ownsInside!(path));
  const isSurelyCaptured = engine.isSurelyCaptured && ((path: string) => engine.isSurelyCaptured!(path));
  const isDivisible = engine.isDivisible && ((path: string) => engine.isDivisible!(path));
  const call = <T>(method: string, work: () => Promise<T>, problem: (result: T) => string | undefined) =>
    work().then(
      (result) => accept(name, method, result, problem(result)),
      (error) => {
        throw isForeignDefect(error)
          ? invalid(`the engine ${name} failed in ${method}: ${String(error)}`, error)
          : error;
      },
    );
  return {
    name,
    hasImmutableFiles,
    ...(lockFile !== undefined && { lockFile }),
    ...(ownsName !== undefined && { ownsName }),
    ...(ownsInside !== undefined && { ownsInside }),
    ...(isSurelyCaptured !== undefined && { isSurelyCaptured }),
    ...(requiresStableDirectory !== undefined && { requiresStableDirectory }),
    ...(sealsWithCrc32 !== undefined && { sealsWithCrc32 }),
    detect: (fs, dir) =>
      call(
        'detect',
        async () => engine.detect(fs, dir),
        (found) => (typeof found === 'boolean' ? undefined : 'neither true nor false'),
      ),
    plan: (context) => call('plan', async () => engine.plan(context), planProblem),
    listFiles: (fs, dir) =>
      call(
        'listFiles',
        async () => engine.listFiles(fs, dir),
        (paths) =>
          Array.isArray(paths) && paths.every((path) => typeof path === 'string')
            ? undefined
            : 'no list of paths',
      ),
    checkFile: (file, request, run) =>
      call('checkFile', async () => engine.checkFile(file, request, run), fileCheckProblem),
    ...(isDivisible && {
      isDivisible,
      joinParts: (parts, request) =>
        callNow(name, 'joinParts', () => engine.joinParts!(parts, request), fileCheckProblem),
    }),
    checkConsistency: (checks, request) =>
      callNow(name, 'checkConsistency', () => engine.checkConsistency(checks, request), consistencyProblem),
  };
}

function callNow<T>(
  name: string,
  method: string,
  work: () => T,
  problem: (result: T) => string | undefined,
): T {
  let result: T;
  try {
    result = work();
  } catch (error) {
    if (!isForeignDefect(error)) throw error;
    throw invalid(`the engine ${name} failed in ${method}: ${String(error)}`, error);
  }
  return accept(name, method, result, problem(result));
}

function accept<T>(name: string, method: string, result: T, problem: string | undefined): T {
  if (problem === undefined) return result;
  throw invalid(`${method} of the engine ${name} returned ${problem}`);
}

/** What the engine did not throw on purpose and the system did not refuse. */
const isForeignDefect = (error: unknown): boolean =>
  !(error instanceof StillpointError) && !/^E[A-Z0-9]+$/.test(systemCode(error) ?? '');

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isCrc = (value: unknown): boolean => isCount(value) && (value as number) <= 0xffff_ffff;

const isLsn = (value: unknown): boolean => typeof value === 'string' && /^\d{1,20}$/.test(value);
const COUNTS: ReadonlySet<string> = new Set(Object.keys(noCounts()));

const KINDS: ReadonlySet<unknown> = new Set(['immutable', 'image', 'bytes']);

function planProblem(plan: CapturePlan | undefined): string | undefined {
  if (!Array.isArray(plan?.items)) return 'no plan';
  for (const item of plan.items) {
    if (!KINDS.has(item?.kind) || typeof item.path !== 'string') return 'an item without kind and path';
    if (item.kind === 'immutable' && item.sizeBytes !== undefined && !isCount(item.sizeBytes))
      return `a size of ${item.path} that is none`;
    if (item.kind === 'image' && !isImage(item))
      return `an image of ${item.path} without size, extents and patches`;
    if (item.kind === 'bytes' && !(item.bytes instanceof Uint8Array)) return `no bytes of ${item.path}`;
  }
  const { checkpoint } = plan;
  return checkpoint === undefined || isLsn(checkpoint?.lsn)
    ? undefined
    : 'a checkpoint without a decimal LSN';
}

const isImage = ({ sizeBytes, allocatedBytes = 0, extents, patches }: ImageItem): boolean =>
  isCount(sizeBytes) &&
  isCount(allocatedBytes) &&
  Array.isArray(extents) &&
  extents.every((extent) => isCount(extent?.offset) && isCount(extent.length)) &&
  Array.isArray(patches) &&
  patches.every((patch) => isCount(patch?.offset) && patch.bytes instanceof Uint8Array);

function fileCheckProblem(check: FileCheck | undefined): string | undefined {
  if (typeof check !== 'object' || check === null) return 'no check of the file';
  if (!isCount(check.sizeBytes) || !isCrc(check.crc32)) return 'a check without size and CRC-32';
  if (check.crc32c !== undefined && !isCrc(check.crc32c)) return 'a CRC-32C that is none';
  return findingsProblem(check.findings) ?? countsProblem(check.counts) ?? factsProblem(check.facts);
}

const consistencyProblem = (check: ConsistencyCheck | undefined): string | undefined =>
  typeof check !== 'object' || check === null
    ? 'no check'
    : (findingsProblem(check.findings) ?? countsProblem(check.counts ?? {}));

function findingsProblem(findings: readonly Finding[]): string | undefined {
  if (!Array.isArray(findings)) return 'no list of findings';
  const isWhole = ({ path, offset, code, severity, message, verdict = 'unread' }: Finding) =>
    [path, code, message].every((text) => typeof text === 'string') &&
    (offset === null || isCount(offset)) &&
    (severity === 'error' || severity === 'warning') &&
    verdict === 'unread'; // which side is damaged is not the engine's to say
  return findings.every((finding) => typeof finding === 'object' && finding !== null && isWhole(finding))
    ? undefined
    : 'a finding without path, offset, code, severity or message, or with a verdict of damage';
}

function countsProblem(counts: FileCheck['counts']): string | undefined {
  if (typeof counts !== 'object' || counts === null) return 'no counts';
  const problem = Object.entries(counts).find(([name, value]) =>
    name === 'walLastLsn' ? value !== null && !isLsn(value) : !COUNTS.has(name) || !isCount(value),
  );
  return problem && `a count \`${problem[0]}\` that is none`;
}

/** They cross from a thread to the main one. */
function factsProblem(facts: unknown): string | undefined {
  try {
    structuredClone(facts);
    return undefined;
  } catch {
    return 'facts that are not plain data';
  }
}
