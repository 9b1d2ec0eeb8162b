/** `npm run test:long`: all seeds, all faults, hundreds of kills. `npm test` takes a sample of each. */
export const isLong = process.env.STILLPOINT_LONG === '1';

export const perTier = <T>(quick: T, long: T): T => (isLong ? long : quick);

/** Where random tests begin: the same each time, unless the environment says otherwise. */
export const SEED = Number(process.env.STILLPOINT_SEED ?? 1);
