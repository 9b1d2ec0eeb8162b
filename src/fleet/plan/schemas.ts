import * as z from 'zod';

/** Parts that several documents of a fleet have in common. */

export const idSchema = z
  .string()
  .min(1)
  .max(120)
  .regex(/^[!-~]+$/, 'must be printable characters without spaces');

export const hashSchema = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hexadecimal');

/** Milliseconds since 1970. */
export const timeSchema = z.int().min(0);
