import type { Api, Status } from './api.ts';
import { CopyCommand } from './copy-command.tsx';

interface Props {
  readonly api: Api;
  readonly status: Status;
  readonly isOpenHere: boolean;
}

/** What to do where the database itself is damaged, and not a copy of it. */
export function DamagedDatabase({ api, status: { safety, data_dir }, isOpenHere }: Props) {
  const best = safety?.latest_good ?? null;
  const isElsewhere = safety?.repositories?.some(({ newest_backup }) => newest_backup !== null) ?? false;
  return (
    <section aria-labelledby="saved" class="card unsafe">
      <h2 id="saved">What can be saved?</h2>
      <p>Remove no snapshot and no backup until the database is whole again.</p>
      <ol>
        <li>
          {best !== null && `Restore ${best}, below: it has all that was written before it. `}
          {best === null && isElsewhere && 'Restore a backup from a repository. '}
          {best === null && !isElsewhere && 'No good snapshot and no backup is on record. '}
          It cannot have what was written later; that stays in the undo folder, and can be salvaged from
          there.
        </li>
        <li>
          Salvage the rest: this writes what can still be read into a new database, and changes nothing here.{' '}
          {isOpenHere
            ? 'Copy the command, stop this server, then run it.'
            : 'Close the database, then run the command.'}
          <p class="actions">
            <CopyCommand text={api.salvageCommand(data_dir)} what="salvage the database" isMain />
          </p>
        </li>
        <li>
          Once it is whole, have it read: until then this page says that it is damaged. This works while it is
          open.
          <p class="actions">
            <CopyCommand text={api.verifyCommand(data_dir)} what="verify the database" />
          </p>
        </li>
      </ol>
    </section>
  );
}
