const AGES = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
] as const;

/** How long ago: `12 s`, `5 min`, `47 h`, `3 d`. A moment that is still to come, by this machine's clock, is `in 5 min`. */
export function age(ms: number): string {
  if (ms < 0) return `in ${age(-ms)}`;
  for (const [unit, long] of AGES) if (ms >= 2 * long) return `${Math.floor(ms / long)} ${unit}`;
  return ms >= 60_000 ? '1 min' : `${Math.floor(ms / 1000)} s`;
}
