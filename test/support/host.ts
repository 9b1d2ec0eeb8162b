import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import type { StartBackupOptions } from '../../src/index.ts';
import { compiled } from './build.ts';
import { type EngineUnderTest, WRITERS } from './host-database.ts';

/** When a process is to end itself: as a phase begins, so long after it or after the start, or at the N-th change on disk. */
export interface Death {
  readonly phase?: string;
  readonly afterMs?: number;
  readonly operation?: number;
  /** At that change: when it is done, not before. */
  readonly isAfter?: boolean;
}

export type Flow = 'snapshot' | 'restore' | 'undo' | 'into' | 'verify' | 'prune' | 'delete' | 'compact';

export interface Command {
  readonly do: Flow | 'attach' | 'open' | 'write' | 'read' | 'close' | 'recover';
  readonly dir?: string;
  readonly engine?: EngineUnderTest;
  readonly options?: StartBackupOptions;
  readonly source?: string;
  readonly target?: string;
  readonly keep?: number;
  readonly delayMs?: number;
  readonly death?: Death;
  /** The process stops as this phase begins. */
  readonly stopAt?: string;
}

export interface Reply {
  /** What the command resolved to. */
  // biome-ignore lint/suspicious/noExplicitAny: each command has its own
  readonly value?: any;
  /** Of the error that it rejected with. */
  readonly code?: string;
  readonly message?: string;
  /** Changes of names on disk that it made. */
  readonly operations: number;
}

/** The other side of `host-process.ts`. What it promised is known here up to the moment of its death. */
export class Host {
  /** The last acknowledged commit of each writer since the last opening. */
  acknowledged: number[] = Array.from({ length: WRITERS }, () => 0);
  /** What each opening found, and what had been acknowledged before it, the oldest first. */
  readonly openings: { readonly found: readonly number[]; readonly before: readonly number[] }[] = [];
  /** Codes of writes that were refused. */
  readonly refused: string[] = [];
  /** The last phase that was entered. */
  phase = 'start';
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #replies = new Map<number, (reply: Reply | undefined) => void>();
  readonly #ended: Promise<void>;
  #onPhase: (phase: string) => void = () => {};
  #count = 0;
  #errors = '';

  /** @param wrapper Put before the command line, such as `['prlimit', '--nofile=40']`. */
  constructor(wrapper: readonly string[] = []) {
    const [program, ...args] = [...wrapper, process.execPath, compiled('test/support/host-process.ts')];
    this.#child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdin.on('error', () => undefined); // it is dead: everybody who asked is told so below
    this.#child.stderr.on('data', (chunk) => {
      this.#errors = `${this.#errors}${chunk}`.slice(-4_000);
    });
    const lines = createInterface(this.#child.stdout);
    lines.on('line', (line) => this.#take(line));
    this.#ended = Promise.all([once(lines, 'close'), once(this.#child, 'close')]).then(() => {
      for (const resolve of this.#replies.values()) resolve(undefined);
      this.#replies.clear();
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Whether it ended by SIGKILL, and not by a fault of its own. */
  get wasKilled(): boolean {
    return this.#child.signalCode === 'SIGKILL';
  }

  /** What it wrote to stderr, the end of it. */
  get errors(): string {
    return this.#errors;
  }

  get isDead(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Resolves to undefined when the process died over it. */
  ask(command: Command): Promise<Reply | undefined> {
    if (this.isDead) return Promise.resolve(undefined);
    const id = ++this.#count;
    return new Promise((resolve) => {
      this.#replies.set(id, resolve);
      this.#child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    });
  }

  /** The same, for what must succeed. */
  // biome-ignore lint/suspicious/noExplicitAny: each command has its own
  async do(command: Command): Promise<any> {
    const reply = await this.ask(command);
    if (reply === undefined) throw new Error(`the host died over ${command.do}: ${this.#errors}`);
    if (reply.code !== undefined) throw new Error(`${command.do}: ${reply.code}: ${reply.message}`);
    return reply.value;
  }

  /** Opens a database, and has it written to. */
  async start(engine: EngineUnderTest, dir: string): Promise<void> {
    await this.do({ do: 'attach', dir, engine });
    await this.do({ do: 'open' });
    await this.do({ do: 'write' });
  }

  /** Asks, does `meanwhile` with the process stopped as the phase begins, and lets it go on. */
  async askWith(command: Command & { stopAt: string }, meanwhile: () => void): Promise<Reply | undefined> {
    const reached = new Promise<void>((resolve) => {
      this.#onPhase = (phase) => phase === command.stopAt && resolve();
    });
    const reply = this.ask(command);
    await Promise.race([reached, reply]);
    // It tells of the phase first and stops then: to let it go on before it has stopped would stop it for ever.
    while (!this.isDead && !/\) T /.test(readFileSync(`/proc/${this.pid}/stat`, 'utf8'))) await setTimeout(2);
    try {
      meanwhile();
    } finally {
      this.#child.kill('SIGCONT');
    }
    return reply;
  }

  kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    return this.#ended;
  }

  /** Resolves when it is dead and all that it said is known. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  #take(line: string): void {
    let said: Partial<Reply> & Record<string, never>;
    try {
      said = JSON.parse(line);
    } catch {
      return; // death cut it off
    }
    const { ack, opened, phase, refused, reply } = said as {
      ack?: [number, number];
      opened?: number[];
      phase?: string;
      refused?: string;
      reply?: number;
    };
    if (ack !== undefined) this.acknowledged[ack[0]] = ack[1];
    if (phase !== undefined) {
      this.phase = phase;
      this.#onPhase(phase);
    }
    if (refused !== undefined) this.refused.push(refused);
    if (opened !== undefined) {
      this.openings.push({ found: opened, before: this.acknowledged });
      this.acknowledged = [...opened];
    }
    if (reply !== undefined) {
      this.#replies.get(reply)?.(said as unknown as Reply);
      this.#replies.delete(reply);
    }
  }
}
