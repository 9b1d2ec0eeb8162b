import type { ConsistencyCheck, FileCheck } from '../engine.ts';
import { readFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { LOG, TABLES } from './names.ts';

/**
 * What holds between the files. The engine keeps no list of its tables, and the numbers of commits and tables have gaps. So
 * only two things can be checked: the log exists, and no table is newer than log and checkpoint. The second is a warning: log
 * or checkpoint are of an earlier time, and the entries themselves are good.
 */
export function checkConsistency(checks: ReadonlyMap<string, FileCheck>): ConsistencyCheck {
  const findings = findingsOf(LOG);
  if (!checks.has(LOG)) {
    findings.error(
      'LSM_LOG_MISSING',
      null,
      'is missing; without it the engine does not see the tables either',
    );
    return { findings: findings.list };
  }
  let known = 0n;
  let newest = 0n;
  let newestTable = TABLES;
  for (const [path, check] of checks) {
    const facts = readFacts(check.facts);
    if (facts?.kind === 'table') {
      if (BigInt(facts.maxTimestamp) <= newest) continue;
      newest = BigInt(facts.maxTimestamp);
      newestTable = path;
    } else if (facts?.kind === 'log') {
      if (!facts.isWhole) return { findings: [] }; // what the rest of it knew is lost, and said already
      known = max(known, BigInt(facts.lastLsn ?? 0));
    } else if (facts?.kind === 'checkpoint') {
      known = max(known, BigInt(facts.lsn));
    }
  }
  // Only a log that could be read has facts, and at the level `files` no file has.
  if (readFacts(checks.get(LOG)?.facts) !== undefined && newest > known) {
    const message = `${newestTable} holds commits up to ${newest}; log and checkpoint know none above ${known}`;
    findings.warning('LSM_TABLES_AHEAD', null, message);
  }
  return { findings: findings.list };
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
