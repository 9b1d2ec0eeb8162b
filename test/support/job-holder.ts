import type { Job } from '../../src/backup/jobs/job-store.ts';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';

// A process that begins a job and never ends it. Arguments: the data directory, the job as JSON.

const [, , dataDir, job] = process.argv;
const store = await openSqliteJobStore(systemEnvironment, layoutOf(dataDir!));
await store.createBackupJob(JSON.parse(job!) as Job);
process.stdout.write('running\n');
setInterval(() => undefined, 1000);
