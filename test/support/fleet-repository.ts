import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { initRepository } from '../../src/backup/repositories.ts';
import { temporaryFolder } from './temp.ts';

export interface FleetRepository {
  readonly name: 'offsite';
  readonly destination: string;
}

/** An empty repository, in a folder unless a place is given, as a fleet file names it. */
export async function fleetRepository(place?: string): Promise<FleetRepository> {
  const destination = place ?? join(await temporaryFolder(), 'repository');
  await initRepository(destination);
  return { name: 'offsite', destination };
}

/** Where the data of a node of its own is to lie, and a settings file for it that names the repository. */
export async function nodeWithRepository({
  destination,
}: FleetRepository): Promise<{ dataDir: string; settings: string }> {
  const folder = await temporaryFolder();
  const settings = join(folder, 'stillpoint.json');
  const plan = { store: 'data', repository: 'offsite', backup: '0 3 1 1 *' };
  const document = {
    version: 1,
    stores: { data: { data_dir: 'data' } },
    repositories: { offsite: { destination } },
    plans: { yearly: plan },
  };
  writeFileSync(settings, JSON.stringify(document));
  return { dataDir: join(folder, 'data'), settings };
}
