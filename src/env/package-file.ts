import { readFile } from 'node:fs/promises';
import { systemCode } from '../errors.ts';

/** A file of this package from the first of the places that has it; undefined when none has. */
export async function readPackageFile(places: readonly URL[]): Promise<Buffer | undefined> {
  for (const place of places) {
    try {
      return await readFile(place);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }
  return undefined;
}
