import type { Writable } from 'node:stream';

/** Where lines go: a stream, or a function that is given each line without its end. */
export type LineTarget = Writable | ((line: string) => void);

/** Writes one JSON document a line. A sink that fails or has ended takes nothing down with it. */
export function lineWriter(sink: LineTarget): (record: Readonly<Record<string, unknown>>) => void {
  return (record) => {
    const line = JSON.stringify(record);
    if (typeof sink !== 'function') {
      if (sink.writable) sink.write(`${line}\n`);
      return;
    }
    try {
      sink(line);
    } catch {
      // Ignore the error: the request is answered either way.
    }
  };
}
