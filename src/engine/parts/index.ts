import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import type { ConsistencyCheck, Engine, FileCheck, FileCheckRequest, PartOfFolder } from '../engine.ts';
import { listPlainFiles } from '../files/index.ts';
import { checkRawFile, joinRawParts } from '../raw-file-check.ts';
import type { Finding } from '../report.ts';
import { byPart, factsBy, type PartFacts } from './facts.ts';
import { engineOfPart, innerPath, outerPath, Parts } from './find-parts.ts';
import { history } from './history.ts';
import { planParts } from './plan.ts';

/**
 * A folder in which several databases lie among other files: a world of Minecraft, the profile of a browser, the data of a node of
 * Ethereum. Each database is captured and proven by its own engine, every other file as a plain one.
 */
export const partsEngine: Engine = withParts(undefined);

/** @param parts Those of the folder at hand, once its files are known. */
function withParts(parts: Parts | undefined): Engine {
  return {
    name: 'parts',
    sealsWithCrc32: true, // as those of `lsm` do
    hasImmutableFiles: true,
    requiresStableDirectory: true,
    // It would fit wherever a database lies somewhere below: `recognize.ts` takes it where no engine knows the folder itself.
    detect: async () => false,
    listFiles,
    plan: planParts,
    forFiles: (paths) => withParts(new Parts(paths)),
    partOf: (path) => parts?.of(path),
    checkFile,
    isDivisible: (path) => parts?.of(path) === undefined,
    joinParts: joinRawParts,
    checkConsistency,
    history,
  };
}

async function listFiles(fs: FileSystem, dir: string): Promise<string[]> {
  const files = await listPlainFiles(fs, dir);
  const parts = new Parts(files);
  const listed = files.filter((path) => parts.of(path) === undefined);
  for (const part of parts.list) {
    const inner = await engineOfPart(part).listFiles(fs, join(dir, part.dir));
    listed.push(...inner.map((path) => outerPath(part, path)));
  }
  return listed.sort();
}

async function checkFile(file: Parameters<Engine['checkFile']>[0], request: FileCheckRequest, run: TaskRun) {
  const { within } = request;
  if (within === undefined) return checkRawFile(file, request, run);
  const engine = engineOfPart(within);
  const check = await engine.checkFile(file, { ...request, path: innerPath(within, request.path) }, run);
  const facts: PartFacts = { by: engine.name, facts: check.facts };
  return { ...check, findings: outerFindings(within, check.findings), facts };
}

const outerFindings = (part: PartOfFolder, findings: readonly Finding[]): Finding[] =>
  findings.map((finding) => ({ ...finding, path: outerPath(part, finding.path) }));

function checkConsistency(
  checks: ReadonlyMap<string, FileCheck>,
  request: Omit<FileCheckRequest, 'path'>,
): ConsistencyCheck {
  if (request.level === 'files') return { findings: [] };
  const findings: Finding[] = [];
  const groups = byPart(checks);
  let walLastLsn: string | null = null;
  for (const [part, files] of groups) {
    const inner = new Map<string, FileCheck>();
    for (const [path, check] of files) {
      const known = factsBy(part, check.facts);
      if (known === undefined) findings.push(unread(part, path));
      inner.set(path, { ...check, facts: known?.facts });
    }
    const { findings: found, counts } = engineOfPart(part).checkConsistency(inner, request);
    findings.push(...outerFindings(part, found));
    walLastLsn = counts?.walLastLsn ?? null;
  }
  // Numbers of different databases say nothing together.
  return { findings, counts: { walLastLsn: groups.length === 1 ? walLastLsn : null } };
}

const unread = (part: PartOfFolder, inner: string): Finding => ({
  path: outerPath(part, inner),
  offset: null,
  code: 'PART_UNREAD',
  severity: 'warning',
  message: `was read as a plain file, and not as one of the ${part.engine} database beside it; --reprove reads it again`,
  verdict: 'unread',
});
