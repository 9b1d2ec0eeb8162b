import type { Destination } from '../../src/destination/destination.ts';

/** The verbs of a destination as an object of its own, for a test that replaces some of them. */
export const bound = (inner: Destination): Destination => ({
  url: inner.url,
  put: inner.put.bind(inner),
  get: inner.get.bind(inner),
  head: inner.head.bind(inner),
  list: inner.list.bind(inner),
  delete: inner.delete.bind(inner),
  abortStale: inner.abortStale.bind(inner),
  probe: inner.probe.bind(inner),
});
