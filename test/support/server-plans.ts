import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { initRepository } from '../../src/backup/repositories.ts';
import type { Injected } from './server.ts';
import { temporaryFolder } from './temp.ts';

/** What a server is given for plans of its own: a data directory, a repository, and a settings file with the plan `nightly`, and `more` in it. */
export async function withPlans(plan: object = {}, key?: { readonly keyFile: string }, more: object = {}) {
  const folder = await temporaryFolder();
  const repository = join(folder, 'repository');
  await initRepository(repository, key && { encryption: key });
  const settings = join(folder, 'stillpoint.json');
  writeFileSync(
    settings,
    JSON.stringify({
      ...more,
      version: 1,
      stores: { orders: { data_dir: 'data' } },
      repositories: {
        offsite: { destination: 'repository', ...(key && { encryption: { key_file: key.keyFile } }) },
      },
      plans: { nightly: { store: 'orders', repository: 'offsite', backup: '0 3 1 1 *', ...plan } },
    }),
  );
  return { dataDir: join(folder, 'data'), settings };
}

/** Asks until a job has ended. */
export async function ended({ rpc }: Pick<Injected, 'rpc'>, id: string) {
  for (;;) {
    const { json } = await rpc('GET', `/api/admin/jobs/${id}`);
    if (json.status !== 'running') return json;
    await setTimeout(10); // to ask without end would keep the processor from those who are waited for
  }
}

/** Runs an action of the plan, and waits for the end of its job. */
export async function ran(server: Injected, action?: string) {
  const { status, json } = await server.rpc('POST', '/api/admin/plans/nightly/run', action && { action });
  if (status !== 200) throw new Error(JSON.stringify(json));
  return ended(server, json.id);
}
