import { InvalidArgumentError } from 'commander';

/** For `argParser`: a script whose variable is not set would else name the folder that it runs in, or nothing at all. */
export function nonEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('It must not be empty.');
}

/** The same for an operand that may come several times. */
export const allNonEmpty = (text: string, before: readonly string[] = []): string[] => [
  ...before,
  nonEmpty(text),
];
