import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERROR_CODES, flattenError, reviveError, StillpointError, toStillpointError } from '../src/errors.ts';
import { VERSION } from '../src/snapshot/version.ts';

const root = resolve(import.meta.dirname, '..');
const page = readFileSync(resolve(root, 'src/errors.md'), 'utf8');

test('src/errors.md lists every error with its status, exit code and hint, and no other', () => {
  const table = /<!-- errors: begin[^\n]*-->\n([\s\S]*?)<!-- errors: end -->/.exec(page)?.[1];
  const rows = Object.entries(ERROR_CODES).map(
    ([code, { http, exit, hint }]) => `| \`${code}\` | ${http} | ${exit} | ${hint} |`,
  );
  expect(table?.trim().split('\n')).toEqual([
    '| code | HTTP | exit | what to do |',
    '|---|---|---|---|',
    ...rows,
  ]);
});

test('src/errors.md lists every exit code of the catalogue', () => {
  const exits = new Set(Object.values(ERROR_CODES).map(({ exit }) => String(exit)));
  for (const exit of exits) expect(page).toContain(`| ${exit} | `);
});

test('the version in manifests is that of the package', () => {
  expect(JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8')).version).toBe(VERSION);
});

describe('a foreign error', () => {
  test('of the system gets a code and keeps its path and cause', () => {
    for (const [system, code] of [
      ['ENOENT', 'NOT_FOUND'],
      ['ENOSPC', 'NO_SPACE'],
      ['EACCES', 'ACCESS_DENIED'],
      ['EIO', 'IO_ERROR'],
    ]) {
      const cause = Object.assign(new Error('from the system'), { code: system, path: '/some/file' });
      expect(toStillpointError(cause)).toMatchObject({ code, path: '/some/file', cause });
    }
  });

  test('of the system says in words what is wrong with which path', () => {
    const messageOf = (error: object) =>
      toStillpointError(Object.assign(new Error("ENOENT: no such file, lstat '/some/file'"), error)).message;
    expect(messageOf({ code: 'ENOENT', path: '/some/file' })).toBe('/some/file does not exist');
    expect(messageOf({ code: 'EACCES', path: '/some/file' })).toBe(
      '/some/file may not be accessed by this user',
    );
    // Where two paths are concerned, or none, only the system's own words say which.
    expect(messageOf({ code: 'ENOENT', path: '/some/file', dest: '/other' })).toContain('lstat');
    expect(messageOf({ code: 'ENOENT' })).toContain('lstat');
  });

  test('of any other kind is internal', () => {
    expect(toStillpointError('thrown text')).toMatchObject({ code: 'INTERNAL', message: 'thrown text' });
    expect(toStillpointError(new RangeError('odd')).code).toBe('INTERNAL');
  });

  test('crosses a thread whole', () => {
    const cause = Object.assign(new Error('no such file'), { code: 'ENOENT', path: '/gone' });
    const known = new StillpointError('SOURCE_DAMAGED', 'damaged', {
      path: 'a',
      data: { findings: [] },
      hint: 'h',
    });
    for (const error of [cause, known]) {
      const { code, message, path, hint, data } = toStillpointError(error);
      const revived = reviveError(structuredClone(flattenError(error)));
      expect(revived).toMatchObject({ code, message, path, hint });
      expect(revived.data).toEqual(data);
    }
    expect(reviveError(flattenError(cause)).cause).toMatchObject({ code: 'ENOENT' });
  });
});
