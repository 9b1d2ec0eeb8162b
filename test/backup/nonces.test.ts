import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { addRepositoryKeys, rotateRepositoryKeys } from '../../src/backup/repository-keys.ts';
import { type Body, bodyOf, type Destination } from '../../src/destination/destination.ts';
import { openDestination } from '../../src/destination/open.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { plainDirectory, writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

/** What each pair of key and nonce has sealed, as hashes. The real cipher works; this only watches. */
const sealed = vi.hoisted(() => new Map<string, Set<string>>());

vi.mock('node:crypto', async (original) => {
  const crypto = await original<typeof import('node:crypto')>();
  return {
    ...crypto,
    createCipheriv(...args: Parameters<typeof crypto.createCipheriv>) {
      const cipher = crypto.createCipheriv(...args) as import('node:crypto').CipherGCM;
      if (args[0] !== 'aes-256-gcm') return cipher;
      const pair = Buffer.concat([args[1] as Buffer, args[2] as Buffer]).toString('hex');
      const content = crypto.createHash('sha256');
      const { update, final, setAAD } = cipher;
      Object.assign(cipher, {
        setAAD(bytes: Buffer) {
          content.update(bytes);
          return Reflect.apply(setAAD, cipher, [bytes]);
        },
        update(bytes: Buffer) {
          content.update(bytes);
          return Reflect.apply(update, cipher, [bytes]);
        },
        final() {
          sealed.set(pair, (sealed.get(pair) ?? new Set()).add(content.digest('hex')));
          return Reflect.apply(final, cipher, []);
        },
      });
      return cipher;
    },
  };
});

/** Sends each body three times, as after lost answers: a part of it, all of it, all of it. The bytes must be the same. */
function resending(inner: Destination): Destination {
  return new Proxy(inner, {
    get(target, verb: string) {
      const method = target[verb as keyof Destination] as unknown;
      if (typeof method !== 'function') return method;
      if (verb !== 'put') return method.bind(target);
      return async (key: string, body: Body, options: object) => {
        for await (const _ of body.open()) break;
        const parts: Uint8Array[] = [];
        for await (const chunk of body.open()) parts.push(Buffer.from(chunk));
        const hashed = async () => {
          const hash = createHash('sha256');
          for await (const chunk of body.open()) hash.update(chunk);
          return hash.digest('hex');
        };
        const first = createHash('sha256').update(Buffer.concat(parts)).digest('hex');
        expect(await hashed()).toBe(first);
        await inner.put(`sent/${key}`, bodyOf(Buffer.concat(parts)), { ifAbsent: true });
        return inner.put(key, body, options);
      };
    },
  });
}

test('no key and nonce ever seal two contents: retries, sealing anew, compression, rotation, damage', async () => {
  const folder = await temporaryFolder();
  const encryption = { keyFile: join(folder, 'key') };
  const root = join(folder, 'repository');
  await initRepository(root, { encryption });
  const dataDir = await plainDirectory({
    large: Buffer.concat([randomBytes(2_500_000), Buffer.alloc(3_000_000, 'shrinks')]),
    other: Buffer.alloc(600_000, 'other'),
    small: 'small',
  });
  const run = async (compress = true) =>
    backUp(dataDir, {
      compress,
      to: resending(await openDestination(root)),
      encryption,
      coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
    });
  const { uploadedBytes: compressed } = await run();
  // The same contents are sealed anew, compressed or not: their objects are gone.
  for (const compress of [true, false]) {
    rmSync(join(root, 'stores'), { recursive: true });
    rmSync(join(dataDir, '.lifecycle', 'lineage.json'));
    const { uploadedBytes } = await run(compress);
    if (compress) expect(uploadedBytes).toBe(compressed);
    else expect(uploadedBytes).toBeGreaterThan(compressed + 2_000_000);
  }
  const store = join(root, 'stores', readdirSync(join(root, 'stores'))[0]!);
  for (const shard of readdirSync(join(store, 'objects'))) {
    for (const object of readdirSync(join(store, 'objects', shard)))
      writeFileSync(join(store, 'objects', shard, object), 'short'); // found when it is confirmed, and sent anew
  }
  expect((await run()).filesUploadedAgain).toBe(2);
  await rotateRepositoryKeys(root, { encryption });
  const passphrase = join(folder, 'passphrase');
  writeFileSync(passphrase, 'correct horse');
  await addRepositoryKeys(root, { passphrase: `file:${passphrase}` }, { encryption });
  writeTree(dataDir, { later: Buffer.alloc(700_000, 'later') });
  await run();
  expect(sealed.size).toBeGreaterThan(20);
  for (const [pair, contents] of sealed) expect(contents.size, pair).toBe(1);
});
