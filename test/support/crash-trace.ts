import type { Operation } from './crash-file-system.ts';
import type { Flow } from './crash-matrix.ts';
import { worldOn } from './crash-world.ts';

export type Traced = Pick<Flow, 'name' | 'before' | 'run'>;

/**
 * What a flow does to the disk, an operation a line: what is made, written, synced, renamed, linked, removed, and in which order.
 * Several writes of one file in a row are one line, and numbers of bytes are left out, so that only what a power cut would notice
 * makes a difference.
 */
export async function traceOf(flow: Traced): Promise<string> {
  const lines: string[] = [];
  const fs = flow.before.after('none');
  fs.onOperation = (operation) => {
    if (!operation.isChange) return;
    const line = describe(operation);
    if (operation.name !== 'write' || lines.at(-1) !== line) lines.push(line);
  };
  await flow.run(worldOn(fs, 1), () => {});
  return `${flow.name}\n\n${lines.join('\n')}\n`;
}

function describe({ name, path, to }: Operation): string {
  return [name, short(path), ...(to === undefined ? [] : ['to', short(to)])].join(' ');
}

const short = (path: string): string => path.replace(/^\/disk\//, '');
