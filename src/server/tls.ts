import { createSecureContext } from 'node:tls';
import type { FileSystem } from '../env/file-system.ts';
import { readNamedFile } from '../env/named-file.ts';
import { StillpointError } from '../errors.ts';
import { OptionSet, type OptionsOf, required } from '../options/option.ts';
import { path } from '../options/values.ts';

/** Files in PEM. */
export const tlsOptions = new OptionSet(() => ({
  keyFile: required(path(), {
    description: 'PEM file of the private key: serves HTTPS.',
    flag: { name: 'tls-key', value: 'file' },
  }),
  certFile: required(path(), {
    description: 'PEM file of its certificate, followed by those that lead to a known authority.',
    flag: { name: 'tls-cert', value: 'file' },
  }),
}));
export type TlsFiles = OptionsOf<typeof tlsOptions>;

/** What is in them, as `https.createServer` takes it. */
export type ReadTls = Awaited<ReturnType<typeof readTls>>;

const LIMIT_BYTES = 1024 * 1024;

/** For `https.createServer`. `NOT_FOUND` for a missing file, `INVALID_REQUEST` for files that are no pair; no content is told. */
export async function readTls(fs: FileSystem, { keyFile, certFile }: TlsFiles) {
  const key = await readNamedFile(fs, 'TLS key', keyFile, LIMIT_BYTES);
  const cert = await readNamedFile(fs, 'TLS certificate', certFile, LIMIT_BYTES);
  const tls = { key, cert, minVersion: 'TLSv1.2' as const };
  try {
    createSecureContext(tls);
  } catch (cause) {
    const message = `${keyFile} and ${certFile} are no key and certificate that belong together`;
    throw new StillpointError('INVALID_REQUEST', message, {
      path: certFile,
      cause,
      hint: 'Name a private key without a password and its certificate, both in PEM.',
    });
  }
  return tls;
}
