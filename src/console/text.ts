/** Numbers as a person reads them. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `0 B`, `3.4 MiB`. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

const SPANS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const;

/** The two largest parts: `2 d 3 h`, `45 s`; under ten seconds `2.8 s`. */
export function span(ms: number): string {
  if (ms < 0) return '0 s';
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const first = SPANS.findIndex(([, size]) => ms >= size);
  const [name, size] = SPANS[first]!;
  const whole = Math.floor(ms / size);
  const next = SPANS[first + 1];
  const rest = next === undefined ? 0 : Math.floor((ms - whole * size) / next[1]);
  return rest === 0 || next === undefined ? `${whole} ${name}` : `${whole} ${name} ${rest} ${next[0]}`;
}

/** `2 h 5 min ago`; `just now` within a minute; a time ahead says by how much. */
export const ago = (atMs: number, nowMs: number): string => {
  if (atMs - nowMs > 60_000) return `in the future by ${span(atMs - nowMs)}`;
  return nowMs - atMs < 60_000 ? 'just now' : `${span(nowMs - atMs)} ago`;
};

/** What somebody else wrote. Marks that turn the direction of the text could make it read as something else. */
export const shown = (text: string): string => text.replace(/\p{Bidi_Control}/gu, '\ufffd');

/** One word of a shell, whatever is in it. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** Made once: `toLocaleString` with options makes a new one at each call, which took longer than all else on a page with 500 snapshots. */
const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const DAY = new Intl.DateTimeFormat(undefined, {
  weekday: 'short',
  year: 'numeric',
  month: 'short',
  day: 'numeric',
});

/** By the clock and the habits of the reader. */
export const time = (atMs: number): string => TIME.format(atMs);

/** `Nov 28, 2026, 6:12:03 – 6:20:11 AM`. */
export const timeRange = (fromMs: number, toMs: number): string => TIME.formatRange(fromMs, toMs);

/** The day, as a heading and as a key. */
export const day = (atMs: number): string => DAY.format(atMs);

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString()} ${count === 1 ? one : many}`;

/** What comes from a report has no full stop. */
export const sentence = (text: string): string => (text.endsWith('.') ? text : `${text}.`);

/** `in 2 h 5 min`; what is due within a second, or was due already, is due `now`. */
export const ahead = (atMs: number, nowMs: number): string =>
  atMs - nowMs < 1000 ? 'now' : `in ${span(atMs - nowMs)}`;

/** An error in its own words, and what to do about it. */
export const textOf = (error: unknown): string => {
  const hint = (error as { hint?: string }).hint;
  const message = error instanceof Error ? error.message : String(error);
  return hint === undefined || hint === '' ? message : `${message}. ${hint}`;
};
