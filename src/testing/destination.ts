import assert from 'node:assert/strict';
import {
  type Body,
  bodyOf,
  type Destination,
  getSmall,
  type ListOptions,
} from '../destination/destination.ts';

export interface DestinationTestOptions {
  /** Makes one test: `test` of `node:test`, of Vitest, or any other function with these two arguments. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
  /** Makes an empty destination for one test. */
  readonly createDestination: () => Promise<Destination>;
  /** Names the driver in the names of the tests. */
  readonly name: string;
}

const LIMIT_BYTES = 64 * 1024 * 1024;
const SIZES = [0, 1, 256 * 1024, 7 * 1024 * 1024 + 5];
const BAD_KEYS = [
  '',
  '/a',
  'a/',
  'a//b',
  '../a',
  'a/../b',
  '.hidden',
  'a/.x',
  'a\0',
  'a b',
  'ä',
  'x'.repeat(600),
];

const text = (content: string): Body => bodyOf(Buffer.from(content));
const pattern = (bytes: number): Buffer =>
  Buffer.alloc(bytes, Buffer.from(Array.from({ length: 251 }, (_, i) => i)));

/**
 * The contract of `Destination` as tests, for whoever writes a driver. Independent of a test runner.
 *
 * @example
 * import { test } from 'node:test';
 * import { testDestination } from 'stillpoint/testing';
 *
 * testDestination({ test, name: 'my driver', createDestination: async () => new MyDestination(await emptyPlace()) });
 */
export function testDestination(options: DestinationTestOptions): void {
  const run: Run = (name, check) =>
    options.test(`destination ${options.name}: ${name}`, async () =>
      check(await options.createDestination()),
    );
  testReading(run);
  testWriting(run);
  testListing(run);
}

type Run = (name: string, check: (destination: Destination) => Promise<void>) => unknown;

function testReading(test: Run): void {
  for (const bytes of SIZES) {
    test(`an object of ${bytes} bytes comes back as it was`, async (destination) => {
      const content = pattern(bytes);
      assert.equal(await destination.put('a/b/object', bodyOf(content), { ifAbsent: true }), 'written');
      assert.ok((await getSmall(destination, 'a/b/object', LIMIT_BYTES))?.equals(content));
      assert.equal((await destination.head('a/b/object'))?.sizeBytes, bytes);
    });
  }

  test('a range of an object is just that, and ends with the object', async (destination) => {
    const content = pattern(5000);
    await destination.put('object', bodyOf(content));
    const read = async (offset: number, length: number): Promise<Buffer> => {
      const parts: Uint8Array[] = [];
      const chunks = await destination.get('object', { range: { offset, length } });
      for await (const part of chunks!) parts.push(part);
      return Buffer.concat(parts);
    };
    assert.deepEqual(await read(1000, 500), content.subarray(1000, 1500));
    assert.deepEqual(await read(4990, 500), content.subarray(4990));
    assert.deepEqual(await read(0, 5000), content);
  });

  test('what is absent is an answer and no error', async (destination) => {
    assert.equal(await destination.get('no/such'), undefined);
    assert.equal(await destination.head('no/such'), undefined);
    assert.deepEqual(await keysOf(destination, 'no/'), []);
    await destination.delete(['no/such']);
  });

  for (const key of BAD_KEYS) {
    test(`the key ${JSON.stringify(key.slice(0, 20))} is refused`, async (destination) => {
      const refused = { code: 'PATH_OUTSIDE' };
      await assert.rejects(async () => destination.put(key, text('x')), refused);
      await assert.rejects(async () => destination.get(key), refused);
      await assert.rejects(async () => destination.head(key), refused);
      await assert.rejects(async () => destination.delete([key]), refused);
    });
  }
}

function testWriting(test: Run): void {
  test('with ifAbsent nothing is replaced, and without it the new content stands', async (destination) => {
    await destination.put('k', text('one'), { ifAbsent: true });
    assert.equal(await destination.put('k', text('two'), { ifAbsent: true }), 'exists');
    assert.equal(String(await getSmall(destination, 'k', 100)), 'one');
    assert.equal(await destination.put('k', text('three')), 'written');
    assert.equal(String(await getSmall(destination, 'k', 100)), 'three');
  });

  test('of many that create one object at once, one wins', async (destination) => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => destination.put('k', text(`${i}`), { ifAbsent: true })),
    );
    assert.equal(answers.filter((answer) => answer === 'written').length, 1);
    assert.equal(String(await getSmall(destination, 'k', 100)), `${answers.indexOf('written')}`);
  });

  test('a body that fails leaves nothing, and its error is the one that is told', async (destination) => {
    const failure = new RangeError('the source is gone');
    const failing: Body = {
      sizeBytes: 2_000_000,
      async *open() {
        yield pattern(1_000_000);
        throw failure;
      },
    };
    await assert.rejects(destination.put('k', failing, { ifAbsent: true }), (error) => error === failure);
    assert.equal(await destination.head('k'), undefined);
    assert.deepEqual(await keysOf(destination, ''), []);
  });

  test('a body of another size than it says is refused', async (destination) => {
    for (const sizeBytes of [4, 10]) {
      await assert.rejects(destination.put('k', { sizeBytes, open: () => [Buffer.from('short')] }));
      assert.equal(await destination.head('k'), undefined);
    }
  });

  test('a put that is cancelled leaves nothing', async (destination) => {
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
    await assert.rejects(destination.put('k', endless, { signal: abort.signal }), { code: 'CANCELLED' });
    assert.equal(await destination.head('k'), undefined);
  });

  test('what is deleted is absent, and the rest stays', async (destination) => {
    for (const key of ['x/1', 'x/2', 'x/3']) await destination.put(key, text(key));
    await destination.delete(['x/1', 'x/3', 'x/4']);
    assert.deepEqual(await keysOf(destination, ''), ['x/2']);
    assert.equal(await destination.get('x/1'), undefined);
  });

  test('it finds out by trying that ifAbsent is kept, and leaves nothing behind', async (destination) => {
    assert.equal((await destination.probe()).ifAbsent, true);
    assert.deepEqual(await keysOf(destination, ''), []);
  });
}

function testListing(test: Run): void {
  test('a listing is in the order of keys, below a prefix, and can be shallow', async (destination) => {
    for (const key of ['b/2', 'a', 'b/10', 'b-1/x', 'b/1/deep', 'c']) await destination.put(key, text(key));
    assert.deepEqual(await keysOf(destination, ''), ['a', 'b-1/x', 'b/1/deep', 'b/10', 'b/2', 'c']);
    assert.deepEqual(await keysOf(destination, 'b/'), ['b/1/deep', 'b/10', 'b/2']);
    assert.deepEqual(await keysOf(destination, 'b/', { shallow: true }), ['b/1/', 'b/10', 'b/2']);
    assert.deepEqual(await keysOf(destination, '', { shallow: true }), ['a', 'b-1/', 'b/', 'c']);
    for await (const { key, sizeBytes, modifiedAtMs } of destination.list('b/')) {
      assert.equal(sizeBytes, key.length);
      assert.ok(modifiedAtMs > 1_600_000_000_000, 'a time of the destination');
    }
  });
}

async function keysOf(
  destination: Destination,
  prefix: string,
  options: ListOptions = {},
): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of destination.list(prefix, options)) keys.push(key);
  return keys;
}
