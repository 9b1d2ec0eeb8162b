// What the time of change of a file can prove. File systems stamp files from a clock with ticks, of milliseconds or of whole
// seconds: two writes within one tick leave the same time. Git's index has the same problem ("racy git") and the same answer.

const SECOND_NS = 1_000_000_000n;
/** The coarsest tick of a file system that is in use: FAT's. */
const COARSEST_TICK_NS = 2n * SECOND_NS;

/** Whether the file system counts parts of a second. A file whose time hits a whole second by chance is read once more. */
export const hasPartsOfSecond = (mtimeNs: bigint): boolean => mtimeNs % SECOND_NS !== 0n;

/**
 * Whether any later change of the file, or any later file, has another time. False for a time that is younger than two seconds, that
 * is later than the reading (the clock went back), or that has no parts of a second.
 *
 * @param readNs When the file was read, or earlier, by the clock of its file system.
 */
export const isTimeWitness = (mtimeNs: bigint, readNs: bigint): boolean =>
  hasPartsOfSecond(mtimeNs) && mtimeNs <= readNs - COARSEST_TICK_NS;
