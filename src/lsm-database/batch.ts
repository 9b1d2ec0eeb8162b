import type { WalOp } from '../format/lsm/wal-entry.ts';

/** Keys and values are bytes; a string stands for its UTF-8. */
export type Bytes = Uint8Array | string;

export type LsmOp =
  | { readonly type: 'put'; readonly key: Bytes; readonly value: Bytes }
  | { readonly type: 'delete'; readonly key: Bytes };

/**
 * A batch as the log holds it: keys ascending, of several operations on one key only the last. All bytes are copied, so the
 * caller may reuse its own. A `TypeError` names what is wrong.
 */
export function normalizeBatch(ops: readonly LsmOp[]): WalOp[] {
  if (!Array.isArray(ops)) throw new TypeError('ops must be an array');
  const owned = ops.map((op: LsmOp, i): WalOp => {
    const type = op?.type;
    if (type === 'put') {
      const key = Buffer.from(asBytes(`ops[${i}].key`, op.key));
      return { type, key, value: Buffer.from(asBytes(`ops[${i}].value`, op.value)) };
    }
    if (type === 'delete') return { type, key: Buffer.from(asBytes(`ops[${i}].key`, op.key)) };
    throw new TypeError(`ops[${i}].type must be 'put' or 'delete'`);
  });
  // Sorting is stable: of equal keys the last one given stands last.
  owned.sort((a, b) => Buffer.compare(a.key, b.key));
  return owned.filter((op, i) => i + 1 === owned.length || Buffer.compare(op.key, owned[i + 1]!.key) !== 0);
}

/** A view, not a copy. */
export function asBytes(name: string, value: unknown): Buffer {
  if (typeof value === 'string') return Buffer.from(value, 'utf8');
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`${name} must be a Uint8Array or a string`);
}
