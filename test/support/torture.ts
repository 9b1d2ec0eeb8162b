import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { Snapshots } from '../../src/index.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { seeded } from './seeded.ts';

export interface TortureOptions {
  /** A folder for the data directory and for clones of it. */
  readonly root: string;
  /** How the command `stillpoint` is run: `[node, …, main]`. */
  readonly command: readonly string[];
  readonly kills: number;
  readonly seed: number;
  /** A server lives at most so long, in milliseconds. */
  readonly longestMs: number;
  readonly writers?: number;
  readonly onKill?: (summary: TortureSummary) => void;
}

export interface TortureSummary {
  kills: number;
  acknowledged: number;
  snapshots: number;
  restores: number;
  /** Runs that a kill cut off and that read as interrupted afterwards. */
  interrupted: number;
  /** Restores that were found in place after a kill, completed or rolled forward. */
  rolled: number;
}

/**
 * A database server under writes, snapshots and in-place restores, killed by SIGKILL at random moments. After each start
 * every acknowledged write is in the database, or in an undo folder if a restore replaced it; `latest` passes its proof;
 * nothing partial is left; no run reads as running. Throws at the first broken promise, with the seed.
 */
export async function torture(options: TortureOptions): Promise<TortureSummary> {
  const round = new Torture(options);
  try {
    return await round.run();
  } catch (error) {
    throw new Error(`after ${round.summary.kills} kills with seed ${options.seed}: ${error}`, {
      cause: error,
    });
  }
}

class Torture {
  readonly summary: TortureSummary = {
    kills: 0,
    acknowledged: 0,
    snapshots: 0,
    restores: 0,
    interrupted: 0,
    rolled: 0,
  };
  readonly #options: TortureOptions;
  readonly #dir: string;
  readonly #random: () => number;
  /** What the database must hold: acknowledged and, as far as is known, not replaced by a restore. */
  #expected = new Map<string, string>();
  readonly #issued = new Set<string>();
  readonly #undosSeen = new Set<string>();
  #runs: string[] = [];
  #count = 0;

  constructor(options: TortureOptions) {
    this.#options = options;
    this.#dir = join(options.root, 'data');
    this.#random = seeded(options.seed);
  }

  async run(): Promise<TortureSummary> {
    while (this.summary.kills < this.#options.kills) {
      const server = await this.#start();
      await this.#check(server.url);
      const work = [
        this.#operate(server),
        ...Array.from({ length: this.#options.writers ?? 4 }, () => this.#write(server)),
      ];
      // Now within the first moments of a run, now long enough for whole snapshots and restores.
      await setTimeout(this.#random() * (this.#random() < 0.4 ? 600 : this.#options.longestMs));
      server.child.kill('SIGKILL');
      server.isDead = true;
      await Promise.all(work);
      if (server.child.exitCode === null && server.child.signalCode === null)
        await once(server.child, 'exit');
      this.summary.kills++;
      this.#options.onKill?.(this.summary);
    }
    const last = await this.#start();
    await this.#check(last.url);
    last.child.kill('SIGTERM');
    await once(last.child, 'exit');
    return this.summary;
  }

  async #start(): Promise<Server> {
    const [program, ...args] = this.#options.command;
    const child = spawn(program!, [...args, 'serve', this.#dir, '--port', '0', '--json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (chunk) => {
      errors = `${errors}${chunk}`.slice(-4_000);
    });
    let output = '';
    for await (const chunk of child.stdout) {
      output += chunk;
      try {
        return { child, url: (JSON.parse(output) as { url: string }).url, isDead: false };
      } catch {
        // not whole yet
      }
    }
    throw new Error(`the server did not start: ${output} ${errors}`);
  }

  async #write(server: Server): Promise<void> {
    while (!server.isDead) {
      const key = `k${this.#count++}`;
      const value = `${key} `.repeat(40);
      this.#issued.add(key);
      const reply = await fetch(`${server.url}/kv/${key}`, { method: 'PUT', body: value }).catch(
        () => undefined,
      );
      // During a restore writes are refused; only what was acknowledged is a promise.
      if (reply?.ok) {
        this.#expected.set(key, value);
        this.summary.acknowledged++;
      }
      if (reply !== undefined) await reply.arrayBuffer().catch(() => undefined);
    }
  }

  /** Snapshots, and now and then a restore of the latest, one after another. */
  async #operate(server: Server): Promise<void> {
    await setTimeout(this.#random() * 200);
    while (!server.isDead) {
      const isRestore = this.summary.snapshots > 0 && this.#random() < 0.4;
      const kind = isRestore ? 'restore' : 'backup';
      const body = isRestore ? {} : { keep: 3, mode: this.#random() < 0.5 ? 'copy' : 'link' };
      const started = await request<{ handle: string }>(`${server.url}/api/admin/${kind}`, body);
      if (started === undefined) continue;
      this.#runs.push(`${kind}/${started.handle}`);
      for (let isOver = false; !isOver && !server.isDead; ) {
        const run = await request<{ state: { status: string; reason: string } }>(
          `${server.url}/api/admin/${kind}/${started.handle}`,
        );
        const status = run?.state.status ?? 'running';
        if (status === 'failed') throw new Error(`a ${kind} failed: ${run?.state.reason}`);
        isOver = status !== 'running';
        if (isOver) isRestore ? this.summary.restores++ : this.summary.snapshots++;
        else await setTimeout(5);
      }
    }
  }

  async #check(url: string): Promise<void> {
    await this.#checkWrites(url);
    for (const run of this.#runs) {
      const found = await request<{ state: { status: string; code: string | null } }>(
        `${url}/api/admin/${run}`,
      );
      const { status, code } = found?.state ?? { status: 'unknown', code: null };
      if (status === 'failed' && code === 'INTERRUPTED') this.summary.interrupted++;
      else if (status !== 'completed') throw new Error(`${run} reads as ${status} (${code}) after a restart`);
    }
    this.#runs = [];
    const backup = join(this.#dir, '.lifecycle/backup');
    if (!existsSync(backup)) return;
    const partial = readdirSync(backup).filter((name) => name.startsWith('.'));
    const staged = join(this.#dir, '.lifecycle/restore');
    if (existsSync(staged)) partial.push(...readdirSync(staged));
    if (partial.length > 0) throw new Error(`left over after a restart: ${partial}`);
    if ((await new Snapshots({ dataDir: this.#dir }).list()).latest === null) return;
    const report = await new Snapshots({ dataDir: this.#dir }).verify('latest');
    if (!report.ok) throw new Error(`latest does not pass its proof: ${JSON.stringify(report.findings)}`);
  }

  async #checkWrites(url: string): Promise<void> {
    const present = new Map<string, string>();
    for (let next: string | null = '/kv?limit=1000'; next !== null; ) {
      const page: Page = (await request<Page>(url + next))!;
      for (const { key, value } of page.entries) present.set(key, value);
      next = page.next;
    }
    for (const key of present.keys()) if (!this.#issued.has(key)) throw new Error(`${key} was never written`);
    const replaced = await this.#newlyReplaced();
    if (replaced !== undefined) this.summary.rolled++;
    for (const [key, value] of this.#expected) {
      if (present.get(key) === value) continue;
      if (replaced === undefined)
        throw new Error(`${key} was acknowledged and is gone (${this.#expected.size} expected)`);
      if (replaced.get(key) !== value)
        throw new Error(`${key} is neither in the database nor in an undo folder`);
      this.#expected.delete(key);
    }
  }

  /** What stands in undo folders that were not there at the last check; undefined when there is none. */
  async #newlyReplaced(): Promise<Map<string, string> | undefined> {
    const undo = join(this.#dir, '.lifecycle/restore-backup');
    const names = existsSync(undo) ? readdirSync(undo).filter((name) => !this.#undosSeen.has(name)) : [];
    if (names.length === 0) return undefined;
    const replaced = new Map<string, string>();
    for (const name of names) {
      this.#undosSeen.add(name);
      const clone = join(this.#options.root, 'undo-clone');
      rmSync(clone, { recursive: true, force: true });
      cpSync(join(undo, name), clone, { recursive: true });
      const database = await openLsm(clone);
      for await (const [key, value] of database.iterate()) replaced.set(key.toString(), value.toString());
      await database.close();
    }
    return replaced;
  }
}

interface Page {
  readonly entries: readonly { key: string; value: string }[];
  readonly next: string | null;
}

interface Server {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly url: string;
  isDead: boolean;
}

/** Undefined when the server is gone or refuses. */
async function request<T>(url: string, body?: object): Promise<T | undefined> {
  const init = body && {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  };
  const reply = await fetch(url, init).catch(() => undefined);
  const text = await reply?.text().catch(() => undefined);
  return reply?.ok && text !== undefined ? (JSON.parse(text) as T) : undefined;
}
