import { parentPort, workerData } from 'node:worker_threads';
import { failureOf, openDatabase, SETTINGS } from './sqlite-database.ts';

// A thread that owns one SQLite database.

interface Request {
  readonly id: number;
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

const { path, busyMs } = workerData as { path: string; busyMs: number };
const port = parentPort!;

// That Node.js calls its SQLite experimental is not for the users of this package.
const { emitWarning } = process;
process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
  if (!String(warning).startsWith('SQLite is an experimental'))
    Reflect.apply(emitWarning, process, [warning, ...rest]);
};

try {
  // This thread may wait: nobody's event loop runs here.
  const database = await openDatabase(path, busyMs);
  for (const sql of SETTINGS) database.query(sql, []);
  port.on('message', (request: Request | 'close') => {
    if (request === 'close') {
      database.close();
      port.close();
      return;
    }
    try {
      port.postMessage({ id: request.id, ...database.query(request.sql, request.parameters) });
    } catch (error) {
      port.postMessage({ id: request.id, error: failureOf(error) });
    }
  });
  port.postMessage({ id: 0 });
} catch (error) {
  port.postMessage({ id: 0, error: failureOf(error) });
  port.close();
}
