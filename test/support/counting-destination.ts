import type { Destination } from '../../src/destination/destination.ts';

export interface Counted {
  readonly destination: Destination;
  /** Calls since the last `reset`, by verb. */
  readonly calls: Record<string, number>;
  /** Bytes of all puts since then. */
  putBytes: number;
  reset(): void;
}

/** Counts what is asked of a destination. */
export function counting(inner: Destination): Counted {
  const calls: Record<string, number> = {};
  const destination = new Proxy(inner, {
    get(target, verb: string) {
      const method = target[verb as keyof Destination] as unknown;
      if (typeof method !== 'function') return method;
      return (...args: unknown[]) => {
        calls[verb] = (calls[verb] ?? 0) + 1;
        if (verb === 'put') counted.putBytes += (args[1] as { sizeBytes: number }).sizeBytes;
        return Reflect.apply(method, target, args);
      };
    },
  });
  const counted: Counted = {
    destination,
    calls,
    putBytes: 0,
    reset() {
      for (const verb of Object.keys(calls)) delete calls[verb];
      counted.putBytes = 0;
    },
  };
  return counted;
}
