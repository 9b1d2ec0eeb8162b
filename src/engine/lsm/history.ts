import type { History } from '../engine.ts';
import { readFacts } from './facts.ts';

/** By the LSN of the last commit; 0 where no file has any. */
export const history: History<bigint> = {
  positionOf,
  setbackOf: (now, before) =>
    now < before ? `its last commit has the LSN ${now}, and ${before} was reached before` : undefined,
};

/** Of all that its files know of. */
function positionOf(facts: ReadonlyMap<string, unknown>): bigint | undefined {
  let last = 0n;
  for (const value of facts.values()) {
    const known = readFacts(value);
    if (known === undefined) return undefined; // a file that was not looked into
    const text =
      known.kind === 'table' ? known.maxTimestamp : known.kind === 'log' ? known.lastLsn : known.lsn;
    if (text !== null && BigInt(text) > last) last = BigInt(text);
  }
  return facts.size === 0 ? undefined : last;
}
