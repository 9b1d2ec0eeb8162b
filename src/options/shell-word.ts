/**
 * Text from outside (paths, messages, keys) with its control characters spelled out, so that no file name can move the
 * cursor, colour the terminal or turn the reading direction.
 */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    const hex = character.codePointAt(0)!.toString(16);
    return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}`;
  });
}

/** A path as one word of a command that somebody may paste into a shell, whatever is in it. */
export function shellWord(path: string): string {
  const text = visible(path);
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A hint whose commands can be pasted: with the data directory where it says `DIR`, unless another folder is meant. */
export const withDataDir = (hint: string, dir: string): string =>
  hint.replaceAll(/(?<!--(?:into|to|out) )(?<=[\s`])DIR(?=[\s`,.;:]|$)/g, () => shellWord(dir));
