import { isAbsolute, resolve } from 'node:path';
import { StillpointError } from '../errors.ts';
import type { Destination } from './destination.ts';
import { withoutKeys } from './s3-url.ts';

const SCHEME = /^([a-z][a-z0-9+.-]*):(.*)$/s;

export interface OpenDestinationOptions {
  /** Makes the folder if it is missing. Default false: an unmounted disk is not to be mistaken for an empty one. */
  readonly create?: boolean;
  /** Of a bucket: soon after it is aborted every request ends, also one that hangs. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens what a user names: `folder:/path`, a plain path, or `s3://bucket/prefix`. The driver is loaded here, at first use.
 * `DESTINATION_CONFIG_INVALID` when nobody knows the scheme.
 */
export async function openDestination(
  url: string,
  options: OpenDestinationOptions = {},
): Promise<Destination> {
  const [, scheme] = SCHEME.exec(url) ?? [];
  if (scheme === 's3') {
    const [{ openS3 }, { parseS3Url }] = await Promise.all([import('./s3.ts'), import('./s3-url.ts')]);
    return openS3(parseS3Url(url), options.signal);
  }
  const path = folderOf(url);
  if (path !== undefined) return folder(path, options);
  throw new StillpointError(
    'DESTINATION_CONFIG_INVALID',
    `there is no destination of the kind "${scheme}:"`,
    {
      hint: 'Name a folder (`folder:/path`, or a path alone) or a bucket (`s3://bucket/prefix`).',
    },
  );
}

/** The path of the folder that a URL names; undefined when it names another kind of destination. */
export function folderOf(url: string): string | undefined {
  const [, scheme, rest = ''] = SCHEME.exec(url) ?? [];
  if (scheme === undefined || isAbsolute(url)) return url;
  return scheme === 'folder' ? rest.replace(/^\/\/(?=\/)/, '') : undefined;
}

/** What a user named, such that it still says the same elsewhere and later, and without secrets. */
export function addressOf(url: string): string {
  const path = folderOf(url);
  return path === undefined ? withoutKeys(url) : `folder:${resolve(path)}`;
}

async function folder(path: string, { create = false }: OpenDestinationOptions): Promise<Destination> {
  if (path === '') {
    throw new StillpointError('DESTINATION_CONFIG_INVALID', 'the path of the destination is empty');
  }
  const { openFolder } = await import('./folder.ts');
  if (create) {
    const { makeFolders, realPlace } = await import('../env/io.ts');
    const { nodeFileSystem } = await import('../env/node-file-system.ts');
    await makeFolders(nodeFileSystem, await realPlace(nodeFileSystem, path));
  }
  return openFolder(path);
}
