import * as z from 'zod';
import { isSecretName, secretIn } from '../env/secrets.ts';
import { periodMs } from '../options/period.ts';
import { isLoopbackName } from '../rpc/loopback.ts';

/** The part `alerts` of a settings file: who is told when a run fails, is overdue, or works again. */

const address = z
  .string()
  .refine(
    (text) => isSecretName(text) || isPlainAddress(text),
    'must be an http:// or https:// address without a password, or "env:NAME" or "file:/path" that holds one',
  );

const secretName = z
  .string()
  .refine(isSecretName, 'must be "env:NAME" or "file:/path": a secret is named, not given');

const webhook = z
  .strictObject({
    url: address,
    /** Sent as `authorization: Bearer …`. */
    secret: secretName.optional(),
  })
  .refine(({ url, secret }) => secret === undefined || isSecretName(url) || keepsSecrets(url), {
    path: ['url'],
    message: 'must be https://, since a secret is sent there',
  });

const MINUTE_MS = 60_000;
const every = z.string().transform((text, context) => {
  const ms = periodMs(text);
  if (ms !== undefined && ms >= MINUTE_MS) return ms;
  context.addIssue({ code: 'custom', message: 'must be a time of at least 1m, such as "5m"' });
  return z.NEVER;
});

export const alertSettings = z
  .strictObject({
    /** A program and its arguments; no shell. It gets the alert as JSON on its standard input. */
    on_failure: z.array(z.string()).min(1, 'must name a program').optional(),
    webhook: webhook.optional(),
    heartbeat: z.strictObject({ url: address, every: every.default(5 * MINUTE_MS) }).optional(),
  })
  .refine((given) => Object.keys(given).length > 0, 'must have on_failure, webhook or heartbeat');

export type AlertSettings = z.infer<typeof alertSettings>;

/** @param here Resolves a path that is relative to the file. */
export const alertsIn = (
  { on_failure, webhook, heartbeat }: AlertSettings,
  here: (path: string) => string,
): AlertSettings => ({
  ...(on_failure && { on_failure }),
  ...(webhook && {
    webhook: {
      url: secretIn(webhook.url, here),
      ...(webhook.secret !== undefined && { secret: secretIn(webhook.secret, here) }),
    },
  }),
  ...(heartbeat && { heartbeat: { ...heartbeat, url: secretIn(heartbeat.url, here) } }),
});

export function isPlainAddress(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password } = new URL(text);
  return /^https?:$/.test(protocol) && username === '' && password === '';
}

/** Whether nobody on the way can read what is sent there. */
export function keepsSecrets(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || isLoopbackName(hostname);
}
