import { resolve } from 'node:path';
import { glanceAtBackups, listBackups } from '../../backup/list-backups.ts';
import { pruneBackups } from '../../backup/prune-backups.ts';
import { toJson } from '../../options/casing.ts';
import {
  errandBodySchema,
  errandReplySchema,
  repositoryReplySchema,
  retentionBodySchema,
  retentionReplySchema,
} from '../../rpc/elsewhere.ts';
import { replies } from '../route-types.ts';
import { type ElsewhereOptions, type KeyedServer, serveElsewhere } from './elsewhere-app.ts';
import { type ErrandFrom, Errands } from './errand.ts';

export interface RepositoryConsoleOptions extends ElsewhereOptions {
  readonly from: ErrandFrom;
}

/**
 * Shows a repository: its backups by store; verifies, drills and restores them into new folders, and says what a rule of retention
 * would remove. Removes nothing. Rejects when the repository cannot be opened.
 */
export async function startRepositoryConsole(options: RepositoryConsoleOptions): Promise<KeyedServer> {
  const { environment } = options;
  const from = { ...options.from, environment };
  await listBackups(from); // what is wrong is told before there is a page
  const closing = new AbortController();
  const here = { ...from, signal: closing.signal };
  const errands = new Errands(environment, from);
  return serveElsewhere(
    options,
    'repository',
    (app, audit) => {
      app.get(
        '/api/admin/repository',
        { schema: { summary: 'The backups of a repository', response: replies(repositoryReplySchema) } },
        async () => {
          const { stores } = await glanceAtBackups(here);
          return toJson({
            destination: options.from.from,
            encrypted: from.encryption !== undefined,
            keyFlags: keyFlags(from),
            stores,
          }) as never;
        },
      );
      app.get(
        '/api/admin/errand',
        {
          config: { load: 'light' },
          schema: { summary: 'What is done with a backup', response: replies(errandReplySchema) },
        },
        async () => ({ errand: errands.last }),
      );
      app.post(
        '/api/admin/errand',
        {
          schema: {
            summary: 'Verify, drill or restore a backup',
            body: errandBodySchema,
            response: replies(errandReplySchema),
          },
        },
        async (request) => {
          const { body } = request;
          const { action, backup_id: id, store_id: store } = body;
          const about = { action, id, store, ...(body.action === 'restore' && { into: body.into }) };
          const errand = errands.begin(body, (outcome) => audit.run(request, { ...about, outcome }));
          audit.run(request, { ...about, outcome: 'accepted' });
          return { errand };
        },
      );
      app.delete(
        '/api/admin/errand',
        {
          config: { load: 'light' },
          schema: { summary: 'Cancel it', response: replies(errandReplySchema) },
        },
        async (request) => {
          const errand = errands.cancel();
          audit.note(request, { action: 'cancel', id: errand.backup_id });
          return { errand };
        },
      );
      app.post(
        '/api/admin/retention',
        {
          schema: {
            summary: 'What a rule of retention would keep and remove; nothing is removed',
            body: retentionBodySchema,
            response: replies(retentionReplySchema),
          },
        },
        async ({ body }) => {
          const { store_id: store, keep_last, keep_daily, keep_weekly, keep_monthly } = body;
          const rule = {
            ...(keep_last !== undefined && { keepLast: keep_last }),
            ...(keep_daily !== undefined && { keepDaily: keep_daily }),
            ...(keep_weekly !== undefined && { keepWeekly: keep_weekly }),
            ...(keep_monthly !== undefined && { keepMonthly: keep_monthly }),
          };
          const { kept, removed } = await pruneBackups({ ...here, store, ...rule, dryRun: true });
          return toJson({ kept, removed }) as never;
        },
      );
    },
    async () => {
      closing.abort();
      await errands.close();
    },
  );
}

/** Names of the key, as they stand on a command line. */
function keyFlags({ encryption: { identity, passphrase, keyFile } = {} }: ErrandFrom): string[] {
  return [
    ...(identity === undefined ? [] : ['--identity', resolve(identity)]),
    ...(passphrase === undefined ? [] : ['--passphrase', passphrase]),
    ...(keyFile === undefined ? [] : ['--key-file', resolve(keyFile)]),
  ];
}
