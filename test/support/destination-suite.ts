import { describe, expect, test } from 'vitest';
import { type Body, bodyOf, type Destination, getSmall } from '../../src/destination/destination.ts';

/** What every driver must do. `open` makes an empty destination for one test. */
export function destinationSuite(name: string, open: () => Promise<Destination>): void {
  const keysBelow = async (destination: Destination, prefix: string, shallow = false): Promise<string[]> => {
    const keys: string[] = [];
    for await (const { key } of destination.list(prefix, { shallow })) keys.push(key);
    return keys;
  };
  const pattern = (bytes: number): Buffer =>
    Buffer.from(Array.from({ length: bytes }, (_, i) => (i * 31) & 0xff));
  const LIMIT = 64 * 1024 * 1024;

  describe(name, () => {
    test.each([0, 1, 256 * 1024, 7 * 1024 * 1024 + 5])(
      'an object of %i bytes comes back as it was',
      async (bytes) => {
        const destination = await open();
        const content = Buffer.alloc(bytes, pattern(997));
        expect(await destination.put('a/b/object', bodyOf(content), { ifAbsent: true })).toBe('written');
        expect((await getSmall(destination, 'a/b/object', LIMIT))!.equals(content)).toBe(true);
        expect(await destination.head('a/b/object')).toMatchObject({ sizeBytes: bytes });
      },
    );

    test('a range of an object is just that, and ends with the object', async () => {
      const destination = await open();
      const content = pattern(5000);
      await destination.put('object', bodyOf(content));
      const read = async (offset: number, length: number) => {
        const parts: Uint8Array[] = [];
        for await (const part of (await destination.get('object', { range: { offset, length } }))!)
          parts.push(part);
        return Buffer.concat(parts);
      };
      expect(await read(1000, 500)).toEqual(content.subarray(1000, 1500));
      expect(await read(4990, 500)).toEqual(content.subarray(4990));
      expect(await read(0, 5000)).toEqual(content);
    });

    test('what is absent is an answer and no error', async () => {
      const destination = await open();
      expect(await destination.get('no/such')).toBeUndefined();
      expect(await destination.head('no/such')).toBeUndefined();
      expect(await keysBelow(destination, 'no/')).toEqual([]);
      await destination.delete(['no/such']);
    });

    test('with ifAbsent nothing is replaced, and without it the new content stands', async () => {
      const destination = await open();
      await destination.put('k', bodyOf(Buffer.from('one')), { ifAbsent: true });
      expect(await destination.put('k', bodyOf(Buffer.from('two')), { ifAbsent: true })).toBe('exists');
      expect(String(await getSmall(destination, 'k', 100))).toBe('one');
      expect(await destination.put('k', bodyOf(Buffer.from('three')))).toBe('written');
      expect(String(await getSmall(destination, 'k', 100))).toBe('three');
    });

    test('of many that create one object at once, one wins', async () => {
      const destination = await open();
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          destination.put('k', bodyOf(Buffer.from(`${i}`)), { ifAbsent: true }),
        ),
      );
      expect(answers.filter((answer) => answer === 'written')).toHaveLength(1);
      expect(String(await getSmall(destination, 'k', 100))).toBe(`${answers.indexOf('written')}`);
    });

    test('a body that fails leaves nothing, and its error is the one that is told', async () => {
      const destination = await open();
      const failure = new Error('the source is gone');
      const failing: Body = {
        sizeBytes: 2_000_000,
        async *open() {
          yield pattern(1_000_000);
          throw failure;
        },
      };
      await expect(destination.put('k', failing, { ifAbsent: true })).rejects.toBe(failure);
      expect(await destination.head('k')).toBeUndefined();
      expect(await keysBelow(destination, '')).toEqual([]);
    });

    test('a body of another size than it says is refused', async () => {
      const destination = await open();
      const short: Body = { sizeBytes: 10, open: () => [Buffer.from('short')] };
      await expect(destination.put('k', short)).rejects.toThrow();
      expect(await destination.head('k')).toBeUndefined();
    });

    test('a put that is cancelled leaves nothing', async () => {
      const destination = await open();
      const abort = new AbortController();
      const endless: Body = {
        sizeBytes: 1_000_000_000,
        async *open() {
          for (;;) {
            yield pattern(100_000);
            abort.abort();
          }
        },
      };
      await expect(destination.put('k', endless, { signal: abort.signal })).rejects.toMatchObject({
        code: 'CANCELLED',
      });
      expect(await destination.head('k')).toBeUndefined();
    });

    test('a listing is in the order of keys, below a prefix, and can be shallow', async () => {
      const destination = await open();
      for (const key of ['b/2', 'a', 'b/10', 'b-1/x', 'b/1/deep', 'c'])
        await destination.put(key, bodyOf(Buffer.from(key)));
      expect(await keysBelow(destination, '')).toEqual(['a', 'b-1/x', 'b/1/deep', 'b/10', 'b/2', 'c']);
      expect(await keysBelow(destination, 'b/')).toEqual(['b/1/deep', 'b/10', 'b/2']);
      expect(await keysBelow(destination, 'b/', true)).toEqual(['b/1/', 'b/10', 'b/2']);
      expect(await keysBelow(destination, '', true)).toEqual(['a', 'b-1/', 'b/', 'c']);
      for await (const { key, sizeBytes, modifiedAtMs } of destination.list('b/')) {
        expect(sizeBytes).toBe(key.length);
        expect(modifiedAtMs).toBeGreaterThan(1_600_000_000_000);
      }
    });

    test('what is deleted is absent, and the rest stays', async () => {
      const destination = await open();
      for (const key of ['x/1', 'x/2', 'x/3']) await destination.put(key, bodyOf(Buffer.from(key)));
      await destination.delete(['x/1', 'x/3', 'x/4']);
      expect(await keysBelow(destination, '')).toEqual(['x/2']);
      expect(await destination.get('x/1')).toBeUndefined();
    });

    test.each([
      '',
      '/a',
      'a/',
      'a//b',
      '../a',
      'a/../b',
      '.hidden',
      'a/.put-1',
      'a\0',
      'a b',
      'ä',
      'x'.repeat(600),
    ])('the key %j is refused', async (key) => {
      const destination = await open();
      const refused = { code: 'PATH_OUTSIDE' };
      const attempts = [
        async () => destination.put(key, bodyOf(Buffer.from('x'))),
        async () => destination.get(key),
        async () => destination.head(key),
        async () => destination.delete([key]),
      ];
      for (const attempt of attempts) await expect(attempt()).rejects.toMatchObject(refused);
    });

    test('it finds out by trying that ifAbsent is kept, and leaves nothing behind', async () => {
      const destination = await open();
      expect((await destination.probe()).ifAbsent).toBe(true);
      expect(await keysBelow(destination, '')).toEqual([]);
    });
  });
}
