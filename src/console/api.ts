import type * as z from 'zod';
import type {
  errandBodySchema,
  errandReplySchema,
  fleetReplySchema,
  repositoryReplySchema,
  retentionBodySchema,
  retentionReplySchema,
} from '../rpc/elsewhere.ts';
import type { foldersReplySchema } from '../rpc/folders.ts';
import type {
  jobSchema,
  jobsReplySchema,
  plansReplySchema,
  storedBackupsReplySchema,
} from '../rpc/offsite.ts';
import type {
  backupReplySchema,
  errorSchema,
  reportSchema,
  restoreReplySchema,
  snapshotListSchema,
  statusReplySchema,
} from '../rpc/replies.ts';
import type {
  pruneReplySchema,
  pruneUndoReplySchema,
  runsReplySchema,
  verifyAllReplySchema,
} from '../rpc/upkeep.ts';
import { quoted } from './text.ts';

export type Status = z.infer<typeof statusReplySchema>;
export type Snapshots = z.infer<typeof snapshotListSchema>;
export type Snapshot = Snapshots['snapshots'][number];
export type Report = z.infer<typeof reportSchema>;
export type BackupReply = z.infer<typeof backupReplySchema>;
export type RestoreReply = z.infer<typeof restoreReplySchema>;
export type RunState = BackupReply['state'];
export type Folder = z.infer<typeof foldersReplySchema>['folders'][number];
export type Plan = z.infer<typeof plansReplySchema>['plans'][number];
export type Action = Plan['schedules'][number]['action'];
export type Job = z.infer<typeof jobSchema>;
export type StoredBackup = z.infer<typeof storedBackupsReplySchema>['backups'][number];
export type Run = z.infer<typeof runsReplySchema>['runs'][number];
export type Safety = NonNullable<Status['safety']>;
export type UndoFolder = Safety['undo_folders'][number];
export type RepositoryStanding = NonNullable<Safety['repositories']>[number];
export type Pruned = z.infer<typeof pruneReplySchema>;
export type PrunedUndo = z.infer<typeof pruneUndoReplySchema>;
export type VerifiedAll = z.infer<typeof verifyAllReplySchema>;

export type Repository = z.infer<typeof repositoryReplySchema>;
export type Errand = NonNullable<z.infer<typeof errandReplySchema>['errand']>;
export type ErrandBody = z.infer<typeof errandBodySchema>;
export type Retention = z.infer<typeof retentionReplySchema>;
export type RetentionBody = z.infer<typeof retentionBodySchema>;
export type Fleet = z.infer<typeof fleetReplySchema>;

/** An answer that is an error, in the server's own words. */
export class Refused extends Error {
  readonly code: string;
  readonly hint: string;
  readonly correlationId: string;

  constructor({ error }: z.infer<typeof errorSchema>) {
    super(error.message);
    this.code = error.code;
    this.hint = error.hint;
    this.correlationId = error.correlation_id;
  }
}

/** The admin RPC. The key is kept in memory, and for reloads of this tab in its session storage; it is never part of a URL. */
export class Api {
  static readonly #PLACE = 'stillpoint-api-key';
  #key = sessionStorage.getItem(Api.#PLACE) ?? undefined;

  constructor() {
    this.#takeKeyFromAddress();
    window.addEventListener('hashchange', () => this.#takeKeyFromAddress());
  }

  /** `#key=…`, as `stillpoint console` prints it. No server gets to see it, and no history keeps it. */
  #takeKeyFromAddress(): void {
    const key = /^#key=(.+)$/.exec(location.hash)?.[1];
    if (key === undefined) return;
    history.replaceState(null, '', location.pathname);
    try {
      this.signIn(decodeURIComponent(key));
    } catch {
      this.signIn(key); // it is not encoded
    }
  }

  signIn(key: string): void {
    this.#key = key;
    sessionStorage.setItem(Api.#PLACE, key);
  }

  signOut(): void {
    this.#key = undefined;
    sessionStorage.removeItem(Api.#PLACE);
  }

  /** The data directory, where the page is not that of a server which has its database open. */
  dataDir: string | undefined;

  /** For a shell. The key is named and never shown. */
  snapshotCommand(isFull: boolean): string {
    if (this.dataDir !== undefined)
      return `stillpoint snapshot ${quoted(this.dataDir)}${isFull ? ' --full' : ''}`;
    return this.#commandFor('backup', isFull ? { reuse: false } : undefined);
  }

  restoreCommand(source: string, repository?: string): string {
    if (this.dataDir !== undefined)
      return `stillpoint restore ${quoted(source)} --data-dir ${quoted(this.dataDir)} --in-place`;
    return this.#commandFor('restore', { source, ...(repository !== undefined && { repository }) });
  }

  /** Of a console of a repository. The key is named and never shown. */
  backupCommand(action: 'restore' | 'prune', repository: Repository, store: string, rest: string): string {
    const { destination, key_flags } = repository;
    const backup = action === 'restore' ? ` ${quoted(rest)}` : '';
    const into = action === 'restore' ? ' --into ./restored' : ` ${rest}`;
    const key = key_flags.map((word) => ` ${word.startsWith('--') ? word : quoted(word)}`).join('');
    return `stillpoint backup ${action}${backup} --from ${quoted(destination)} --store ${quoted(store)}${key}${into}`;
  }

  /** Into a folder that must not exist; beside what is damaged, unless said otherwise. */
  salvageCommand(damaged: string, into = `${damaged}-salvaged`): string {
    return `stillpoint salvage ${quoted(damaged)} --into ${quoted(into)}`;
  }

  /** Into a folder beside the data directory, which must not exist. */
  restoreIntoCommand(snapshot: string, dataDir: string): string {
    return `stillpoint restore ${quoted(snapshot)} --data-dir ${quoted(dataDir)} --into ${quoted(`${dataDir}-${snapshot}`)}`;
  }

  verifyCommand(dataDir: string): string {
    return `stillpoint verify ${quoted(dataDir)}`;
  }

  giveUpUndoCommand(dataDir: string): string {
    return `stillpoint prune ${quoted(dataDir)} --undo --keep 0 --dry-run`;
  }

  planCommand(name: string, action: Action): string {
    return this.#commandFor(`plans/${encodeURIComponent(name)}/run`, { action });
  }

  #commandFor(path: string, body?: object): string {
    const url = new URL(`api/admin/${path}`, location.href);
    url.hash = '';
    const key = this.isSignedIn ? ' -H "x-api-key: $STILLPOINT_API_KEY"' : '';
    const data = body === undefined ? '' : ` -d ${quoted(JSON.stringify(body))}`;
    return `curl -X POST${key} ${quoted(String(url))}${data}`;
  }

  get isSignedIn(): boolean {
    return this.#key !== undefined;
  }

  status = (): Promise<Status> => this.#call('GET', 'status');
  snapshots = (): Promise<Snapshots> => this.#call('GET', 'backups');
  /** @param isFull It shares no file with another snapshot. */
  backUp = (isFull: boolean): Promise<BackupReply> =>
    this.#call('POST', 'backup', isFull ? { reuse: false } : undefined);
  cancel = (handle: string): Promise<BackupReply> =>
    this.#call('DELETE', `backup/${encodeURIComponent(handle)}`);
  verify = (name: string): Promise<Report> =>
    this.#call('POST', `backups/${encodeURIComponent(name)}/verify`, {});
  delete = (name: string): Promise<unknown> => this.#call('DELETE', `backups/${encodeURIComponent(name)}`);
  restore = (source: string, repository?: string): Promise<RestoreReply> =>
    this.#call('POST', 'restore', { source, ...(repository !== undefined && { repository }) });
  verifyAll = (): Promise<VerifiedAll> => this.#call('POST', 'verify', {});
  prune = (keep: number): Promise<Pruned> => this.#call('POST', 'prune', { keep, dry_run: true });
  /** @param shown The names that a dry run said would go: the server refuses where others would. */
  pruneAsShown = (keep: number, shown: readonly string[]): Promise<Pruned> =>
    this.#call('POST', 'prune', { keep, expected: shown });
  pruneUndo = (keep: number, discardWrites: boolean): Promise<PrunedUndo> =>
    this.#call('POST', 'prune/undo', { keep, discard_writes: discardWrites, dry_run: true });
  pruneUndoAsShown = (keep: number, discardWrites: boolean, shown: readonly string[]): Promise<PrunedUndo> =>
    this.#call('POST', 'prune/undo', { keep, discard_writes: discardWrites, expected: shown });
  runs = async (limit: number): Promise<readonly Run[]> =>
    (await this.#call<z.infer<typeof runsReplySchema>>('GET', `runs?limit=${limit}`)).runs;
  plans = async (): Promise<readonly Plan[]> =>
    (await this.#call<z.infer<typeof plansReplySchema>>('GET', 'plans')).plans;
  jobs = async (query: string): Promise<readonly Job[]> =>
    (await this.#call<z.infer<typeof jobsReplySchema>>('GET', `jobs?${query}`)).jobs;
  storedBackups = async (repository: string): Promise<readonly StoredBackup[]> => {
    const path = `repositories/${encodeURIComponent(repository)}/backups`;
    return (await this.#call<z.infer<typeof storedBackupsReplySchema>>('GET', path)).backups;
  };
  runPlan = (name: string, action: Action): Promise<Job> =>
    this.#call('POST', `plans/${encodeURIComponent(name)}/run`, { action });
  cancelJob = (id: string): Promise<Job> => this.#call('DELETE', `jobs/${encodeURIComponent(id)}`);
  folders = async (): Promise<readonly Folder[]> =>
    (await this.#call<z.infer<typeof foldersReplySchema>>('GET', 'folders')).folders;
  repository = (): Promise<Repository> => this.#call('GET', 'repository');
  errand = async (): Promise<Errand | null> =>
    (await this.#call<z.infer<typeof errandReplySchema>>('GET', 'errand')).errand;
  beginErrand = (body: ErrandBody): Promise<unknown> => this.#call('POST', 'errand', body);
  cancelErrand = (): Promise<unknown> => this.#call('DELETE', 'errand');
  retention = (body: RetentionBody): Promise<Retention> => this.#call('POST', 'retention', body);
  fleet = (): Promise<Fleet> => this.#call('GET', 'fleet');
  /** @param to The undo folder that was shown: another tab may have brought it back meanwhile. */
  undo = (to: string): Promise<RestoreReply> => this.#call('POST', 'restore/undo', { to });

  /** The states of a running snapshot as they come, until it has ended. */
  async *follow(handle: string, signal: AbortSignal): AsyncGenerator<RunState> {
    const response = await this.#fetch(
      'GET',
      `backup/${encodeURIComponent(handle)}/events`,
      undefined,
      signal,
    );
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const events = text.split('\n\n');
      text = events.pop()!;
      for (const event of events) {
        const data = event.split('\n').find((line) => line.startsWith('data: '));
        if (data !== undefined) yield (JSON.parse(data.slice(6)) as BackupReply).state;
      }
    }
  }

  async #call<T>(method: string, path: string, body?: object): Promise<T> {
    return (await this.#fetch(method, path, body)).json() as Promise<T>;
  }

  async #fetch(method: string, path: string, body?: object, signal?: AbortSignal): Promise<Response> {
    const response = await fetch(`api/admin/${path}`, {
      method,
      cache: 'no-store',
      credentials: 'omit',
      headers: {
        accept: 'application/json',
        ...(this.#key !== undefined && { 'x-api-key': inUtf8(this.#key) }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      ...(signal !== undefined && { signal }),
    });
    if (response.ok) return response;
    const reply = await response.json().catch(() => undefined);
    if (reply?.error !== undefined) throw new Refused(reply);
    throw new Error(`the server answered ${response.status}`);
  }
}

/** A header takes letters up to Latin-1 only: each stands for a byte. */
const inUtf8 = (text: string): string => String.fromCharCode(...new TextEncoder().encode(text));
