import type { EventEmitter } from 'node:events';

/**
 * Emits an event such that a listener that throws harms nobody else: neither the work that reports nor, by an uncaught
 * exception, the host. What it threw becomes a warning of the process.
 */
export function tell<T extends Record<keyof T, unknown[]>, K extends keyof T & string>(
  emitter: EventEmitter<T>,
  event: K,
  ...args: T[K]
): void {
  callSafely(() => (emitter as EventEmitter).emit(event, ...args));
}

/** Calls something of the host's whose failure is its own affair. */
export function callSafely(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    warn(error);
  }
}

/** Tells the operator of what went wrong beside work that itself went well. */
export function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error), { type: 'StillpointWarning' });
}
