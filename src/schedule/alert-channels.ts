import { runCommand } from '../env/command.ts';
import type { FileSystem } from '../env/file-system.ts';
import { isSecretName, readSecret } from '../env/secrets.ts';
import { withTimeLimit } from '../env/time-limit.ts';
import { StillpointError, systemCode } from '../errors.ts';
import { type AlertSettings, isPlainAddress, keepsSecrets } from './alert-settings.ts';

/** How an alert leaves the machine. Addresses and secrets are in no message: an address may be a secret itself. */

export interface Alert {
  /** The same at each attempt, so that a receiver can tell a repetition. */
  readonly id: string;
  readonly kind: 'failed' | 'overdue' | 'recovered' | 'test';
  /** One sentence. */
  readonly text: string;
  readonly plan: string | null;
  readonly action: string | null;
  readonly data_dir: string | null;
  readonly due_at: string | null;
  readonly error: string | null;
}

export const testAlert = (id: string, text: string): Alert => ({
  id,
  kind: 'test',
  text,
  plan: null,
  action: null,
  data_dir: null,
  due_at: null,
  error: null,
});

export interface Channel {
  readonly name: 'on_failure' | 'webhook';
  send(alert: Alert, signal?: AbortSignal): Promise<void>;
}

const COMMAND_LIMIT_MS = 60_000;
const HTTP_LIMIT_MS = 15_000;

export function channelsOf(
  { on_failure: command, webhook }: AlertSettings,
  fs: FileSystem,
  commandLimitMs = COMMAND_LIMIT_MS,
): Channel[] {
  const channels: Channel[] = [];
  if (command !== undefined)
    channels.push({
      name: 'on_failure',
      send: (alert, signal) =>
        withTimeLimit(commandLimitMs, signal, (limited) =>
          runCommand(command, `${JSON.stringify(alert)}\n`, limited),
        ),
    });
  if (webhook !== undefined)
    channels.push({
      name: 'webhook',
      async send(alert, signal) {
        const url = await addressOf(fs, webhook.url);
        const headers: Record<string, string> = { 'content-type': 'application/json' };
        if (webhook.secret !== undefined) {
          if (!keepsSecrets(url))
            throw failed('the address is not https://, and a secret is to be sent there');
          headers.authorization = `Bearer ${await readSecret(fs, webhook.secret)}`;
        }
        await request(url, { method: 'POST', headers, body: JSON.stringify(alert) }, signal);
      },
    });
  return channels;
}

/** Says that all is well. */
export async function beat(
  { url }: NonNullable<AlertSettings['heartbeat']>,
  fs: FileSystem,
  signal?: AbortSignal,
): Promise<void> {
  await request(await addressOf(fs, url), { method: 'GET' }, signal);
}

async function addressOf(fs: FileSystem, given: string): Promise<string> {
  const url = isSecretName(given) ? await readSecret(fs, given) : given;
  if (!isPlainAddress(url)) throw failed(`what ${given} holds is no http:// or https:// address`);
  return url;
}

async function request(url: string, init: RequestInit, signal: AbortSignal | undefined): Promise<void> {
  await withTimeLimit(HTTP_LIMIT_MS, signal, async (limited) => {
    let reply: Response;
    try {
      reply = await fetch(url, { ...init, redirect: 'manual', signal: limited });
    } catch (error) {
      const { cause, name } = error as Error;
      throw failed(name === 'TimeoutError' ? 'no answer in time' : (systemCode(cause) ?? 'no connection'));
    }
    await reply.body?.cancel();
    if (!reply.ok) throw failed(`the answer was ${reply.status}`);
  });
}

const failed = (why: string): StillpointError =>
  new StillpointError('HOOK_FAILED', why, { hint: 'Check the part "alerts" of the settings file.' });
