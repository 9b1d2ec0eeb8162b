#!/usr/bin/env node
import { run } from './program.ts';
import { visible } from './text.ts';

// A reader that went away (`| head`) or a closed terminal is no reason to fail.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
  });
}

// What is made here must not be closed to its owner, whatever the umask; LevelDB gives its files the modes that the umask leaves.
process.umask(process.umask(0o077) & 0o077);

// Node would print warnings with the id of the process and advice to authors.
process.removeAllListeners('warning');
process.on('warning', ({ name, message }) => {
  if (!/(Experimental|Deprecation)Warning$/.test(name))
    process.stderr.write(`warning: ${visible(message.replace(/\s*\n\s*/g, ' '))}\n`);
});

// Not process.exit: what stands in the pipe of stdout would be lost.
process.exitCode = await run(process.argv.slice(2), process);
