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
  try {
    (emitter as EventEmitter).emit(event, ...args);
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error), {
      type: 'StillpointListenerWarning',
    });
  }
}
