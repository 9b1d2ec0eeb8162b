import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import { readJson } from '../env/durable-json.ts';
import type { FileSystem } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import { type RepositorySettings, repositoryIn, repositorySchema } from '../schedule/settings.ts';
import { idSchema } from './plan/schemas.ts';
import { IDENTITY_MODES } from './plan/topology.ts';

const LIMIT_BYTES = 64 * 1024 * 1024;
const MAX_NODES = 100_000;

const nodeSchema = z.strictObject({
  id: idSchema,
  url: z.url({ protocol: /^https?$/ }),
  role: z.string().min(1).max(120).default('node'),
  parent: idSchema.nullable().default(null),
  identity: z.enum(IDENTITY_MODES).default('relocatable'),
  key: z
    .string()
    .regex(/^(env|file):.+$/, 'must be `env:NAME` or `file:PATH`: a key never stands in the fleet file')
    .optional(),
  ca: z.string().min(1).optional(),
});

const fleetRepositorySchema = repositorySchema
  .omit({ compress: true })
  .extend({ name: z.string().min(1).max(64) });

const fleetFileSchema = z.strictObject({
  fleet: z.string().min(1).max(120),
  nodes: z.array(nodeSchema).min(1).max(MAX_NODES),
  units: z.array(z.strictObject({ id: idSchema, nodes: z.array(idSchema).min(1) })).optional(),
  repository: fleetRepositorySchema.optional(),
});

export type FleetNode = z.infer<typeof nodeSchema>;
export interface FleetFile {
  readonly fleet: string;
  readonly nodes: readonly FleetNode[];
  /** Undefined: all nodes are one unit. */
  readonly units: readonly { readonly id: string; readonly nodes: readonly string[] }[] | undefined;
  /** Where nodes push their snapshots; `name` is that in their own settings files. */
  readonly repository?: RepositorySettings | undefined;
  /** Relative paths in the file are relative to this folder. */
  readonly folder: string;
}

/** Reads and checks a fleet file. `NOT_FOUND`, or `INVALID_REQUEST` that says what is wrong and where. */
export async function readFleetFile(fs: FileSystem, path: string): Promise<FleetFile> {
  const refuse = (why: string, cause?: unknown) =>
    new StillpointError('INVALID_REQUEST', `${path}: ${why}`, {
      path,
      cause,
      hint: 'Correct the fleet file; `src/fleet/README.md` describes its fields.',
    });
  const real = await fs.realPath(path).catch((cause) => {
    throw new StillpointError('NOT_FOUND', `there is no fleet file ${path}`, { path, cause });
  });
  const read = await readJson(fs, real, { schema: fleetFileSchema, limitBytes: LIMIT_BYTES, refuse });
  if (read === undefined) throw refuse('is gone');
  const { fleet, nodes, units } = read;
  const folder = dirname(resolve(real));
  const known = new Set<string>();
  for (const node of nodes) {
    if (known.has(node.id)) throw refuse(`the node ${node.id} stands there twice`);
    known.add(node.id);
  }
  for (const { id, parent } of nodes)
    if (parent !== null && !known.has(parent))
      throw refuse(`the parent of ${id} is ${parent}, which is no node`);
  for (const unit of units ?? [])
    for (const node of unit.nodes)
      if (!known.has(node)) throw refuse(`the unit ${unit.id} has ${node}, which is no node`);
  const here = (path: string): string => resolve(folder, path);
  const repository = read.repository && repositoryOfFile(read.repository, here);
  return { fleet, nodes, units, repository, folder };
}

const repositoryOfFile = (
  { name, ...place }: z.infer<typeof fleetRepositorySchema>,
  here: (path: string) => string,
): RepositorySettings => repositoryIn(name, { compress: true, ...place }, here);
