import { sep } from 'node:path';
import { StillpointError } from '../errors.ts';

/** Without `--data-dir` an operand is a path; who meant `latest`, a name or an id is told what is missing. */
export async function explainNotFound<T>(
  snapshot: string,
  dataDir: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const isBare = dataDir === undefined && !snapshot.includes(sep);
    if (!isBare || !(error instanceof StillpointError) || error.code !== 'NOT_FOUND') throw error;
    const hint = `For "latest", a name or an id add \`--data-dir DIR\`; a path must exist.`;
    throw new StillpointError('NOT_FOUND', error.message, {
      hint,
      path: error.path ?? snapshot,
      cause: error.cause,
    });
  }
}
