import type { Destination } from '../../src/destination/destination.ts';
import { bound } from './bound-destination.ts';

/** All but the beginning of a sweep looks four days older, so that it lists and deletes at once. */
export function aged(inner: Destination): Destination {
  const older = <T extends { readonly modifiedAtMs: number }>(key: string, info: T): T =>
    key.endsWith('/began') ? info : { ...info, modifiedAtMs: info.modifiedAtMs - 4 * 24 * 60 * 60 * 1000 };
  return {
    ...bound(inner),
    async head(key) {
      const info = await inner.head(key);
      return info && older(key, info);
    },
    async *list(prefix, options) {
      for await (const object of inner.list(prefix, options)) yield older(object.key, object);
    },
  };
}
