import { type ErrorCode, StillpointError } from '../errors.ts';

/** What the SDK throws. */
interface S3Error {
  readonly name?: string;
  readonly message?: string;
  readonly Code?: string;
  readonly code?: string;
  readonly $response?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly attempts?: number };
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  NoSuchBucket: 'DESTINATION_NOT_FOUND',
  AccessDenied: 'DESTINATION_PERMISSION_DENIED',
  AllAccessDisabled: 'DESTINATION_PERMISSION_DENIED',
  InvalidAccessKeyId: 'DESTINATION_CREDENTIALS_INVALID',
  SignatureDoesNotMatch: 'DESTINATION_CREDENTIALS_INVALID',
  ExpiredToken: 'DESTINATION_CREDENTIALS_INVALID',
  InvalidToken: 'DESTINATION_CREDENTIALS_INVALID',
  CredentialsProviderError: 'DESTINATION_CREDENTIALS_INVALID',
  PermanentRedirect: 'DESTINATION_CONFIG_INVALID',
  AuthorizationHeaderMalformed: 'DESTINATION_CONFIG_INVALID',
  InvalidBucketName: 'DESTINATION_CONFIG_INVALID',
  QuotaExceeded: 'DESTINATION_NO_SPACE',
  InsufficientStorage: 'DESTINATION_NO_SPACE',
  AbortError: 'CANCELLED',
};

const BY_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: 'DESTINATION_CREDENTIALS_INVALID',
  403: 'DESTINATION_PERMISSION_DENIED',
  507: 'DESTINATION_NO_SPACE',
};

/** What the server answered, as one of our codes; what nobody knows is `DESTINATION_UNREACHABLE`. */
export function translatedS3(error: unknown, url: string): unknown {
  if (error instanceof StillpointError) return error;
  const { name = '', $metadata, $response } = error as S3Error;
  // An error of whoever yields the body has none of these; one in the reading of an answer has the answer.
  if ($metadata === undefined && $response === undefined && !isOfClient(error)) return error;
  const code = CODES[name] ?? BY_STATUS[statusOf(error) ?? 0] ?? 'DESTINATION_UNREACHABLE';
  if (code === 'CANCELLED') return new StillpointError(code, 'cancelled on request', { cause: error });
  return new StillpointError(code, `${url}: ${reasonOf(error as S3Error)}`, { cause: error });
}

/** An answer to a HEAD has no body, so the SDK knows its status only. */
function reasonOf({ name = '', message = '', $metadata }: S3Error): string {
  const status = $metadata?.httpStatusCode;
  if (status === undefined || message !== 'UnknownError')
    return name === message ? name : `${name}: ${message}`;
  const why = status === 403 ? ': the keys are wrong, or lack a right' : '';
  return `the server answered ${status}${why}`;
}

/** Of the network, of a time limit, or of the search for credentials. */
function isOfClient(error: unknown): boolean {
  const { name = '', code = '' } = error as S3Error;
  return (
    /^(TimeoutError|AbortError|CredentialsProviderError)$/.test(name) ||
    /^E[A-Z]+$|^ERR_(STREAM|HTTP|SSL|TLS)/.test(code)
  );
}

export const statusOf = (error: unknown): number | undefined => (error as S3Error).$metadata?.httpStatusCode;
export const nameOf = (error: unknown): string => (error as S3Error).name ?? '';
/** Whether the SDK sent the request more than once: the first one may have done its work, and its answer was lost. */
export const wasRetried = (error: unknown): boolean => ((error as S3Error).$metadata?.attempts ?? 1) > 1;
