import { visible } from './text.ts';

/** A path as one word of a command that somebody may paste into a shell, whatever is in it. */
export function shellWord(path: string): string {
  const text = visible(path);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
