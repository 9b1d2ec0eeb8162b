import * as z from 'zod';
import type { CapturePlan, Hold } from '../engine/engine.ts';
import { problemsOf } from '../env/durable-json.ts';
import { callSafely } from '../env/safe-calls.ts';
import { timeLimit } from '../env/time-limit.ts';
import { type ErrorCode, type ErrorDetail, StillpointError } from '../errors.ts';

/**
 * Calls a function of the host with a time limit. `HOOK_FAILED` when it throws, `HOOK_TIMEOUT` when it hangs; its
 * signal is aborted then, and whatever it still returns goes to `onLate`.
 *
 * @param options.limit How the host gives it more time.
 */
export async function callHook<T>(
  name: string,
  hook: (context: { signal: AbortSignal }) => T | Promise<T>,
  options: { timeoutMs: number; limit?: string; signal: AbortSignal; onLate?: (value: T) => void },
): Promise<T> {
  const { signal, end } = timeLimit(options.timeoutMs, options.signal);
  const fail = (code: ErrorCode, message: string, detail: ErrorDetail) =>
    new StillpointError(code, `the ${name} hook ${message}`, detail);
  const hint =
    options.limit === undefined ? {} : { hint: `Raise ${options.limit}, or make the hook faster.` };
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => {
      end(); // the hook itself may never end
      reject(
        options.signal.aborted
          ? new StillpointError('CANCELLED', 'cancelled on request')
          : fail('HOOK_TIMEOUT', `took longer than ${options.timeoutMs} ms`, hint),
      );
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    Promise.resolve()
      .then(() => hook({ signal }))
      .then(
        (value) => {
          if (signal.aborted) callSafely(() => options.onLate?.(value));
          resolve(value);
        },
        (cause) =>
          reject(fail('HOOK_FAILED', `failed: ${cause instanceof Error ? cause.message : cause}`, { cause })),
      )
      .finally(() => {
        signal.removeEventListener('abort', onAbort);
        end();
      });
  });
}

const position = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const bytes = z.instanceof(Uint8Array);
const itemSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('immutable'), path: z.string(), sizeBytes: position.optional() }),
  z.object({
    kind: z.literal('image'),
    path: z.string(),
    sizeBytes: position,
    extents: z.array(z.object({ offset: position, length: position })),
    patches: z.array(z.object({ offset: position, bytes })),
  }),
  z.object({ kind: z.literal('bytes'), path: z.string(), bytes }),
]);
const planSchema = z.object({
  items: z.array(itemSchema),
  checkpoint: z.object({ lsn: z.string().regex(/^\d{1,20}$/) }).optional(),
});

/** What a checkpoint hook returned, checked: a hold, or undefined. `HOOK_INVALID` says what is wrong. */
export function checkHold(value: unknown): Hold | undefined {
  if (value === undefined || value === null) return undefined;
  const hold = value as Partial<Hold>;
  if (typeof value !== 'object' || typeof hold.release !== 'function') {
    throw new StillpointError('HOOK_INVALID', 'the checkpoint hook returned neither nothing nor a hold', {
      hint: 'Return nothing, or an object with `release()` and, if you know the files, `plan`.',
    });
  }
  if (hold.plan !== undefined) {
    const parsed = planSchema.safeParse(hold.plan);
    if (!parsed.success) {
      throw new StillpointError(
        'HOOK_INVALID',
        `the checkpoint hook returned a capture plan that does not fit: ${problemsOf(parsed.error)}`,
      );
    }
  }
  return hold as Hold & { plan?: CapturePlan };
}
