import { blockingFileSystem } from '../../env/blocking-file-system.ts';
import { serveTasks } from '../../env/worker-pool.ts';
import { TASKS } from './tasks.ts';

export default serveTasks(TASKS, blockingFileSystem);
