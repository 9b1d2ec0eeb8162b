import { expect, test, vi } from 'vitest';
import { openFleetTable } from '../../src/cli/fleet-table.ts';
import type { Terminal } from '../../src/cli/terminal.ts';
import type { NodeProgress } from '../../src/fleet/run/node-progress.ts';

const ESCAPE = 27;

/** A terminal, and what stood on it from one clearing to the next. */
function screen(isTTY = true, rows = 24) {
  const frames = [''];
  const write = (part: string) => {
    if (part.charCodeAt(0) === ESCAPE) frames.push('');
    else frames[frames.length - 1] += part;
    return true;
  };
  const stderr = { isTTY, rows, columns: 80, write };
  return { terminal: { stderr, env: {} } as unknown as Terminal, frames };
}

const MIB = 1024 * 1024;
const at = (targetId: string, phase: NodeProgress['phase'], done = 0, total = 0): NodeProgress => ({
  targetId,
  phase,
  bytesDone: done * MIB,
  bytesTotal: total * MIB,
});

test('the columns stay where they are, whatever is in them', async () => {
  const { terminal, frames } = screen();
  const view = openFleetTable(terminal);
  view.show(at('eu-1', 'stop'));
  await vi.waitFor(() => expect(frames.at(-1)).toMatch(/eu-1 {2}stop$/m));
  view.show(at('eu-1', 'download', 2, 558));
  await vi.waitFor(() => expect(frames.at(-1)).toContain('2.0 MiB of 558 MiB'));
  expect(new Set(frames.map((frame) => frame.split('\n')[0])).size).toBe(1);
  view.stop();
  expect(frames.at(-1)).toBe('');
});

test('the time left is told when it is known, and not in the first moments or when it would be days', async () => {
  const { terminal, frames } = screen();
  const view = openFleetTable(terminal);
  view.show(at('a', 'download', 100, 10_000));
  view.show({ targetId: 'b', phase: 'snapshot', bytesDone: 24, bytesTotal: 558 * MIB });
  await vi.waitFor(() => expect(frames.at(-1)).toContain('100 MiB of 9.8 GiB'));
  expect(frames.at(-1)).not.toContain('/s');
  await vi.waitFor(() => expect(frames.at(-1)).toMatch(/^a .* MiB\/s +\d+ min \d+ s$/m), 10_000);
  expect(frames.at(-1)).toMatch(/^b .* B\/s$/m);
  view.stop();
});

test('as many nodes as fit are shown, the busy ones first', async () => {
  const { terminal, frames } = screen(true, 9);
  const view = openFleetTable(terminal);
  for (let i = 1; i <= 8; i++) view.show(at(`n${i}`, i < 8 ? 'done' : 'verify'));
  view.show(at('n7', 'failed'));
  await vi.waitFor(() =>
    expect(frames.at(-1)).toMatch(/^NODE[^\n]*\nn7 [^\n]*failed\nn8 [\s\S]*… and 2 more/),
  );
  view.stop();
});

test('nothing is drawn where no terminal is', async () => {
  const { terminal, frames } = screen(false);
  const view = openFleetTable(terminal);
  view.show(at('a', 'stop'));
  view.stop();
  expect(frames).toEqual(['']);
});
