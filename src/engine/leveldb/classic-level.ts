import { requireOwnersRights } from '../../env/umask.ts';
import { StillpointError } from '../../errors.ts';

/** The package that opens a LevelDB, where the user has installed it. No declaration of the public API names its types. */
export async function importClassicLevel(): Promise<typeof import('classic-level')> {
  requireOwnersRights(); // it makes a LOCK wherever it opens a folder
  try {
    return await import('classic-level');
  } catch (cause) {
    throw new StillpointError(
      'ENGINE_MISSING',
      'the package `classic-level` is needed to open a LevelDB folder',
      {
        cause,
        hint: 'Install it: npm install classic-level',
      },
    );
  }
}
