import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backupCoordinatorOptions } from '../../src/coordinator/backup.ts';
import { restoreCoordinatorOptions, startRestoreOptions } from '../../src/coordinator/restore.ts';
import { restoreOptions, verifyAllOptions, verifyOptions } from '../../src/coordinator/snapshot-work.ts';
import { runsOptions, snapshotsOptions } from '../../src/coordinator/snapshots.ts';
import { statusOptions } from '../../src/coordinator/status.ts';
import { leveldbOptions } from '../../src/engine/leveldb/create-engine.ts';
import { probeOptions } from '../../src/engine/leveldb/probe.ts';
import { lsmOptions } from '../../src/lsm-database/options.ts';
import { lifecycleOptions } from '../../src/operation/lifecycle.ts';
import { describe } from '../../src/options/describe.ts';
import { aboutOf, type OptionSet } from '../../src/options/option.ts';
import { startUndoOptions } from '../../src/options/restore.ts';
import { snapshotClassicLevelOptions, startBackupOptions } from '../../src/options/snapshot.ts';
import { backgroundOptions } from '../../src/options/throttle.ts';
import { deleteOptions, listOptions, pruneOptions, pruneUndoOptions } from '../../src/options/verify.ts';
import { serverLimits, serverOptions } from '../../src/server/options.ts';
import { tlsOptions } from '../../src/server/tls.ts';

// The reference of all options is made from the schemas. After a change run this file with `-u`.

// biome-ignore lint/suspicious/noExplicitAny: sets of any fields
const SETS: Readonly<Record<string, OptionSet<any>>> = {
  'new BackupCoordinator': backupCoordinatorOptions,
  startBackup: startBackupOptions,
  snapshotClassicLevel: snapshotClassicLevelOptions,
  background: backgroundOptions,
  'new RestoreCoordinator': restoreCoordinatorOptions,
  startRestore: startRestoreOptions,
  startUndo: startUndoOptions,
  'new Snapshots': snapshotsOptions,
  'Snapshots.verify, verifySnapshot': verifyOptions,
  'Snapshots.verifyAll, verifyAllSnapshots': verifyAllOptions,
  'Snapshots.restore, restoreSnapshot': restoreOptions,
  'Snapshots.list': listOptions,
  'Snapshots.prune': pruneOptions,
  'Snapshots.delete': deleteOptions,
  'Snapshots.pruneUndo': pruneUndoOptions,
  'Snapshots.status': statusOptions,
  'Snapshots.runs': runsOptions,
  'new Lifecycle': lifecycleOptions,
  createLeveldbEngine: leveldbOptions,
  probeWithClassicLevel: probeOptions,
  openLsm: lsmOptions,
  startServer: serverOptions,
  'startServer: limits': serverLimits,
  'startServer: tls': tlsOptions,
};

const HEAD = `# The options

Each option is declared once, in a schema: type, check, default and description. From it come the types of the library, the bodies
of HTTP requests (\`body.ts\`), the flags of the command line (\`../cli/flags.ts\`) and this page (\`test/options/reference.test.ts\`).
A wrong value is a \`TypeError\` that names the option. Over HTTP the names are in snake_case, on the command line in kebab-case.

To add an option, add a field to its set (\`snapshot.ts\`, \`restore.ts\`, \`verify.ts\`, or beside the class that takes it), use it where
the set is resolved, and give \`test/faces/effects.test.ts\` an experiment that shows its effect.
`;

test('the page lists every option of every set, as the schemas have them', async () => {
  const parts = Object.entries(SETS).map(([name, { fields }]) => {
    const rows = Object.entries(fields).map(([option, field]) => {
      const text = describe(aboutOf(field as never)).replaceAll('|', '\\|');
      return `| \`${option}\` | ${text} |`;
    });
    return `## \`${name}\`\n\n| option | what it does |\n|---|---|\n${rows.join('\n')}\n`;
  });
  const page = [HEAD, ...parts].join('\n');
  await expect(page).toMatchFileSnapshot(join(import.meta.dirname, '../../src/options/README.md'));
});
