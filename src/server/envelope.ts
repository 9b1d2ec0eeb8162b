import type { Socket } from 'node:net';
import type * as z from 'zod';
import {
  ERROR_CODES,
  type ErrorCode,
  isNoSpace,
  StillpointError,
  systemCode,
  toStillpointError,
} from '../errors.ts';
import type { errorSchema } from '../rpc/replies.ts';
import type { Environment } from '../snapshot/environment.ts';

export const CORRELATION_HEADER = 'x-correlation-id';

export type ErrorReply = z.infer<typeof errorSchema>;

export interface DescribedError {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  /** Nobody foresaw it: the client is told no more than that, and the log all of it. */
  readonly isUnexpected: boolean;
}

const PREFIXES: Readonly<Record<number, string>> = {
  400: 'bad request',
  401: 'unauthorized',
  404: 'not found',
  405: 'method not allowed',
  408: 'request timeout',
  409: 'conflict',
  410: 'gone',
  413: 'payload too large',
  416: 'range not satisfiable',
  431: 'headers too large',
  500: 'internal',
  503: 'unavailable',
  507: 'no space',
};

/** Any thrown value as status, code and message of the RPC. */
export function describeError(error: unknown): DescribedError {
  if (error instanceof StillpointError && error.code !== 'INTERNAL') {
    return described(error.httpStatus, error.code, error.message, error.hint);
  }
  // Whatever a request writes, a full disk is for its operator to know.
  if (isNoSpace(error)) return describeError(toStillpointError(error));
  const { validation, validationContext, statusCode, message } = error as FrameworkError;
  if (validation !== undefined) {
    return described(400, 'INVALID_REQUEST', describeIssue(validationContext, validation[0]));
  }
  if (systemCode(error)?.startsWith('FST_') && statusCode !== undefined && statusCode < 500) {
    if (statusCode === 413) return described(413, 'PAYLOAD_TOO_LARGE', 'the body is larger than allowed');
    return described(400, 'INVALID_REQUEST', message);
  }
  return { ...described(500, 'INTERNAL', 'unexpected error'), isUnexpected: true };
}

/** The client closed the connection before its request had arrived. */
export const describeAborted: DescribedError = described(
  400,
  'INVALID_REQUEST',
  'the request was broken off',
);

export const describeWrongMethod = (method: string, allowed: string): DescribedError =>
  described(
    405,
    'INVALID_REQUEST',
    `there is no ${method} on this route, only ${allowed}`,
    `Use ${allowed}.`,
  );

export function errorReply({ code, message, hint }: DescribedError, correlationId: string): ErrorReply {
  return { error: { code, message, correlation_id: correlationId, hint } };
}

/** Time for a client to take its answer, and to close, before the connection is cut. */
const LINGER_MS = 1000;

/** Answers what never became a request, broken or too slow HTTP, and cuts the connection. */
export function answerBrokenRequest(error: Error, socket: Socket, { clock, newId }: Environment): void {
  if (!socket.writable || systemCode(error) === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const { status, reason, message } = BROKEN[systemCode(error) ?? ''] ?? {
    status: 400,
    reason: 'Bad Request',
    message: 'this is not HTTP',
  };
  const correlationId = newId();
  const body = JSON.stringify(errorReply(described(status, 'INVALID_REQUEST', message), correlationId));
  // To end is not enough: a client that never closes its side would keep its place.
  const forget = clock.every(LINGER_MS, () => socket.destroy());
  socket.once('close', forget);
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/json; charset=utf-8\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n${CORRELATION_HEADER}: ${correlationId}\r\nconnection: close\r\n\r\n${body}`,
  );
}

const BROKEN: Readonly<Record<string, { status: number; reason: string; message: string }>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    reason: 'Request Header Fields Too Large',
    message: 'URL and headers together are larger than allowed',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    reason: 'Request Timeout',
    message: 'the request did not arrive in time',
  },
};

interface FrameworkError {
  readonly message: string;
  readonly statusCode?: number;
  readonly validationContext?: string;
  readonly validation?: readonly { readonly instancePath?: string; readonly message?: string }[];
}

function described(
  status: number,
  code: ErrorCode,
  message: string,
  hint: string = ERROR_CODES[code].hint,
): DescribedError {
  const prefix = PREFIXES[status] ?? 'error';
  return { status, code, message: `${prefix}: ${message}`, hint, isUnexpected: false };
}

/** `body/keep: Too small`, or the message alone when it is about the whole. */
function describeIssue(
  context = 'request',
  issue?: { readonly instancePath?: string; readonly message?: string },
): string {
  const path = issue?.instancePath === '/' ? '' : (issue?.instancePath ?? '');
  return `${context}${path}: ${issue?.message ?? 'does not fit'}`;
}
