import type { History, PartOfFolder } from '../engine.ts';
import { byPart, factsBy } from './facts.ts';
import { engineOfPart } from './find-parts.ts';

/** How far each database had come, by its folder. One that is gone took its writes with it. */
type Positions = ReadonlyMap<string, { readonly part: PartOfFolder; readonly position: unknown }>;

export const history: History<Positions> = {
  positionOf(facts) {
    const positions = new Map<string, { part: PartOfFolder; position: unknown }>();
    for (const [part, files] of byPart(facts)) {
      const inner = new Map([...files].map(([path, value]) => [path, factsBy(part, value)?.facts]));
      const position = engineOfPart(part).history?.positionOf(inner);
      if (position !== undefined) positions.set(part.dir, { part, position });
    }
    return positions.size === 0 ? undefined : positions;
  },
  setbackOf(now, before) {
    for (const [dir, { part, position }] of before) {
      const there = now.get(dir);
      if (there === undefined) return `the database in ${dir} is gone`;
      if (there.part.engine !== part.engine)
        return `the database in ${dir} is one of ${there.part.engine} now`;
      const why = engineOfPart(part).history?.setbackOf(there.position, position);
      if (why !== undefined) return `${dir}: ${why}`;
    }
    return undefined;
  },
};
