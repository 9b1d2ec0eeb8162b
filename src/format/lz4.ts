/**
 * Decodes one raw LZ4 block (no frame) that must fill `target` exactly; returns what is wrong with it, else undefined.
 *
 * A block is a row of sequences: a token (high half: literals, low half: match length - 4; 15 goes on in bytes of up to 255),
 * the literals, `u16` distance back, little-endian. The last sequence ends after its literals.
 * Format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
 */
export function decodeLz4Block(source: Uint8Array, target: Uint8Array): string | undefined {
  let from = 0;
  let to = 0;
  while (from < source.byteLength) {
    const token = source[from++]!;
    const literals = readLength(source, from, token >> 4);
    if (literals === undefined) return 'the block ends inside a length';
    from = literals.next;
    if (literals.value > source.byteLength - from) return 'the block ends inside literals';
    if (literals.value > target.byteLength - to) return 'the block holds more than it declares';
    target.set(source.subarray(from, from + literals.value), to);
    from += literals.value;
    to += literals.value;
    if (from === source.byteLength) {
      return to === target.byteLength ? undefined : 'the block holds less than it declares';
    }
    if (source.byteLength - from < 2) return 'the block ends inside a distance';
    const distance = source[from]! | (source[from + 1]! << 8);
    const match = readLength(source, from + 2, token & 15);
    if (match === undefined) return 'the block ends inside a length';
    from = match.next;
    const length = match.value + 4;
    if (distance === 0 || distance > to) return 'a match points before the block';
    if (length > target.byteLength - to) return 'the block holds more than it declares';
    copyMatch(target, to, distance, length);
    to += length;
  }
  return 'the block does not end with literals';
}

function readLength(
  source: Uint8Array,
  offset: number,
  nibble: number,
): { readonly value: number; readonly next: number } | undefined {
  let value = nibble;
  let at = offset;
  if (nibble === 15) {
    let byte: number | undefined;
    do {
      byte = source[at++];
      if (byte === undefined) return undefined;
      value += byte;
    } while (byte === 255);
  }
  return { value, next: at };
}

/** Source and target may overlap: with a distance shorter than the length, the bytes just written are repeated. */
function copyMatch(target: Uint8Array, to: number, distance: number, length: number): void {
  if (distance >= length) target.copyWithin(to, to - distance, to - distance + length);
  else for (let i = to; i < to + length; i++) target[i] = target[i - distance]!;
}
