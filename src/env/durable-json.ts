import type * as z from 'zod';
import type { FileSystem } from './file-system.ts';
import { readSmallFile, replaceFile } from './io.ts';

/** Small JSON documents that survive a crash: read with a limit and a schema, replaced whole. */

/** Makes the error for a document that cannot be understood; `why` says what is wrong with it. */
export type Refuse = (why: string, cause?: unknown) => Error;

export interface JsonDocument<T> {
  readonly schema: z.ZodType<T>;
  /** A longer file is `INVALID_REQUEST` before anything is allocated. */
  readonly limitBytes: number;
  readonly refuse: Refuse;
}

/** The document at `path`, undefined when there is none. Throws what `refuse` returns when it does not fit the schema. */
export async function readJson<T>(
  fs: FileSystem,
  path: string,
  { schema, limitBytes, refuse }: JsonDocument<T>,
): Promise<T | undefined> {
  const bytes = await readSmallFile(fs, path, limitBytes);
  return bytes && decodeJson(bytes.toString('utf8'), schema, refuse);
}

export function decodeJson<T>(text: string, schema: z.ZodType<T>, refuse: Refuse): T {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw refuse('is not JSON', cause);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw refuse(problemsOf(parsed.error));
}

/** The value of a JSON text, undefined when it is none. For documents whose damage is not an error. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Replaces the document durably: after a crash it is the old one or the new one. `lines`: for people, one value a line. */
export function writeJson(
  fs: FileSystem,
  path: string,
  value: object,
  layout: 'lines' | 'compact',
): Promise<void> {
  const text = layout === 'compact' ? JSON.stringify(value) : `${JSON.stringify(value, undefined, 1)}\n`;
  return replaceFile(fs, path, Buffer.from(text));
}

/** What does not fit, in one line. */
export const problemsOf = (error: z.ZodError): string =>
  error.issues
    .slice(0, 2)
    .map(({ path, message }) => (path.length > 0 ? `${path.join('.')}: ${message}` : message))
    .join('; ')
    .slice(0, 500);
