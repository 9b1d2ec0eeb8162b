import type { Described } from './option.ts';

/** What is told of an option, with what holds when it is left out. */
export function describe({ description, without, fallback, unit }: Described): string {
  if (without !== undefined) return `${description} Default: ${without}.`;
  if (fallback === undefined) return description;
  const value = fallback();
  if (Array.isArray(value) && value.length === 0) return `${description} Default: none.`;
  if (typeof value === 'object') return description;
  return `${description} Default: \`${unit === undefined ? value : quantity(value as number, unit)}\`.`;
}

const SIZES = ['bytes', 'KiB', 'MiB', 'GiB'];

/** `16 MiB`, `10 s`: as the number would be written by hand. */
function quantity(value: number, unit: NonNullable<Described['unit']>): string {
  if (unit === 'milliseconds') {
    if (value === 0 || value % 1000 !== 0) return `${value} ms`;
    return value % 60_000 === 0 ? `${value / 60_000} min` : `${value / 1000} s`;
  }
  let [size, index] = [value, 0];
  while (size > 0 && size % 1024 === 0 && index < SIZES.length - 1) {
    size /= 1024;
    index++;
  }
  return `${size} ${SIZES[index]}`;
}
