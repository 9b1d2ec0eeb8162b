import * as z from 'zod/mini';
import { isSecretName } from '../env/secrets.ts';
import { OptionSet, type OptionsOf, optional, required, withDefault } from '../options/option.ts';
import {
  abortSignal,
  callback,
  folder,
  oneOf,
  path,
  text,
  trueOrFalse,
  wholeNumber,
} from '../options/values.ts';
import { LONGEST_LEASE_MS } from '../rpc/node.ts';
import type { Environment } from '../snapshot/environment.ts';
import { POLICIES } from './plan/plan.ts';
import type { RestoreProgress } from './restore/restore-run.ts';
import type { NodeProgress } from './run/node-progress.ts';
import { LIFECYCLE_MODES, SCOPES } from './run/snapshot-driver.ts';

/** Options of what is done with a fleet file. */

const ids = () => z.readonly(z.array(text('an array of ids'), { error: 'must be an array of ids' }));
const environment = () => ({
  environment: optional(anEnvironment(), { description: 'The outside world, for tests.' }),
});
const anEnvironment = () =>
  z.custom<Environment>((value) => typeof value === 'object' && value !== null, 'must be an environment');
const signal = () => optional(abortSignal(), { description: 'Cancels the work.' });

const secretName = (what: string) =>
  z
    .string(`must be \`env:NAME\` or \`file:/path\` with ${what}`)
    .check(z.refine(isSecretName, 'must be `env:NAME` or `file:/path`: a secret is named, not given'));

const LONGEST_NAME = 120;
const fleetName = () => {
  const be = `a name of at most ${LONGEST_NAME} characters`;
  return text(be).check(z.maxLength(LONGEST_NAME, { error: `must be ${be}` }));
};

/** How nodes are talked to. */
const connection = () => ({
  leaseMs: withDefault(wholeNumber(1000, LONGEST_LEASE_MS), () => 60 * 1000, {
    description: 'How long a node refuses writes without hearing from this process again.',
    unit: 'milliseconds',
    without: 'one minute',
    flag: { name: 'lease' },
  }),
});

const keepSnapshots = () =>
  withDefault(trueOrFalse(), () => false, {
    description:
      'Leaves the snapshots on the nodes. Otherwise each is removed there, unless it is the newest.',
    flag: { description: 'leave the snapshots on the nodes' },
  });

const selection = () => ({
  nodes: optional(ids(), {
    description: 'Only these nodes.',
    flag: { name: 'node', value: 'id', description: 'only this node; repeatable (default: all)' },
  }),
  subtree: optional(text(), { description: 'Only this node and those below it.', flag: { value: 'id' } }),
  role: optional(text(), { description: 'Only the nodes of this role.' }),
  partialUnits: withDefault(trueOrFalse(), () => false, {
    description: 'Allows a selection that takes only a part of a unit.',
    flag: { name: 'partial' },
  }),
  policy: withDefault(oneOf(POLICIES), () => 'quiesced', {
    description:
      '`quiesced` keeps writes away from all nodes of a unit while their snapshots are captured. With `crash-consistent` nothing is quiesced, and each snapshot is consistent by itself.',
    flag: {
      description: 'quiesced: one cut through all nodes of a unit; crash-consistent: each node by itself',
    },
  }),
});

const push = () => ({
  push: withDefault(trueOrFalse(), () => false, {
    description:
      'Has each node upload its snapshot into the `repository` of the fleet file, instead of downloading it.',
    flag: { description: 'have each node upload its snapshot into the repository of the fleet file' },
  }),
});

const layoutDir = () =>
  required(folder(), {
    description: 'The folder that holds the plan, the journal and the copies.',
    flag: { name: 'out', value: 'dir' },
  });

export const checkFleetOptions = new OptionSet(() => ({ signal: signal(), ...environment() }));

export const planFleetOptions = new OptionSet(() => ({
  layoutDir: layoutDir(),
  ...selection(),
  ...push(),
  dryRun: withDefault(trueOrFalse(), () => false, {
    description: 'Tells what would be done, and writes nothing.',
  }),
  signal: signal(),
  ...environment(),
}));

export const runFleetOptions = new OptionSet(() => ({
  layoutDir: layoutDir(),
  ...selection(),
  ...push(),
  ...connection(),
  concurrency: withDefault(wholeNumber(1, 1000), () => 4, {
    description: 'Downloads at once, over all nodes.',
    without: '4',
  }),
  keepSnapshots: keepSnapshots(),
  maxSteps: optional(wholeNumber(0), {
    description:
      'Stops after so many operations. They are then executed one after the other, in the order of the plan.',
    flag: { description: 'stop after so many operations, executed one after the other' },
  }),
  steps: optional(secretName('the address of a PostgreSQL database'), {
    description:
      'Records the steps in PostgreSQL, through DBOS, so that several controllers can have the same run: `env:NAME` or `file:/path` that holds `postgres://user:password@host/database`.',
    without: 'in the journal of the layout folder',
    flag: { value: 'name' },
  }),
  onProgress: optional(callback<(progress: NodeProgress) => void>(), {
    description: 'Called at each step of a node, and as bytes move.',
  }),
  signal: signal(),
  ...environment(),
}));

/** Of a snapshot download, whoever does the work. */
const download = () => ({
  layoutDir: layoutDir(),
  targetId: required(text(), {
    description: 'The node whose snapshot is downloaded.',
    flag: { name: 'node', value: 'id' },
  }),
  scope: withDefault(oneOf(SCOPES), () => 'target', {
    description:
      'Which nodes: the target alone, with its `children`, or `recursive` with all nodes below it.',
  }),
  dryRun: withDefault(trueOrFalse(), () => false, {
    description: 'Tells what would be done, and writes nothing.',
  }),
  onProgress: optional(callback<(progress: NodeProgress) => void>(), {
    description: 'Called at each step of a node, and as bytes move.',
  }),
  signal: signal(),
  ...environment(),
});

export const downloadSnapshotsOptions = new OptionSet(() => ({
  ...download(),
  lifecycle: withDefault(oneOf(LIFECYCLE_MODES), () => 'stop-and-resume', {
    description:
      '`stop-and-resume` starts each target after its snapshot was downloaded. `stop-before-snapshot` leaves that to the caller, unless something fails.',
  }),
  fleet: withDefault(fleetName(), () => 'fleet', { description: 'The name of the fleet, for the manifest.' }),
}));

export const downloadFleetOptions = new OptionSet(() => ({
  ...download(),
  ...connection(),
  keepSnapshots: keepSnapshots(),
}));

export const abortFleetOptions = new OptionSet(() => ({
  layoutDir: layoutDir(),
  signal: signal(),
  ...environment(),
}));

/** Of a restore and of its undo. */
const restoring = () => ({
  ...connection(),
  fleetFile: required(path(), {
    description: 'The JSON file that names the nodes.',
    flag: { name: 'fleet', value: 'file' },
  }),
  concurrency: withDefault(wholeNumber(1, 1000), () => 8, { description: 'Nodes at once.', without: '8' }),
  patienceMs: withDefault(wholeNumber(0), () => 30 * 1000, {
    description: 'How long a node that does not answer is asked again.',
    unit: 'milliseconds',
    without: '30 seconds',
    flag: { name: 'patience' },
  }),
  onProgress: optional(callback<(progress: RestoreProgress) => void>(), {
    description: 'Called at each step of a node, and as bytes move.',
  }),
  signal: signal(),
  ...environment(),
});

export const restoreFleetOptions = new OptionSet(() => ({
  ...restoring(),
  mapping: optional(z.readonly(z.record(text(), text())), {
    description: 'The node that each member of the backup is restored into.',
    without: 'the node with the id of the member',
  }),
  dryRun: withDefault(trueOrFalse(), () => false, {
    description: 'Tells what would be done, and changes nothing.',
  }),
}));

export const undoFleetOptions = new OptionSet(() => ({
  ...restoring(),
  discardWrites: withDefault(trueOrFalse(), () => false, {
    description: 'Gives up what was written since the restore.',
    flag: { description: 'give up what was written since the restore' },
  }),
  without: optional(ids(), {
    description: 'Nodes that are gone for good. They are left as they are.',
    flag: { value: 'id', description: 'leave out this node, which is gone for good; repeatable' },
  }),
}));

export const fleetFilePath = path;

export type CheckFleetOptions = OptionsOf<typeof checkFleetOptions>;
export type PlanFleetOptions = OptionsOf<typeof planFleetOptions>;
export type RunFleetOptions = OptionsOf<typeof runFleetOptions>;
export type AbortFleetOptions = OptionsOf<typeof abortFleetOptions>;
export type RestoreFleetOptions = OptionsOf<typeof restoreFleetOptions>;
export type UndoFleetOptions = OptionsOf<typeof undoFleetOptions>;
export type DownloadSnapshotsOptions = OptionsOf<typeof downloadSnapshotsOptions>;
export type DownloadFleetOptions = OptionsOf<typeof downloadFleetOptions>;
