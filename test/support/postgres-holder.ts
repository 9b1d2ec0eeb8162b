import type { Job } from '../../src/backup/jobs/job-store.ts';
import { openPostgresJobStore } from '../../src/backup/jobs/postgres-job-store.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';

// A process that begins a job and never ends it. Arguments: address, time of a lease in milliseconds, the job as JSON.

const [, , url = '', leaseMs = '', text = ''] = process.argv;
const job = JSON.parse(text) as Job;
const store = await openPostgresJobStore(systemEnvironment, {
  url,
  storeId: job.storeId,
  leaseMs: Number(leaseMs),
});
await store.createBackupJob(job);
process.stdout.write('running\n');
setInterval(() => undefined, 1000);
