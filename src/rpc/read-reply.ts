import * as z from 'zod';
import { ERROR_CODES, type ErrorCode, StillpointError } from '../errors.ts';
import type { HttpReply, HttpRequest } from './http.ts';

/** What an answer of a server means. Its name is for messages. */

/** The body of an answer. Rejects with the server's own code, `NODE_UNREACHABLE`, or `NODE_REPLY_INVALID`. */
export function readReply<T>(name: string, request: HttpRequest, reply: HttpReply, schema: z.ZodType<T>): T {
  if (reply.status !== 200) throw failureOf(name, request, reply);
  const parsed = schema.safeParse(parse(reply.bytes));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalidReply(
    name,
    request,
    `${issue?.path.join('.') ?? ''} ${issue?.message ?? 'does not fit'}`.trim(),
  );
}

export const invalidReply = (name: string, { method, path }: HttpRequest, why: string): StillpointError =>
  new StillpointError(
    'NODE_REPLY_INVALID',
    `${name}: the reply to ${method} ${path} is not that of the admin RPC: ${why}`,
  );

export function failureOf(
  name: string,
  request: HttpRequest,
  { status, headers, bytes }: HttpReply,
): StillpointError {
  if (status >= 300 && status < 400)
    return invalidReply(name, request, `a redirect (${status}), which is not followed`);
  const envelope = envelopeSchema.safeParse(parse(bytes));
  const code = envelope.success ? envelope.data.error.code : undefined;
  const seconds = Number(headers['retry-after']);
  const data = { status, ...(Number.isSafeInteger(seconds) && { retryAfterMs: 1000 * seconds }) };
  if (envelope.success && code !== undefined && Object.hasOwn(ERROR_CODES, code)) {
    const message = `${name}: ${envelope.data.error.message.slice(0, 500)}`;
    const { hint } = envelope.data.error;
    return new StillpointError(code as ErrorCode, message, {
      data,
      ...(hint !== undefined && { hint: hint.slice(0, 500) }),
    });
  }
  const { method, path } = request;
  const message = `${name} answers ${method} ${path} with status ${status}`;
  return new StillpointError(status >= 500 ? 'NODE_UNREACHABLE' : 'NODE_REPLY_INVALID', message, { data });
}

/** A later server may have codes that are not known here. */
const envelopeSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().exactOptional() }),
});

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
