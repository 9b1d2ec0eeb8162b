// Writes a database with an engine of npm: PACKAGE FOLDER COUNT. A count of 0 goes on until it is killed, a line on stdout after each 500 keys.
import { createRequire } from 'node:module';

const [, , name, folder, count] = process.argv;
const engine = createRequire(import.meta.url)(name);
const db =
  name === 'leveldb-zlib'
    ? new engine.LevelDB(folder, { createIfMissing: true })
    : new engine.ClassicLevel(folder, { writeBufferSize: 256 * 1024 });
await db.open();
const remove = (key) => (name === 'leveldb-zlib' ? db.delete(key) : db.del(key));
for (let i = 0; count === '0' || i < Number(count); i++) {
  const key = `key-${String((i * 7919) % 100_000).padStart(10, '0')}`;
  await db.put(key, String(i).padStart(120, '0'));
  if (i % 5 === 4) await remove(key);
  if (i % 500 === 499) console.log(i);
}
await db.close();
