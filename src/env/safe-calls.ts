import type { EventEmitter } from 'node:events';

/**
 * Emits an event. A listener that throws stops neither the work that emits nor, by an uncaught exception, the host: what it threw
 * becomes a warning of the process.
 */
export function emitSafely<T extends Record<keyof T, unknown[]>, K extends keyof T & string>(
  emitter: EventEmitter<T>,
  event: K,
  ...args: T[K]
): void {
  callSafely(() => (emitter as EventEmitter).emit(event, ...args));
}

/** Calls a function of the host; what it throws becomes a warning. */
export function callSafely(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    warn(error);
  }
}

/** Emits a warning of the process, for a failure that does not fail the work itself. */
export function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), { type: 'StillpointWarning' });
}
