import { relative, sep } from 'node:path';
import type { CapturePlan, ImmutableItem } from '../../engine/engine.ts';
import { Parts } from '../../engine/parts/find-parts.ts';
import { mapConcurrent, orGivenUp } from '../../env/concurrency.ts';
import { warn } from '../../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { requireRoomFor } from '../store/manifest.ts';
import { checkPlan } from './check-plan.ts';
import type { Pins } from './pins.ts';
import type { CaptureRequest } from './request.ts';
import type { Transfer } from './transfer.ts';

/** How often a directory is planned from outside until its files agree with each other. */
const ROUNDS = 8;
/** Each is two short calls, and most of their time is the way to Node's I/O threads and back. */
const PINS_AT_ONCE = 16;

export interface ConfirmedState {
  readonly checkpoint: CapturePlan['checkpoint'];
  /** All of them are pinned. */
  readonly immutables: readonly ImmutableItem[];
}

/**
 * Plans, pins the immutable files and copies the others, until a plan is confirmed. A plan from a hold has one round.
 * `SOURCE_CHANGING` when no round was confirmed; its data has the reasons.
 */
export async function captureChanging(
  env: Environment,
  request: CaptureRequest,
  pins: Pins,
  transfer: Transfer,
): Promise<ConfirmedState> {
  const { dir, control } = request;
  const rounds = request.plan === undefined ? ROUNDS : 1;
  const reasons: string[] = [];
  for (let round = 0; round < rounds; round++) {
    control.checkCancelled();
    let plan = request.plan;
    try {
      plan ??= await planFromOutside(env, request, pins);
      requireRoomFor(plan.items.length, dir);
      checkPlan(plan);
      const immutables = plan.items.filter((item) => item.kind === 'immutable');
      const stale =
        (await pinAll(pins, immutables, request)) ??
        (await transfer.copyChanging(plan)) ??
        (await transfer.compareSources(plan)) ??
        (await plan.confirm?.());
      if (stale === undefined) return { checkpoint: plan.checkpoint, immutables };
      reasons.push(stale);
      await transfer.discard(plan);
    } catch (error) {
      const path = vanished(error, request);
      if (path === undefined) throw error;
      reasons.push(`${path} vanished`);
      if (plan !== undefined) await transfer.discard(plan);
    } finally {
      await plan?.dispose?.();
    }
  }
  const why = [...new Set(reasons)].join('; ');
  throw new StillpointError('SOURCE_CHANGING', `${dir} kept changing in ${rounds} rounds: ${why}`, {
    path: dir,
    data: { reasons },
    ...((await isOfDatabases(env, request)) && { hint: PARTS }),
  });
}

const PARTS =
  'There are databases in this folder. With `--engine parts` (`engine: "parts"`) each is captured by its own engine, also while it is written to; only the files around them must be still.';

const isOfDatabases = async ({ fs }: Environment, { engine, dir }: CaptureRequest): Promise<boolean> =>
  engine.name === 'files' && new Parts(await engine.listFiles(fs, dir).catch(() => [])).list.length > 0;

/**
 * The file of which an error says that it is gone, in a folder with files of which the engine knows nothing, and which may come and go.
 * Relative to the data directory.
 */
function vanished(error: unknown, { engine, plan, dir }: CaptureRequest): string | undefined {
  const { code, path = '' } = toStillpointError(error);
  const isBelow = code === 'NOT_FOUND' && path.startsWith(`${dir}${sep}`);
  const hasPlainFiles = !engine.hasImmutableFiles || engine.forFiles !== undefined;
  return plan === undefined && hasPlainFiles && isBelow ? relative(dir, path) : undefined;
}

const planFromOutside = (
  { fs }: Environment,
  { engine, dir, control }: CaptureRequest,
  pins: Pins,
): Promise<CapturePlan> => {
  const ifGoingOn = <T>(work: () => T): T => {
    control.checkCancelled(); // a plan that was given up may still be at work
    return work();
  };
  const planning = engine.plan({
    fs,
    dir,
    pin: async (path) => ifGoingOn(() => pins.pin(path)),
    confirmPin: async (path) => ifGoingOn(() => pins.confirm(path)),
    expectFiles: (count) => requireRoomFor(count, dir),
    checkCancelled: () => control.checkCancelled(),
  });
  return orGivenUp(planning, control.signal, (late) => late.dispose?.().catch(warn));
};

/** Resolves to the reason when files of the plan are gone already. */
async function pinAll(
  pins: Pins,
  items: readonly ImmutableItem[],
  { control }: CaptureRequest,
): Promise<string | undefined> {
  const arePinned = await mapConcurrent(items, PINS_AT_ONCE, async ({ path }) => {
    control.checkCancelled();
    return pins.pin(path);
  });
  const gone = items.filter((_, index) => !arePinned[index]).map(({ path }) => path);
  return gone.length === 0 ? undefined : `gone: ${gone.slice(0, 10).join(', ')}`;
}
