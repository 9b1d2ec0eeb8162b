import { standardError } from '../../env/runtime.ts';
import { toStillpointError } from '../../errors.ts';
import { toJson } from '../../options/casing.ts';
import { foldersReplySchema } from '../../rpc/folders.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { closeWithApp, folderRoutes, newApp, readBodiesAsJson } from '../app.ts';
import { assemble, type ServerContext } from '../assemble-server.ts';
import { Audit } from '../audit.ts';
import { consolePage } from '../console-page.ts';
import { type KeyedServer, LOOPBACK, newSessionKey } from '../elsewhere/elsewhere-app.ts';
import type { LineTarget } from '../line-writer.ts';
import { listen } from '../listen.ts';
import { resolveOptions } from '../options.ts';
import { type App, replies } from '../route-types.ts';
import { closedBackend } from './closed-backend.ts';

export interface FolderConsoleOptions {
  readonly dataDirs: readonly string[];
  /** 0 takes any free one. */
  readonly port: number;
  readonly environment: Environment;
  readonly audit?: LineTarget;
}

interface Shown {
  readonly dataDir: string;
  readonly parts: ServerContext;
}

type Folder = Shown | { readonly dataDir: string; readonly parts?: undefined; readonly problem: string };

/**
 * Shows data directories that no server of ours holds, on loopback only. A directory that cannot be shown is told on the page; when
 * there is none that can, this rejects with what the first one rejects with.
 */
export async function startFolderConsole(options: FolderConsoleOptions): Promise<KeyedServer> {
  const key = newSessionKey();
  const { dataDirs, environment } = options;
  const audit = new Audit(options.audit ?? standardError, environment.clock, ({ routeOptions }) => {
    if (dataDirs.length === 1) return dataDirs[0];
    const [, number] = /^\/folder\/(\d+)\//.exec(routeOptions.url ?? '') ?? [];
    return dataDirs[Number(number) - 1];
  });
  const folders: Folder[] = [];
  let failure: unknown;
  for (const dataDir of dataDirs) {
    try {
      folders.push({ dataDir, parts: await open(dataDir, key, audit, options) });
    } catch (error) {
      const { message, hint } = toStillpointError(error);
      failure ??= error;
      folders.push({ dataDir, problem: hint === undefined ? message : `${message}. ${hint}` });
    }
  }
  const shown = folders.filter((folder): folder is Shown => folder.parts !== undefined);
  const first = shown[0];
  if (first === undefined) throw toStillpointError(failure);
  const app = newApp(first.parts, undefined);
  for (const { parts } of shown) closeWithApp(app, parts);
  if (folders.length === 1) await addFolder(app, first, '');
  else await addAll(app, folders);
  await app.ready();
  const server = await listen(app, { host: LOOPBACK, port: options.port, tls: undefined });
  return { ...server, key };
}

async function open(
  dataDir: string,
  apiKey: string,
  audit: Audit,
  { environment }: FolderConsoleOptions,
): Promise<ServerContext> {
  const backend = await closedBackend(environment, dataDir);
  const resolved = resolveOptions({ dataDir, backend, apiKey, createDataDir: false, environment });
  return assemble(resolved, undefined, { audit });
}

async function addFolder(app: App, folder: Shown, prefix: string): Promise<void> {
  await app.register(
    async (scope: App) => {
      readBodiesAsJson(scope, folder.parts.options.limits.adminBodyBytes);
      consolePage(scope, 'folder');
      folderRoutes(scope, folder.parts);
      listRoute(scope, [[folder, '']]);
    },
    { prefix },
  );
}

/** A list at the root, and below it a page for each. */
async function addAll(app: App, folders: readonly Folder[]): Promise<void> {
  consolePage(app, 'folders');
  listRoute(
    app,
    folders.map((folder, i) => [folder, `folder/${i + 1}/`]),
  );
  for (const [i, folder] of folders.entries())
    if (folder.parts !== undefined) await addFolder(app, folder, `/folder/${i + 1}`);
}

function listRoute(app: App, folders: readonly (readonly [Folder, page: string])[]): void {
  const summary = 'Each data directory, and whether it is safe';
  app.get('/api/admin/folders', { schema: { summary, response: replies(foldersReplySchema) } }, async () => ({
    folders: await Promise.all(folders.map((each) => describe(...each))),
  }));
}

async function describe(folder: Folder, page: string) {
  const { dataDir: data_dir, parts } = folder;
  if (parts === undefined) return { data_dir, page: null, safety: null, problem: folder.problem };
  try {
    return { data_dir, page, safety: toJson(await parts.safety.status(undefined)), problem: null };
  } catch (error) {
    return { data_dir, page, safety: null, problem: toStillpointError(error).message };
  }
}
