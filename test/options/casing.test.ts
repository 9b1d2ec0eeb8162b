import { expect, test } from 'vitest';
import { fromJson, snakeName, toJson } from '../../src/options/casing.ts';

const LIBRARY = {
  startedAtMs: 5,
  progress: { percent: 0, bytesProcessed: null },
  crc32: 1,
  findings: [{ path: 'Some_File', atMs: 1 }],
};
const JSON_FORM = {
  started_at_ms: 5,
  progress: { percent: 0, bytes_processed: null },
  crc32: 1,
  findings: [{ path: 'Some_File', at_ms: 1 }],
};

test('the names of members change between the library and JSON, and values do not', () => {
  expect(toJson(LIBRARY)).toEqual(JSON_FORM);
  expect(fromJson(JSON_FORM)).toEqual(LIBRARY);
  expect(snakeName('maxBytesPerSecond')).toBe('max_bytes_per_second');
});

test('what has its form already stays as it is', () => {
  expect(toJson(JSON_FORM)).toEqual(JSON_FORM);
  expect(fromJson(LIBRARY)).toEqual(LIBRARY);
  expect(toJson(null)).toBeNull();
  expect(toJson([1, 'a_b'])).toEqual([1, 'a_b']);
});
