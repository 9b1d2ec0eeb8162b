import type { PartOfFolder } from '../engine.ts';
import { innerPath, Parts } from './find-parts.ts';

/** What an engine says of a file of its part. Nothing else counts as its word: a file may have been plain when it was read. */
export interface PartFacts {
  readonly by: string;
  readonly facts: unknown;
}

export const factsBy = ({ engine }: PartOfFolder, facts: unknown): PartFacts | undefined =>
  (facts as Partial<PartFacts> | null | undefined)?.by === engine ? (facts as PartFacts) : undefined;

/** What belongs to each part, by its inner path. */
export function byPart<T>(files: ReadonlyMap<string, T>): [PartOfFolder, Map<string, T>][] {
  const parts = new Parts(files.keys());
  const groups = new Map(parts.list.map((part) => [part, new Map<string, T>()]));
  for (const [path, value] of files) {
    const part = parts.of(path);
    if (part !== undefined) groups.get(part)!.set(innerPath(part, path), value);
  }
  return [...groups];
}
