import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { limited } from '../../src/destination/limited.ts';
import { openDestination } from '../../src/destination/open.ts';
import { temporaryFolder } from '../support/temp.ts';

test('what waits for its turn under a limit is cancelled like any other work', async () => {
  const folder = await temporaryFolder();
  writeFileSync(join(folder, 'object'), 'content');
  const inner = await openDestination(folder);
  const cancel = new AbortController();
  async function* cancelledWhileItWaits() {
    for await (const chunk of (await inner.get('object'))!) {
      setImmediate(() => cancel.abort());
      yield chunk;
    }
  }
  const get = async () => cancelledWhileItWaits();
  const destination = limited(Object.assign(Object.create(inner), { get }), { download: 1 });
  const read = async () => {
    for await (const _ of (await destination.get('object', { signal: cancel.signal }))!);
  };
  await expect(read()).rejects.toMatchObject({ code: 'CANCELLED' });
});
