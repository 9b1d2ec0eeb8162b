import { join } from 'node:path';
import { verifySnapshot } from '../coordinator/snapshot-by-path.ts';
import { MANIFEST } from '../engine/engine.ts';
import { isDamaged } from '../engine/report.ts';
import { listIfPresent, makeFolders, removeTree, withFile, writeFully } from '../env/io.ts';
import { type ErrorCode, StillpointError, toStillpointError } from '../errors.ts';
import type { Level } from '../options/choices.ts';
import type { Environment } from '../snapshot/environment.ts';
import { type Layout, placeOf } from '../snapshot/store/layout.ts';
import { pathProblem } from '../snapshot/store/manifest.ts';

interface Proof {
  readonly state: 'proving' | 'proven' | 'failed';
  readonly code: ErrorCode | null;
  readonly reason: string | null;
}

/**
 * `.lifecycle/incoming/<run>`: a snapshot that the controller of a fleet sends here to be restored. One at a time: the first part of
 * another removes it. Nothing is believed of it before it is proven, and a restore proves its own copy once more.
 */
export class Incoming {
  readonly #environment: Environment;
  readonly #layout: () => Promise<Layout>;
  readonly #proofs = new Map<string, Proof>();

  constructor(environment: Environment, layout: () => Promise<Layout>) {
    this.#environment = environment;
    this.#layout = layout;
  }

  async location(run: string): Promise<string> {
    return join((await this.#layout()).lifecycle, 'incoming', run);
  }

  /** How long a file is here; 0 when it is not. */
  async length(run: string, path: string): Promise<number> {
    const found = await this.#environment.fs.inspect(await this.#place(run, path));
    return found?.kind === 'file' ? found.sizeBytes : 0;
  }

  /** Writes bytes at a place of a file; with `size` the file is then so long. Resolves to its length. */
  async write(
    run: string,
    path: string,
    part: { readonly from: number; readonly bytes: Buffer; readonly size?: number | undefined },
  ): Promise<number> {
    const { fs } = this.#environment;
    const place = await this.#place(run, path);
    await this.#removeOthers(run);
    this.#proofs.delete(run);
    await makeFolders(fs, join(place, '..'));
    return withFile(fs, place, 'open-or-create', async (file) => {
      if (part.bytes.byteLength > 0) await writeFully(file, part.bytes, part.from);
      if (part.size !== undefined) await file.truncate(part.size);
      return (await file.stat()).sizeBytes;
    });
  }

  /** Begins the proof of what arrived, unless it is under way or done, and tells how far it is. */
  async prove(run: string, level: Level | undefined, signal: AbortSignal): Promise<Proof> {
    const known = this.#proofs.get(run);
    if (known !== undefined) return known;
    const location = await this.location(run);
    const manifest = await this.#environment.fs.inspect(join(location, MANIFEST));
    if (manifest?.kind !== 'file')
      throw new StillpointError('NOT_FOUND', `no snapshot of the run ${run} has arrived here`);
    const begun: Proof = { state: 'proving', code: null, reason: null };
    this.#proofs.set(run, begun);
    const end = (proof: Proof) => {
      // Bytes that came meanwhile were not looked at.
      if (this.#proofs.get(run) === begun) this.#proofs.set(run, proof);
    };
    const environment = this.#environment;
    verifySnapshot(location, { ...(level && { level }), environment, signal }).then(
      (report) => {
        const [first] = report.findings.filter(({ severity }) => severity === 'error');
        if (!isDamaged(report) && report.ok) end({ state: 'proven', code: null, reason: null });
        else end(failed('COPY_DAMAGED', `${first?.path ?? ''} ${first?.message ?? report.verdict}`.trim()));
      },
      (error) => {
        const { code, message } = toStillpointError(error);
        end(failed(code, message));
      },
    );
    return begun;
  }

  async remove(run: string): Promise<void> {
    this.#proofs.delete(run);
    await removeTree(this.#environment.fs, await this.location(run));
  }

  async #place(run: string, path: string): Promise<string> {
    const problem = path === MANIFEST ? undefined : pathProblem(path);
    if (problem === undefined) return placeOf(await this.location(run), path);
    throw new StillpointError('INVALID_REQUEST', `the path ${JSON.stringify(path.slice(0, 200))} ${problem}`);
  }

  async #removeOthers(run: string): Promise<void> {
    const { fs } = this.#environment;
    const folder = join((await this.#layout()).lifecycle, 'incoming');
    for (const { name } of await listIfPresent(fs, folder))
      if (name !== run) await removeTree(fs, join(folder, name));
  }
}

const failed = (code: ErrorCode, reason: string): Proof => ({ state: 'failed', code, reason });
