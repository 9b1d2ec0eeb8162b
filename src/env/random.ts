import { randomBytes } from 'node:crypto';

/** So many random bytes in hexadecimal; good for secrets. */
export const randomHex = (byteCount: number): string => randomBytes(byteCount).toString('hex');
