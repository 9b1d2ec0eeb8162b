import { leveldbBackend, lsmBackend, startServer } from '../../src/server/index.ts';

// A node of a fleet as a process of its own; ends with its parent. The log of `lsm` is small, since a fleet's run downloads it.

const [dataDir, engine] = process.argv.slice(2) as [string, 'lsm' | 'leveldb'];
const walGeometry = { segmentBytes: 256 * 1024, segmentCount: 8 };
const backend = engine === 'lsm' ? lsmBackend({ walGeometry }) : leveldbBackend();
const { url } = await startServer({ dataDir, backend, port: 0 });
process.stdout.write(`${url}\n`);
process.stdin.on('end', () => process.exit()).resume();
