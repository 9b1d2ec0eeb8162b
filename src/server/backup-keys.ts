import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { Semaphore } from '../env/concurrency.ts';
import { readJson, writeJson } from '../env/durable-json.ts';
import { makeFolders } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';

const documentSchema = z.strictObject({
  version: z.literal(1),
  keys: z.array(
    z.strictObject({
      key: z.string(),
      /** SHA-256 of the request. */
      digest: z.string(),
      at_ms: z.int().min(0),
      /** Of the run; null before it is known. */
      id: z.string().nullable(),
    }),
  ),
  /** Hashes of keys that were dropped: they must not begin a second run. */
  forgotten: z.array(z.string()),
});
type Document = z.infer<typeof documentSchema>;

const LIMIT_BYTES = 64 * 1024 * 1024;
/** How long a key gives back its run. */
const KEPT_MS = 30 * 24 * 60 * 60 * 1000;
const MOST_KEPT = 10_000;
const MOST_FORGOTTEN = 200_000;

/**
 * `.lifecycle/backup-keys.json`: which run each idempotency key began. The key is on disk before the run begins, so that a
 * request whose answer was lost never begins a second one. Pushes have `push-keys.json`: a repository that does not answer is to keep
 * no snapshot waiting.
 */
export class BackupKeys {
  readonly #environment: Environment;
  readonly #fileName: string;
  readonly #oneAtATime = new Semaphore(1);

  constructor(environment: Environment, fileName: 'backup-keys.json' | 'push-keys.json') {
    this.#environment = environment;
    this.#fileName = fileName;
  }

  /**
   * The run of a key; `begin` begins it the first time. `KEY_REUSED` when the key stands for another request. `KEY_FORGOTTEN` when
   * it was used and its run is not known any more, also since the server ended in the middle of beginning it. A `begin` that is
   * refused leaves the key unused.
   */
  async run(layout: Layout, key: string, request: unknown, begin: () => Promise<string>): Promise<string> {
    return this.#oneAtATime.run(async () => {
      const nowMs = this.#environment.clock.nowMs();
      const document = dropOld(await this.#read(layout), nowMs);
      const digest = createHash('sha256').update(JSON.stringify(request)).digest('hex');
      const known = document.keys.find((entry) => entry.key === key);
      if (known !== undefined && known.digest !== digest)
        throw new StillpointError('KEY_REUSED', 'this key was sent with another request');
      if (known !== undefined && known.id !== null) return known.id;
      if (known !== undefined || document.forgotten.includes(hashOf(key)))
        throw new StillpointError('KEY_FORGOTTEN', 'this key was used, and its run is not known any more');
      const entry = { key, digest, at_ms: nowMs };
      const withRun = (id: string | null): Document => ({
        ...document,
        keys: [...document.keys, { ...entry, id }],
      });
      await this.#write(layout, withRun(null));
      let id: string;
      try {
        id = await begin();
      } catch (error) {
        await this.#write(layout, document);
        throw error;
      }
      await this.#write(layout, withRun(id));
      return id;
    });
  }

  async #read(layout: Layout): Promise<Document> {
    const path = this.#fileOf(layout);
    const refuse = (why: string, cause?: unknown) =>
      new StillpointError('STORE_INVALID', `${path}: ${why}`, {
        path,
        cause,
        hint: 'It says which backups were begun. Remove it once no backup of a fleet is under way.',
      });
    const found = await readJson(this.#environment.fs, path, {
      schema: documentSchema,
      limitBytes: LIMIT_BYTES,
      refuse,
    });
    return found ?? { version: 1, keys: [], forgotten: [] };
  }

  async #write(layout: Layout, document: Document): Promise<void> {
    await makeFolders(this.#environment.fs, layout.lifecycle);
    await writeJson(this.#environment.fs, this.#fileOf(layout), document, 'lines');
  }

  #fileOf({ lifecycle }: Layout): string {
    return join(lifecycle, this.#fileName);
  }
}

const hashOf = (key: string): string => createHash('sha256').update(key).digest('base64').slice(0, 24);

function dropOld(document: Document, nowMs: number): Document {
  const first = Math.max(0, document.keys.length - MOST_KEPT);
  const isOld = ({ at_ms }: Document['keys'][number], i: number) => i < first || at_ms < nowMs - KEPT_MS;
  const old = document.keys.filter(isOld);
  if (old.length === 0) return document;
  const forgotten = [...document.forgotten, ...old.map(({ key }) => hashOf(key))].slice(-MOST_FORGOTTEN);
  return { ...document, keys: document.keys.filter((entry, i) => !isOld(entry, i)), forgotten };
}
