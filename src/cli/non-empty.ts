import { InvalidArgumentError } from 'commander';

/** For `argParser`: a script whose variable is not set would else name the folder that it runs in, or nothing at all. */
export function nonEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('It must not be empty.');
}
