#!/usr/bin/env node
import { run } from './program.ts';

// Not process.exit: what stands in the pipe of stdout would be lost.
process.exitCode = await run(process.argv.slice(2));
