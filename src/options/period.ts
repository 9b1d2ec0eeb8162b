const SECOND_MS = 1000;
const PERIODS: Readonly<Record<string, number>> = {
  s: SECOND_MS,
  m: 60 * SECOND_MS,
  h: 60 * 60 * SECOND_MS,
  d: 24 * 60 * 60 * SECOND_MS,
  w: 7 * 24 * 60 * 60 * SECOND_MS,
};

/** `90s`, `30m`, `12h`, `7d` or `2w`, in milliseconds; undefined for anything else, and for none at all. */
export function periodMs(text: string): number | undefined {
  const [, digits, unit = 's'] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  const ms = Number(digits) * PERIODS[unit]!;
  return ms > 0 ? ms : undefined;
}
