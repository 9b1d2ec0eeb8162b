import { tmpdir } from 'node:os';

/** Where the system keeps what nobody needs tomorrow. */
export const temporaryFolder = (): string => tmpdir();
