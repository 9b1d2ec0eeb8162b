import { randomHex } from '../env/random.ts';
import { bodyOf, type Destination, getSmall } from './destination.ts';

/** Puts one key twice with `ifAbsent`: the second put must be refused and change nothing. */
export async function keepsIfAbsent(destination: Destination): Promise<boolean> {
  const key = `probe-${randomHex(16)}`;
  const first = Buffer.from('first');
  try {
    await destination.put(key, bodyOf(first), { ifAbsent: true });
    const answer = await destination.put(key, bodyOf(Buffer.from('second')), { ifAbsent: true });
    const content = await getSmall(destination, key, 1024);
    return answer === 'exists' && content !== undefined && content.equals(first);
  } finally {
    await destination.delete([key]);
  }
}
