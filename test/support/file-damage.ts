/** What can happen to a file, as changes of its bytes. `at` is the first byte that differs, as far as the change itself can tell. */
export interface Damaged {
  readonly bytes: Buffer;
  readonly at: number;
}

export interface DamageContext {
  readonly below: (limit: number) => number;
  /** The same path in an older snapshot, and other files of the same kind. */
  readonly older: Buffer | undefined;
  readonly others: readonly Buffer[];
  /** Makes the checksums inside of the file anew, in place. */
  readonly fix: ((bytes: Buffer) => void) | undefined;
}

const PAGE_BYTES = 512;

type Change = (bytes: Buffer, context: DamageContext) => Buffer | undefined;

/** Each takes a copy that it may change, and gives undefined where it makes no sense. */
const CHANGES = {
  flip: (bytes, { below }) => {
    if (bytes.byteLength === 0) return undefined;
    bytes[below(bytes.byteLength)]! ^= 1 << below(8);
    return bytes;
  },
  cut: (bytes, { below }) => bytes.subarray(0, below(bytes.byteLength)),
  extend: (bytes, { below }) => {
    const more = Buffer.alloc(1 + below(below(2) === 0 ? 20 : 5000));
    if (below(2) === 0) for (let at = 0; at < more.byteLength; at++) more[at] = below(256);
    return Buffer.concat([bytes, more]);
  },
  'zero a page': (bytes, { below }) => {
    const page = below(Math.ceil(bytes.byteLength / PAGE_BYTES)) * PAGE_BYTES;
    return bytes.fill(0, page, Math.min(page + PAGE_BYTES, bytes.byteLength));
  },
  'swap pages': (bytes, { below }) => {
    const pages = Math.floor(bytes.byteLength / PAGE_BYTES);
    if (pages < 2) return undefined;
    const [a, b] = [below(pages) * PAGE_BYTES, below(pages) * PAGE_BYTES];
    const first = Buffer.from(bytes.subarray(a, a + PAGE_BYTES));
    bytes.copyWithin(a, b, b + PAGE_BYTES);
    first.copy(bytes, b);
    return bytes;
  },
  'take the place of another': (_, { others, below }) => others[below(others.length)],
  'stale copy': (_, { older }) => older,
  'fix the checksum': (bytes, { below, fix }) => {
    if (fix === undefined || bytes.byteLength === 0) return undefined;
    bytes[below(bytes.byteLength)]! ^= 1 << below(8);
    fix(bytes);
    return bytes;
  },
} satisfies Record<string, Change>;

export type Corruption = keyof typeof CHANGES;
export const CORRUPTIONS = Object.keys(CHANGES) as Corruption[];

/** Those whose outcome may be a file that any engine takes for whole, of another time or another database. */
export const MAKES_ANOTHER_STATE: readonly Corruption[] = [
  'take the place of another',
  'stale copy',
  'fix the checksum',
];

/** Undefined when what came up changes nothing. */
export function damageFile(healthy: Buffer, how: Corruption, context: DamageContext): Damaged | undefined {
  const change: Change = CHANGES[how];
  const bytes = change(Buffer.from(healthy), context);
  if (bytes === undefined || bytes.equals(healthy)) return undefined;
  let at = 0;
  while (at < bytes.byteLength && at < healthy.byteLength && bytes[at] === healthy[at]) at++;
  return { bytes, at };
}
