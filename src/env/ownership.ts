import { lchownSync, lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { StillpointError, systemCode } from '../errors.ts';
import type { OpenHow } from './file-system.ts';
import { warn } from './safe-calls.ts';

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * What root makes belongs to the owner of the folder that it is made in: the service of another user could not open its own
 * database after root restored it. Undefined when the owner is right as it is.
 *
 * @param name As the kernel is given it.
 */
export function ownerFor(name: string): Owner | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const { uid, gid } = statSync(dirname(name));
  return uid === 0 ? undefined : { uid, gid };
}

/** The same for a file that is about to be opened; undefined when it is there already. */
export function ownerOfNew(name: string, how: OpenHow): Owner | undefined {
  if (how === 'read' || how === 'update') return undefined;
  const owner = ownerFor(name);
  const isNew = how === 'create' || lstatSync(name, { throwIfNoEntry: false }) === undefined;
  return isNew ? owner : undefined;
}

/** Where a file system has owners of its own, or a user namespace does not know them, root stays the owner. */
export function ignoreOwnerRefused(error: unknown): void {
  if (!['EPERM', 'EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes(systemCode(error) ?? '')) throw error;
}

/**
 * A warning where this process is root and other code than ours is about to make files in a folder of another user. They are not given away
 * afterwards: that user could have put a link to any file of root in their place.
 */
export function warnOfRoot(dir: string): void {
  const stat = statSync(dir, { throwIfNoEntry: false });
  if (process.geteuid?.() !== 0 || stat === undefined || stat.uid === 0) return;
  const message = `${dir} belongs to uid ${stat.uid}, and this process is root: files that the engine makes belong to root, and their owner may not open the database afterwards`;
  const hint = `Run the server as the owner of the folder: \`setpriv --reuid=${stat.uid} --regid=${stat.gid} --clear-groups …\``;
  warn(new StillpointError('ACCESS_DENIED', `${message}. ${hint}`, { path: dir, hint }));
}

/** Gives away what other code than ours made as root. */
export function giveToOwner(name: string): void {
  const owner = ownerFor(name);
  if (owner === undefined) return;
  try {
    lchownSync(name, owner.uid, owner.gid);
  } catch (error) {
    ignoreOwnerRefused(error);
  }
}
