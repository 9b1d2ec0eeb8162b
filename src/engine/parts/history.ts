import type { History } from '../engine.ts';
import { byPart, factsBy } from './facts.ts';
import { engineOfPart } from './find-parts.ts';

/** How far each database had come. One that is gone took its writes with it. */
type Positions = readonly { readonly dir: string; readonly engine: string; readonly position: unknown }[];

export const history: History<Positions> = {
  positionOf(facts) {
    const positions: Positions[number][] = [];
    for (const [part, files] of byPart(facts)) {
      const inner = new Map([...files].map(([path, value]) => [path, factsBy(part, value)?.facts]));
      const position = engineOfPart(part).history?.positionOf(inner);
      if (position !== undefined) positions.push({ ...part, position });
    }
    return positions.length === 0 ? undefined : positions;
  },
  setbackOf(now, before) {
    for (const was of Array.isArray(before) ? before : []) {
      if (typeof was?.dir !== 'string') continue;
      const there = now.find(({ dir }) => dir === was.dir);
      if (there === undefined) return `the database in ${was.dir} is gone`;
      const { dir, engine, position } = there;
      if (engine !== was.engine) return `the database in ${dir} is one of ${engine} now`;
      const why = engineOfPart({ dir, engine }).history?.setbackOf(position, was.position);
      if (why !== undefined) return `${dir}: ${why}`;
    }
    return undefined;
  },
};
