/** The names that LevelDB gives to its files. Every file but `CURRENT` and the text logs carries a number. */

export const CURRENT = 'CURRENT';
export const LOCK = 'LOCK';

export type NumberedKind = 'log' | 'table' | 'manifest';

export interface NumberedFile {
  readonly kind: NumberedKind;
  readonly number: number;
}

// "%06llu": six digits at least, and no zero in front of more. Fifteen digits are safe integers.
const DIGITS = '(\\d{6}|[1-9]\\d{6,14})';
const DATA_FILE = new RegExp(`^${DIGITS}\\.(log|ldb|sst)$`);
const MANIFEST = new RegExp(`^MANIFEST-${DIGITS}$`);

const digits = (number: number): string => String(number).padStart(6, '0');

export const logName = (number: number): string => `${digits(number)}.log`;

export const manifestName = (number: number): string => `MANIFEST-${digits(number)}`;

/** In the order in which LevelDB tries them: `.sst` is what versions before 1.14 wrote. */
export const tableNames = (number: number): readonly [string, string] => [
  `${digits(number)}.ldb`,
  `${digits(number)}.sst`,
];

/** What a name stands for; undefined when the file is no part of the numbered state (`LOG`, `LOCK`, temporary files). */
export function parseFileName(name: string): NumberedFile | undefined {
  const manifest = MANIFEST.exec(name);
  if (manifest !== null) return { kind: 'manifest', number: Number(manifest[1]) };
  const data = DATA_FILE.exec(name);
  if (data === null) return undefined;
  return { kind: data[2] === 'log' ? 'log' : 'table', number: Number(data[1]) };
}

// With the temporary files of LevelDB (`dbtmp`), and those of goleveldb, which chooses among several `CURRENT.<n>`.
const OWN_NAME = new RegExp(
  `^(CURRENT(\\.(bak|\\d+))?|LOCK|LOG(\\.old)?|MANIFEST-${DIGITS}|${DIGITS}\\.(log|ldb|sst|dbtmp|tmp))$`,
);

/** Whether an engine gives this name to a file, also to one that is no part of the state. */
export const ownsName = (name: string): boolean => OWN_NAME.test(name);

/** The MANIFEST that the content of `CURRENT` names, or undefined when it is not one complete line with such a name. */
export function parseCurrent(content: Uint8Array): string | undefined {
  const text = Buffer.from(content).toString('latin1');
  if (!text.endsWith('\n')) return undefined;
  const name = text.slice(0, -1);
  return MANIFEST.test(name) ? name : undefined;
}

export const encodeCurrent = (manifest: string): Buffer => Buffer.from(`${manifest}\n`, 'latin1');

const SHOWN_BYTES = 40;
/** What every file of an encrypted world of Minecraft (NetEase) begins with. */
const NETEASE_MAGIC = Buffer.from([0x80, 0x1d, 0x30, 0x01]);

/** What a `CURRENT` holds that names no MANIFEST, from its first bytes; undefined is an absent file. */
export function describeCurrent(content: Buffer | undefined, sizeBytes = content?.length): string {
  if (content === undefined) return 'is absent';
  const count = `${sizeBytes} bytes`;
  if (content.length === 0) return 'is empty';
  if (content.every((byte) => byte === 0)) return `holds ${count}, all NUL`;
  if (content.subarray(0, NETEASE_MAGIC.length).equals(NETEASE_MAGIC))
    return 'is encrypted, as worlds of Minecraft by NetEase are';
  if (content.some((byte) => byte > 0x7e || (byte < 0x20 && byte !== 0x0a)))
    return `holds ${count} that are no text; the folder may be encrypted`;
  const shown = JSON.stringify(content.subarray(0, SHOWN_BYTES).toString('latin1'));
  return `holds ${shown}, which is not one line with the name of a MANIFEST`;
}
