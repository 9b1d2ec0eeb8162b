import type { Target } from '../fuzz/target.ts';

/** Decoders with a defect that chance alone does not find: each step towards it has to be noticed. */
function planted(name: string, defect: (input: Buffer) => void): Target {
  return {
    name,
    seeds: () => [Buffer.alloc(6)],
    maxBytes: 8,
    run(input) {
      const at = (place: number): number => (input[place] ?? 0) & 3;
      if (at(0) !== 1) return;
      if (at(1) !== 2) return;
      if (at(2) !== 1) return;
      if (at(3) !== 2) return;
      if (at(4) !== 1) return;
      defect(input);
    },
  };
}

export const isAtDefect = (input: Uint8Array): boolean =>
  [1, 2, 1, 2, 1].every((wanted, at) => ((input[at] ?? 0) & 3) === wanted);

export const TARGETS: readonly Target[] = [
  planted('throws', () => {
    throw new Error('the planted defect');
  }),
  planted('takes memory', () => {
    Buffer.alloc(50 * 1024 * 1024);
  }),
  planted('hangs', () => {
    for (;;);
  }),
  planted('dies', () => void process.kill(process.pid, 'SIGKILL')),
  planted('changes its input', (input) => {
    input[5] = 7;
  }),
];
