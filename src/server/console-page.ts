import { readPackageFile } from '../env/package-file.ts';
import { StillpointError } from '../errors.ts';
import type { App } from './route-types.ts';

/** Where the build puts the page's code: beside this file's folder; for a run from source in `dist`. */
const PLACES = ['../console/', '../../dist/console/'].map((place) => new URL(place, import.meta.url));

const FILES = {
  '/console/main.js': 'text/javascript; charset=utf-8',
  '/console/main.css': 'text/css; charset=utf-8',
} as const;

/** `server`: the database is open in it. `folder`: it is closed, or open elsewhere. `folders`: a list of those. `repository` and `fleet`: no data directory. */
export type Page = 'server' | 'folder' | 'folders' | 'repository' | 'fleet';

const pageOf = (page: Page): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stillpoint</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="console/main.css">
<script src="console/main.js" defer></script>
</head>
<body>
<div id="app" data-page="${page}"></div>
<noscript>This page needs JavaScript. The command: stillpoint status DIR</noscript>
</body>
</html>
`;

/** Scripts and styles of this server only, requests to it only, and in nobody's frame. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

/** The page for a browser. It holds nothing of the database: what it shows, it asks the admin RPC for, with the key. */
export function consolePage(app: App, page: Page): void {
  const options = { config: { load: 'light', isPublic: true }, schema: { hide: true } } as const;
  app.get('/', options, (_request, reply) =>
    reply.headers(HEADERS).type('text/html; charset=utf-8').send(pageOf(page)),
  );
  const known = new Map<string, Buffer>();
  for (const [url, type] of Object.entries(FILES)) {
    app.get(url, options, async (_request, reply) => {
      const bytes = known.get(url) ?? (await load(url));
      known.set(url, bytes);
      return reply.headers(HEADERS).type(type).send(bytes);
    });
  }
}

async function load(url: string): Promise<Buffer> {
  const name = url.slice('/console/'.length);
  const bytes = await readPackageFile(PLACES.map((place) => new URL(name, place)));
  if (bytes !== undefined) return bytes;
  throw new StillpointError('NOT_FOUND', 'the console is not built', { hint: 'Run `npm run build`.' });
}
