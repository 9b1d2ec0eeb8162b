import type { ConsistencyCheck, FileCheck } from '../engine.ts';
import type { Finding } from '../report.ts';
import { type LsmFacts, readFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { LAST_SENSIBLE_NUMBER, LOG, TABLES, tableId } from './names.ts';

/**
 * What holds between the files. The engine keeps no list of its tables, and the numbers of commits and tables have gaps. So
 * only three things can be checked: the log exists, the numbers leave some to follow, and no table is newer than log and
 * checkpoint. The last is a warning: log or checkpoint are of an earlier time, and the entries themselves are good.
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
  const tooHigh = [...checks].flatMap(([path, { facts }]) => numberFindings(path, readFacts(facts)));
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
      if (!facts.isWhole) return { findings: tooHigh }; // what the rest of it knew is lost, and said already
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
  return { findings: [...tooHigh, ...findings.list] };
}

/** An id or an LSN that no use of a database can have reached: every checksum may hold, and the database refuses to open. */
function numberFindings(path: string, facts: LsmFacts | undefined): readonly Finding[] {
  const id = tableId(path.slice(TABLES.length + 1)) ?? 0n;
  const lsn =
    facts?.kind === 'table' ? facts.maxTimestamp : facts?.kind === 'log' ? facts.lastLsn : facts?.lsn;
  const number = max(id, BigInt(lsn ?? 0));
  const findings = findingsOf(path);
  if (number > LAST_SENSIBLE_NUMBER) {
    const message = `the number ${number} leaves none to follow; the database would not open`;
    findings.error('LSM_NUMBER', null, message);
  }
  return findings.list;
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b);
