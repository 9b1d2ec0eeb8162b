import type { DBOSConfig } from '@dbos-inc/dbos-sdk';
import type { Clock } from '../../env/clock.ts';
import { StillpointError } from '../../errors.ts';
import { Execution, type JournalRecord } from '../journal/operation-states.ts';
import type { BackupPlan } from '../plan/plan.ts';
import { DbosLane, errorOf, type Failure, failureOf } from './dbos-lane.ts';
import { missing, type RunLock, takeRunLock, unavailable } from './run-lock.ts';
import type { Lane, Steps } from './steps.ts';

/**
 * Steps that are recorded in PostgreSQL by DBOS: its rows are the journal. A lane is a workflow, and a step of it a step.
 *
 * One controller at a time takes the steps of a run: the one that has the run lock. All controllers of a run have the same executor id,
 * so that DBOS gives the one that comes next the workflows that the last one left. The lanes of one attempt to finish the run have ids
 * `<run>/<generation>/<lane>`; the lane `end` says that all lanes of the generation have ended. The next generation begins with the
 * state that the lanes before it add up to.
 */
export interface DbosSteps extends Steps {
  /** Rejects when steps cannot be recorded any more. Their effects may go on; nothing that follows from them does. */
  readonly lost: Promise<never>;
  /** Says that all lanes have ended, so that what failed is tried again by the next controller. */
  end(): Promise<void>;
  close(): Promise<void>;
}

const SCHEMA = 'stillpoint_fleet';
/** Of the order in which lanes take their steps: another order must not continue what this one began. */
const LANES_VERSION = 'lanes-2';
const POLL_MS = 200;
const SILENT = { info: () => {}, debug: () => {}, warn: () => {}, error: () => {} };
const NEVER = new Promise<never>(() => {});

/** The result of a lane. Its failure is a value, since a workflow that throws would lose its records. */
interface LaneResult {
  readonly records: readonly JournalRecord[];
  readonly failure: Failure | null;
}

type Sdk = typeof import('@dbos-inc/dbos-sdk');
type Workflow = (runId: string, generation: number, name: string) => Promise<LaneResult>;

/** DBOS is one for a process, and so are its workflows: they belong to the run that is open. */
let workflow: Workflow | undefined;
let open: Run | undefined;

/**
 * Waits until no other controller has the run, and opens it. `STEPS_UNAVAILABLE` when the server or a package is not there,
 * `CONFLICT` when this process has another run open with such steps.
 */
export async function openDbosSteps(
  { url, plan, clock }: { readonly url: string; readonly plan: BackupPlan; readonly clock: Clock },
  signal: AbortSignal,
): Promise<DbosSteps> {
  const sdk = await loadSdk();
  if (open !== undefined)
    throw new StillpointError('CONFLICT', 'this process has another run with steps in PostgreSQL under way');
  const lock = await takeRunLock(url, plan.run_id, signal);
  const run = new Run(sdk, lock, plan, clock);
  open = run;
  try {
    await run.launch(url);
    return run;
  } catch (error) {
    await run.close();
    throw unavailable(error);
  }
}

async function loadSdk(): Promise<Sdk> {
  try {
    return await import('@dbos-inc/dbos-sdk');
  } catch (cause) {
    throw missing('@dbos-inc/dbos-sdk', cause);
  }
}

class Run implements DbosSteps {
  readonly execution: Execution;
  readonly lost: Promise<never>;
  readonly #sdk: Sdk;
  readonly #lock: RunLock;
  readonly #plan: BackupPlan;
  readonly #clock: Clock;
  readonly #works = new Map<string, Deferred<(lane: Lane) => Promise<void>>>();
  readonly #begunHere = new Set<string>();
  readonly #lose: (error: unknown) => void;
  #generation = 1;
  #isLost = false;

  constructor(sdk: Sdk, lock: RunLock, plan: BackupPlan, clock: Clock) {
    this.#sdk = sdk;
    this.#lock = lock;
    this.#plan = plan;
    this.#clock = clock;
    this.execution = new Execution(plan);
    const broken = new Deferred<never>();
    this.#lose = (error) => broken.reject(unavailable(error));
    this.lost = Promise.race([lock.lost, broken.promise]);
    this.lost.catch(() => {
      this.#isLost = true;
    });
  }

  async launch(url: string): Promise<void> {
    const { DBOS } = this.#sdk;
    workflow ??= DBOS.registerWorkflow(
      (runId: string, generation: number, name: string) => runLane(runId, generation, name),
      // A run may lose its controller as often as it likes.
      { name: 'lane', maxRecoveryAttempts: 1_000_000 },
    );
    const config: DBOSConfig = {
      name: 'stillpoint-fleet',
      systemDatabaseUrl: url,
      systemDatabaseSchemaName: SCHEMA,
      applicationVersion: LANES_VERSION,
      executorID: this.#plan.run_id,
      // It would be set by a query that pg warns of, on stderr. Whoever is paused keeps the run lock as well.
      systemDatabaseIdleTransactionTimeoutMs: 0,
      logger: SILENT,
    };
    DBOS.setConfig(config);
    const { plan_id, run_id, plan_sha256, operations } = this.#plan;
    this.#apply({
      type: 'opened',
      plan_id,
      run_id,
      plan_sha256,
      operations: operations.length,
      at_ms: this.#clock.nowMs(),
    });
    await DBOS.launch();
    await this.#replay();
  }

  async lane(name: string, work: (lane: Lane) => Promise<void>): Promise<void> {
    this.#work(name).resolve(work);
    const params = { workflowID: this.#idOf(this.#generation, name) };
    const result = async () => {
      const handle = await this.#sdk.DBOS.startWorkflow(workflow!, params)(
        this.#plan.run_id,
        this.#generation,
        name,
      );
      return handle.getResult({ pollingIntervalMs: POLL_MS });
    };
    const ended = await Promise.race([result().catch(this.#never), this.lost]);
    if (ended === null) return this.#never(`the lane ${name} has no result`);
    if (!this.#begunHere.has(name)) for (const record of ended.records) this.#apply(record);
    if (ended.failure !== null) throw errorOf(ended.failure);
  }

  end(): Promise<void> {
    return this.lane('end', async () => {});
  }

  get runId(): string {
    return this.#plan.run_id;
  }

  async close(): Promise<void> {
    open = undefined;
    await this.#sdk.DBOS.shutdown().catch(() => undefined);
    await this.#lock.release().catch(() => undefined);
  }

  /** The workflow of a lane, begun here or left by another controller. */
  async runLane(generation: number, name: string): Promise<LaneResult> {
    if (generation !== this.#generation) return NEVER;
    const work = await this.#work(name).promise;
    this.#begunHere.add(name);
    const lane = new DbosLane(this.execution, this.#clock, this.#runStep);
    try {
      await work(lane);
      return { records: lane.records, failure: null };
    } catch (error) {
      return { records: lane.records, failure: failureOf(error) };
    }
  }

  /** A step begins only while this process has the run, and counts only if it still has it at its end. */
  readonly #runStep = async <T>(name: string, effect: () => Promise<T>): Promise<T> => {
    const held = async () => {
      if (this.#isLost) return NEVER;
      const result = await effect();
      return this.#isLost ? NEVER : result;
    };
    return this.#sdk.DBOS.runStep(held, { name }).catch(this.#never);
  };

  /** What all generations that have ended add up to. */
  async #replay(): Promise<void> {
    const prefix = `${this.#plan.run_id}/`;
    const found = await this.#sdk.DBOS.listWorkflows({ workflow_id_prefix: prefix, loadInput: false });
    const lanes = found.map(({ workflowID, output, applicationVersion }) => {
      const [generation = '', ...name] = workflowID.slice(prefix.length).split('/');
      return {
        generation: Number(generation),
        name: name.join('/'),
        result: output as LaneResult | undefined,
        version: applicationVersion,
      };
    });
    const newest = Math.max(1, ...lanes.map(({ generation }) => generation));
    const hasEnded = lanes.some(({ generation, name }) => generation === newest && name === 'end');
    // Its workflows would be waited for, and nobody would run them.
    if (!hasEnded && lanes.some((lane) => lane.generation === newest && lane.version !== LANES_VERSION)) {
      throw new StillpointError('CONFLICT', 'another version of stillpoint has begun this run', {
        hint: 'Finish it with that version, or begin a new backup in another folder.',
      });
    }
    this.#generation = hasEnded ? newest + 1 : newest;
    const before = lanes.filter(({ generation }) => generation < this.#generation);
    before.sort((a, b) => a.generation - b.generation || rankOf(a.name) - rankOf(b.name));
    for (const { result } of before) for (const record of result?.records ?? []) this.#apply(record);
  }

  #apply(record: JournalRecord): void {
    this.execution.check(record);
    this.execution.apply(record);
  }

  #idOf(generation: number, name: string): string {
    return `${this.#plan.run_id}/${generation}/${name}`;
  }

  #work(name: string): Deferred<(lane: Lane) => Promise<void>> {
    const known = this.#works.get(name) ?? new Deferred();
    this.#works.set(name, known);
    return known;
  }

  /** After a failure of the driver itself nothing follows: the run ends as it would if its process died here. */
  readonly #never = (error: unknown): Promise<never> => {
    this.#lose(error);
    return NEVER;
  };
}

/** Lanes of a generation in an order in which their records follow from each other. */
const RANKS = ['preflight', 'unit-', 'copy-', 'finalize', 'end'];
const rankOf = (name: string): number => RANKS.findIndex((prefix) => name.startsWith(prefix));

async function runLane(runId: string, generation: number, name: string): Promise<LaneResult> {
  // Another run's, or of one that is closed meanwhile.
  if (open?.runId !== runId) return NEVER;
  return open.runLane(generation, name);
}

class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}
