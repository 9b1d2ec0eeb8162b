import * as z from 'zod';
import { StillpointError } from '../../errors.ts';
import { directoryOf } from '../../operation/lifecycle.ts';
import { toJson } from '../../options/casing.ts';
import {
  jobSchema,
  jobsQuerySchema,
  jobsReplySchema,
  planRunBodySchema,
  plansReplySchema,
  pushBodySchema,
  pushReplySchema,
  recordsReplySchema,
  repositoriesReplySchema,
  storedBackupsReplySchema,
} from '../../rpc/offsite.ts';
import { nameOf } from '../../snapshot/store/layout.ts';
import { readManifest } from '../../snapshot/store/manifest-file.ts';
import { readStoreFile } from '../../snapshot/store/store-identity.ts';
import { refuseWhenClosing, type ServerContext } from '../assemble-server.ts';
import { findStored } from '../find-stored.ts';
import type { Plans } from '../plans.ts';
import { type App, replies } from '../route-types.ts';
import { nameParamsSchema } from './schemas.ts';

const planParams = z.object({ name: z.string().describe('Of the plan, in the settings file') });
const repositoryParams = z.object({ name: z.string().describe('Of the repository, in the settings file') });
const jobParams = z.object({ id: z.string().describe('A ULID') });

/** Backups off the machine: the plans of the settings file, every attempt on record, and what the repositories hold. */
export function offsiteRoutes(app: App, parts: ServerContext): void {
  const { plans, options, environment, lifecycle } = parts;
  const { dataDir } = options;
  const ofStore = { environment, jobs: plans?.jobs };

  app.get(
    '/api/admin/plans',
    {
      schema: {
        summary: 'The plans of this server, and how they stand',
        description:
          'Those of the settings file that are about its data directory; none without such a file.',
        response: replies(plansReplySchema),
      },
    },
    async () => {
      const states = (await plans?.states()) ?? [];
      return {
        plans: (plans?.plans ?? []).map(({ name, repository, time_zone }) => ({
          name,
          repository: repository.name,
          time_zone,
          schedules: states
            .filter(({ plan }) => plan === name)
            .map(({ plan: _, dataDir: __, ...state }) => toJson(state)),
        })),
      };
    },
  );

  app.post(
    '/api/admin/plans/:name/run',
    {
      schema: {
        summary: 'Run a plan now',
        description: 'Answers with its job as soon as that is on record; the work goes on behind it.',
        params: planParams,
        body: planRunBodySchema,
        response: replies(jobSchema),
      },
    },
    async (request) => {
      refuseWhenClosing(parts);
      const job = await requirePlans(parts).run(request.params.name, request.body?.action ?? 'backup');
      parts.audit.note(request, { id: job.id });
      return toJson(job);
    },
  );

  app.post(
    '/api/admin/backups/:name/push',
    {
      schema: {
        summary: 'Upload a snapshot into a repository',
        description:
          'Answers with its job as soon as that is on record; the work goes on behind it. A snapshot whose backup is the newest one is not uploaded again. Ask again with the same key after the job has ended: then `backup` names it.',
        params: nameParamsSchema,
        body: pushBodySchema,
        response: replies(pushReplySchema),
      },
    },
    async (request) => {
      refuseWhenClosing(parts);
      const { key, repository } = request.body;
      const own = requirePlans(parts);
      const location = await findStored(parts, request.params.name);
      const name = nameOf(location);
      parts.audit.note(request, { id: name });
      const snapshotId = (await readManifest(environment, location))?.snapshot?.id;
      if (snapshotId === undefined)
        throw new StillpointError('MANIFEST_INVALID', `${name} does not say which snapshot it is`);
      const backup = await own.pushed(repository, snapshotId);
      if (backup !== undefined) return { job: null, backup: toJson(backup) };
      const begin = async () => (await own.push(repository, name)).id;
      const layout = await directoryOf(lifecycle).layout();
      const id = await parts.pushKeys.run(layout, key, { name, repository }, begin);
      const { showJob } = await import('../../backup/list-jobs.ts');
      return { job: toJson(await showJob(dataDir, id, ofStore)), backup: null };
    },
  );

  app.get(
    '/api/admin/jobs',
    {
      schema: {
        summary: 'Every attempt to back up, verify, drill or prune off the machine, newest first',
        querystring: jobsQuerySchema,
        response: replies(jobsReplySchema),
      },
    },
    async ({ query }) => {
      const { listJobs } = await import('../../backup/list-jobs.ts');
      return toJson(await listJobs(dataDir, { ...ofStore, ...query }));
    },
  );

  app.get(
    '/api/admin/jobs/:id',
    {
      config: { load: 'light' },
      schema: { summary: 'How far a job is', params: jobParams, response: replies(jobSchema) },
    },
    async ({ params }) => {
      const { showJob } = await import('../../backup/list-jobs.ts');
      const job = await showJob(dataDir, params.id, ofStore);
      return toJson((await parts.plans?.settled(job)) ?? job);
    },
  );

  app.delete(
    '/api/admin/jobs/:id',
    {
      config: { load: 'light' },
      schema: {
        summary: 'Cancel a job',
        description:
          'Asks for its end, in whatever process it runs, and answers at once. It reads as `interrupted` within seconds; a backup that exists already stays.',
        params: jobParams,
        response: replies(jobSchema),
      },
    },
    async (request) => {
      const { id } = request.params;
      parts.audit.note(request, { id });
      const { cancelJob } = await import('../../backup/list-jobs.ts');
      return toJson(await cancelJob(dataDir, id, ofStore));
    },
  );

  app.get(
    '/api/admin/records',
    {
      schema: {
        summary: 'The backups on record, newest first',
        description: 'What this data directory remembers; `repositories/{name}/backups` asks the repository.',
        response: replies(recordsReplySchema),
      },
    },
    async () => {
      const { listRecords } = await import('../../backup/list-jobs.ts');
      return toJson(await listRecords(dataDir, ofStore));
    },
  );

  app.get(
    '/api/admin/repositories',
    {
      schema: {
        summary: 'The repositories of the settings file',
        response: replies(repositoriesReplySchema),
      },
    },
    async () => ({
      repositories: (plans?.repositories ?? []).map(({ name, destination, encryption }) => ({
        name,
        destination,
        encrypted: encryption !== undefined,
      })),
    }),
  );

  app.get(
    '/api/admin/repositories/:name/backups',
    {
      schema: {
        summary: 'The backups of this database in a repository, oldest first',
        description: 'Reads the repository. A restore takes any of them: `source` with `repository`.',
        params: repositoryParams,
        response: replies(storedBackupsReplySchema),
      },
    },
    async ({ params }) => {
      const { destination: from, encryption } = requirePlans(parts).repository(params.name);
      const own = await readStoreFile(environment.fs, await directoryOf(lifecycle).layout());
      const { listBackups } = await import('../../backup/list-backups.ts');
      const { signal } = parts.closing;
      const { stores } = await listBackups({ environment, from, signal, ...(encryption && { encryption }) });
      const { backups = [] } = stores.find(({ storeId }) => storeId === own?.store_id) ?? {};
      return toJson({ backups });
    },
  );
}

/** `NOT_FOUND` for a server without a settings file. */
export function requirePlans({ plans }: Pick<ServerContext, 'plans'>): Plans {
  if (plans !== undefined) return plans;
  throw new StillpointError('NOT_FOUND', 'this server has no settings file', {
    hint: 'Start it with `--settings FILE` (`settings` in the library).',
  });
}
