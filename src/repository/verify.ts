import type { Finding, Step } from '../engine/report.ts';
import { mapConcurrent } from '../env/concurrency.ts';
import type { RunControl } from '../env/run-control.ts';
import { type BackupManifest, objectsOf, type StoredFiles } from './backup-manifest.ts';
import { type ObjectDamage, readObjects, type SegmentSink } from './read-objects.ts';
import type { StoreBackups } from './store-backups.ts';

/**
 * - `manifest`: the manifest can be trusted, and every object that it names is there, with its size.
 * - `data`: and every object was read and holds what was uploaded.
 * - `full`: and all of it was restored into a scratch folder, where the engine's proof passed.
 */
export const BACKUP_LEVELS = ['manifest', 'data', 'full'] as const;
export type BackupLevel = (typeof BACKUP_LEVELS)[number];

export interface BackupCheck {
  readonly findings: readonly Finding[];
  /** What is wrong with which object. */
  readonly damaged: ReadonlyMap<string, string>;
  readonly steps: readonly Step[];
}

/** What a manifest says of the objects that it names. */
type Checked = StoredFiles & Pick<BackupManifest, 'isSealed'>;

const QUESTIONS_AT_ONCE = 16;

/** What is wrong with the objects of a backup. Damage is a finding; rejects only when the destination could not be asked. */
export async function checkObjects(
  store: StoreBackups,
  manifest: Checked,
  level: 'manifest' | 'data',
  control: RunControl,
): Promise<BackupCheck> {
  const { clock } = store.environment;
  const findings: Finding[] = [];
  const damaged = new Map<string, string>();
  const steps: Step[] = [];
  const step = async (name: string, work: () => Promise<void>) => {
    const began = clock.monotonicMs();
    await work();
    steps.push({ name, durationMs: Math.round(clock.monotonicMs() - began) });
  };
  const damage = (code: string, { key, files, message }: ObjectDamage) => {
    damaged.set(key, message);
    for (const { path } of files) {
      findings.push({
        path,
        offset: null,
        code,
        severity: 'error',
        message: `${key} ${message}`,
        verdict: 'copy-damaged',
      });
    }
  };
  const filesOf = (key: string) => manifest.files.filter(({ stored }) => stored?.key === key);
  await step('objects', async () => {
    await mapConcurrent([...objectsOf(manifest)], QUESTIONS_AT_ONCE, async ([key, bytes]) => {
      control.checkCancelled();
      const info = await store.destination.head(key);
      if (info === undefined) damage('OBJECT_MISSING', { key, files: filesOf(key), message: 'is missing' });
      else if (info.sizeBytes !== bytes) {
        const message = `has ${info.sizeBytes} bytes, and not ${bytes}`;
        damage('OBJECT_SIZE', { key, files: filesOf(key), message });
      }
    });
  });
  if (level === 'manifest') return { findings, damaged, steps };
  const known = new Set(findings.map(({ path }) => path));
  await step('data', async () => {
    const abort = new AbortController();
    const forget = control.onCancel(() => abort.abort());
    const sink: SegmentSink = {
      write: async () => {},
      done: async () => {},
      close: async () => {},
    };
    const healthy = manifest.files.filter(({ path }) => !known.has(path));
    await readObjects(store, {
      manifest: { ...manifest, files: healthy },
      signal: abort.signal,
      open: async () => sink,
      onBytes: (count) => {
        control.checkCancelled();
        control.addBytes(count);
      },
      onDamage: (found) => damage('OBJECT_DAMAGED', found),
    }).finally(forget);
  });
  return { findings, damaged, steps };
}
