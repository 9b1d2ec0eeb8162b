import { dirname, join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { makeFolders, readSmallFile, replaceFile } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import { crc32c } from '../../format/crc32c.ts';
import type { SystemFile } from './system-files.ts';

/** A file with the line that says who wrote it, and what is at its place. */
export interface WrittenFile {
  readonly path: string;
  readonly text: string;
  /** `foreign`: somebody else wrote it, or has changed it since. */
  readonly state: 'new' | 'same' | 'ours' | 'foreign';
}

const LIMIT_BYTES = 1024 * 1024;
const MARK = /(?:# |<!-- )Written by `stillpoint service` \(([0-9a-f]{8})\)/;

/** The sum tells whether somebody has changed the file since. */
export function marked({ name, text }: SystemFile): string {
  // XML allows no double hyphen in a comment.
  const mark = `Written by \`stillpoint service\` (${sumOf(text)}), which replaces it only while it is unchanged.`;
  const xml = '<?xml version="1.0" encoding="UTF-8"?>\n';
  return name.endsWith('.plist') ? `${xml}<!-- ${mark} -->\n${text}` : `# ${mark}\n${text}`;
}

const sumOf = (text: string): string => crc32c(Buffer.from(text)).toString(16).padStart(8, '0');

export async function compared(fs: FileSystem, folder: string, file: SystemFile): Promise<WrittenFile> {
  const path = join(folder, file.name);
  const text = marked(file);
  const there = await readSmallFile(fs, path, LIMIT_BYTES).catch((error) => {
    if (error instanceof StillpointError && error.code === 'UNSUPPORTED_FILE') return Buffer.from(''); // a link: masked
    throw error;
  });
  if (there === undefined) return { path, text, state: 'new' };
  const present = there.toString();
  if (present === text) return { path, text, state: 'same' };
  const [line, sum] = MARK.exec(present) ?? [];
  const body = line === undefined ? '' : present.slice(present.indexOf('\n', present.indexOf(line)) + 1);
  return { path, text, state: sum !== undefined && sumOf(body) === sum ? 'ours' : 'foreign' };
}

/** All or none: `CONFLICT` before the first is written. */
export function refuseForeign(files: readonly WrittenFile[]): void {
  const foreign = files.find(({ state }) => state === 'foreign');
  if (foreign === undefined) return;
  throw new StillpointError('CONFLICT', `${foreign.path} was written or changed by somebody else`, {
    path: foreign.path,
    hint: 'Look at it; `--force` replaces it, and `--name` chooses another name.',
  });
}

export async function write(fs: FileSystem, files: readonly WrittenFile[]): Promise<void> {
  for (const { path, text, state } of files) {
    if (state === 'same') continue;
    await makeFolders(fs, dirname(path));
    await replaceFile(fs, path, Buffer.from(text));
  }
}
