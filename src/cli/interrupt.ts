const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type Interruption = (typeof SIGNALS)[number];

/**
 * Runs `work` with a signal that is aborted, its reason the name, by the first of the process's signals. From then on they
 * have their usual effect again, so that a second one kills.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  onInterrupt: (name: Interruption) => void,
): Promise<T> {
  const controller = new AbortController();
  const listener = (name: Interruption) => {
    stop();
    onInterrupt(name);
    controller.abort(name);
  };
  const stop = () => {
    for (const name of SIGNALS) process.off(name, listener);
  };
  for (const name of SIGNALS) process.on(name, listener);
  try {
    return await work(controller.signal);
  } finally {
    stop();
  }
}
