import type { History } from '../engine.ts';
import { readFacts } from './facts.ts';

/** By the LSN of the last commit, in decimal; 0 where no file has any. */
export const history: History<string> = { positionOf, setbackOf };

function setbackOf(now: string, before: unknown): string | undefined {
  if (typeof before !== 'string' || !/^\d{1,40}$/.test(before) || BigInt(now) >= BigInt(before))
    return undefined;
  return `its last commit has the LSN ${now}, and ${before} was reached before`;
}

/** Of all that its files know of. */
function positionOf(facts: ReadonlyMap<string, unknown>): string | undefined {
  let last = 0n;
  for (const value of facts.values()) {
    const known = readFacts(value);
    if (known === undefined) return undefined; // a file that was not looked into
    const text =
      known.kind === 'table' ? known.maxTimestamp : known.kind === 'log' ? known.lastLsn : known.lsn;
    if (text !== null && BigInt(text) > last) last = BigInt(text);
  }
  return facts.size === 0 ? undefined : String(last);
}
