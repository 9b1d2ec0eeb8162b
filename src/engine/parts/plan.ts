import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { warn } from '../../env/safe-calls.ts';
import { StillpointError } from '../../errors.ts';
import type { CaptureItem, CapturePlan, PartOfFolder, PlanContext } from '../engine.ts';
import { type FileStates, firstChange, imagesOf, statesOf } from '../files/file-states.ts';
import { listPlainFiles } from '../files/index.ts';
import { engineOfPart, outerPath, Parts } from './find-parts.ts';

/** The databases of a folder, and the files around them. */
interface Look {
  readonly parts: readonly PartOfFolder[];
  readonly plain: FileStates;
}

async function lookAt(fs: FileSystem, dir: string): Promise<Look> {
  const files = await listPlainFiles(fs, dir);
  const parts = new Parts(files);
  const plain = files.filter((path) => parts.of(path) === undefined);
  return { parts: parts.list, plain: await statesOf(fs, dir, plain) };
}

/**
 * Looks at the plain files, then plans one database after the other in the order of their folders' names, each by its own engine. At the end the
 * plain files must still be what they were before the first database was planned. So they belong to the moment of each database; and a
 * database that comes later has all that was written before the moment of an earlier one.
 */
export async function planParts(context: PlanContext): Promise<CapturePlan> {
  const { fs, dir } = context;
  const before = await lookAt(fs, dir);
  if (before.parts.length === 0) {
    throw new StillpointError('ENGINE_MISMATCH', `${dir} holds no database of an engine known here`, {
      path: dir,
      hint: 'Check the path. Plain files, while nobody writes to them, are captured with `--engine files` (`engine: "files"`).',
    });
  }
  const plans: { readonly part: PartOfFolder; readonly plan: CapturePlan }[] = [];
  const dispose = async () => {
    for (const { plan } of plans) await plan.dispose?.();
  };
  try {
    let count = before.plain.size;
    for (const part of before.parts) {
      const plan = await engineOfPart(part).plan(contextOf(context, part, count));
      plans.push({ part, plan });
      count += plan.items.length;
      context.expectFiles(count);
    }
  } catch (error) {
    await dispose().catch(warn); // the first failure is the one to report
    throw error;
  }
  const only = plans.length === 1 ? plans[0]!.plan.checkpoint : undefined;
  return {
    items: [
      ...plans.flatMap(({ part, plan }) => plan.items.map((item) => outerItem(part, item))),
      ...imagesOf(before.plain),
    ],
    ...(only && { checkpoint: only }),
    async confirm() {
      for (const { part, plan } of plans) {
        const reason = await plan.confirm?.();
        if (reason !== undefined) return `${part.dir}: ${reason}`;
      }
      const now = await lookAt(fs, dir);
      return changedParts(before.parts, now.parts) ?? firstChange(before.plain, now.plain);
    },
    dispose,
  };
}

/** The folder of one part, for its engine. */
const contextOf = (context: PlanContext, part: PartOfFolder, planned: number): PlanContext => ({
  ...context,
  dir: join(context.dir, part.dir),
  confirmPin: (path) => context.confirmPin(outerPath(part, path)),
  expectFiles: (count) => context.expectFiles(planned + count),
  async pin(inner) {
    const path = outerPath(part, inner);
    if (!(await context.pin(path))) return false;
    // It may be a pin of an earlier round, and the database another one since.
    return (await context.confirmPin(path)) || context.pin(path);
  },
});

const outerItem = (part: PartOfFolder, item: CaptureItem): CaptureItem => ({
  ...item,
  path: outerPath(part, item.path),
});

function changedParts(before: readonly PartOfFolder[], now: readonly PartOfFolder[]): string | undefined {
  const differs = (one: PartOfFolder, others: readonly PartOfFolder[]) =>
    !others.some(({ dir, engine }) => dir === one.dir && engine === one.engine);
  const gone = before.find((part) => differs(part, now));
  if (gone !== undefined) return `the database in ${gone.dir} vanished`;
  const added = now.find((part) => differs(part, before));
  return added && `a database appeared in ${added.dir}`;
}
