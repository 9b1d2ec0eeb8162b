/** AssemblyScript. Where the byte behind the last varint stands; 0 if that one could not be read. */
let next: u32 = 0;

/** One of at most 28 bits at [at, end): longer ones are rare, and left to a closer look. See `afterVarint`. */
export function varint(at: u32, end: u32): u32 {
  return <u32>varintOf(at, end, 28);
}

/** One of at most 49 bits: no file is larger. */
export function varint64(at: u32, end: u32): u64 {
  return varintOf(at, end, 49);
}

function varintOf(at: u32, end: u32, bits: u64): u64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < bits && at !== 0 && at < end; shift += 7) {
    const byte: u64 = load<u8>(at++);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      next = at;
      return value;
    }
  }
  next = 0;
  return 0;
}

export function afterVarint(): u32 {
  return next;
}
