import { expect, test } from 'vitest';
import { describeError } from '../../src/server/envelope.ts';
import { systemError } from '../support/crash-file-system.ts';

test('a full disk is told as one, wherever a request meets it', () => {
  expect(describeError(systemError('ENOSPC', '/data/file'))).toMatchObject({ status: 507, code: 'NO_SPACE' });
  expect(describeError(new Error('a defect'))).toMatchObject({ status: 500, code: 'INTERNAL' });
});
