import { describe, expect, it } from 'vitest';
import { findingLines } from '../../src/cli/report-text.ts';
import { styleFor } from '../../src/cli/style.ts';
import { count, duration, size, table, time, visible } from '../../src/cli/text.ts';
import type { Finding } from '../../src/engine/report.ts';

describe('text for people', () => {
  it('gives sizes in powers of 1024, three digits at most', () => {
    const sizes = [0, 1, 999, 1000, 1024, 10_188, 10_189, 1_351_881, 1023.9 * 1024 ** 2, 2 ** 53].map(size);
    const expected = [
      '0 B',
      '1 B',
      '999 B',
      '1.0 KiB',
      '1.0 KiB',
      '9.9 KiB',
      '10 KiB',
      '1.3 MiB',
      '1.0 GiB',
      '8.0 PiB',
    ];
    expect(sizes).toEqual(expected);
  });

  it('gives durations, moments and counts', () => {
    expect([0, 9.9, 41.2, 999.4, 999.6, 59_940, 59_960, 125_000].map(duration)).toEqual([
      '0.0 ms',
      '9.9 ms',
      '41 ms',
      '999 ms',
      '1.0 s',
      '59.9 s',
      '1 min 0 s',
      '2 min 5 s',
    ]);
    expect(time(1_763_632_800_999)).toBe('2025-11-20 10:00:00Z');
    expect(time(Number.MAX_SAFE_INTEGER)).toBe('9007199254740991 ms'); // a manifest may say so
    expect([count(1, 'file'), count(3003, 'entry', 'entries')]).toEqual(['1 file', '3,003 entries']);
  });

  it('escapes characters that could move the cursor or mislead the reader', () => {
    expect(visible('a\u001b[31mb\n\u009b2J\u202ec\u{e0041}')).toBe(
      'a\\u001b[31mb\\u000a\\u009b2J\\u202ec\\u{e0041}',
    );
    expect(visible('Größe/日本 ✓')).toBe('Größe/日本 ✓');
  });

  it('aligns columns', () => {
    expect(
      table(
        [
          ['a', '1', 'x'],
          ['long', '100', ''],
        ],
        [1],
      ),
    ).toEqual(['a       1  x', 'long  100']);
  });
});

describe('findings', () => {
  const finding = (severity: 'error' | 'warning', code: string, offset: number): Finding => ({
    ...{ path: 'MANIFEST-000005', offset, code, severity, message: `at ${offset}` },
  });
  const plain = styleFor({ isTTY: false } as never, {});

  it('are one line for each error, and one for each kind of warning with their number', () => {
    const findings = [
      finding('warning', 'A', 1),
      finding('error', 'B', 2),
      ...Array.from({ length: 1200 }, (_, i) => finding('warning', 'A', 10 + i)),
      finding('warning', 'C', 3),
      finding('error', 'B', 4),
    ];
    expect(findingLines(findings, plain)).toEqual([
      'MANIFEST-000005 @1 A at 1  (the first of 1,201)',
      'MANIFEST-000005 @2 B at 2',
      'MANIFEST-000005 @3 C at 3',
      'MANIFEST-000005 @4 B at 4',
    ]);
  });
});
