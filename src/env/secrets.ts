import { StillpointError, toStillpointError } from '../errors.ts';
import type { FileSystem } from './file-system.ts';
import { readSmallFile } from './io.ts';

/** Secrets are named, never given: `env:NAME` or `file:/path`. */

const LIMIT_BYTES = 64 * 1024;
/** For the group, and for all. */
const OTHERS = 0o077;

export const isSecretName = (name: string): boolean => /^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$/s.test(name);

/** The same secret, named from anywhere. @param here Resolves a path that is relative to where the name stands. */
export const secretIn = (name: string, here: (path: string) => string): string =>
  name.startsWith('file:') ? `file:${here(name.slice('file:'.length))}` : name;

/** The text that is meant, without the end of its last line. `REPOSITORY_KEY_INVALID` when there is none. */
export async function readSecret(fs: FileSystem, name: string): Promise<string> {
  if (!isSecretName(name)) throw invalid('a secret is named as `env:NAME` or `file:/path`');
  if (!name.startsWith('env:')) {
    const path = name.slice('file:'.length);
    const text = (await readKeyFile(fs, path)).toString().replace(/\r?\n$/, '');
    if (text === '') throw invalid(`${path} is empty`, path);
    return text;
  }
  const value = process.env[name.slice('env:'.length)];
  if (value === undefined || value === '')
    throw invalid(`the variable ${name.slice('env:'.length)} is not set`);
  return value;
}

/** A small file that holds a key. */
export async function readKeyFile(fs: FileSystem, path: string): Promise<Buffer> {
  try {
    const bytes = await readSmallFile(fs, await fs.realPath(path), LIMIT_BYTES);
    if (bytes !== undefined) return bytes;
  } catch (error) {
    throw invalid(`${path} cannot be read: ${toStillpointError(error).message}`, path, error);
  }
  throw invalid(`${path} does not exist`, path);
}

/** Refuses a key that other users of the machine can read. */
export async function refuseShared(fs: FileSystem, path: string): Promise<void> {
  const stat = await fs.inspect(await fs.realPath(path));
  if (stat === undefined || (stat.mode & OTHERS) === 0) return;
  throw new StillpointError('REPOSITORY_KEY_INVALID', `${path} can be read by other users`, {
    path,
    hint: `Make it your own: \`chmod 600 ${path}\`.`,
  });
}

function invalid(message: string, path?: string, cause?: unknown): StillpointError {
  return new StillpointError('REPOSITORY_KEY_INVALID', message, {
    ...(path !== undefined && { path }),
    cause,
  });
}
