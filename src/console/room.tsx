import type { Api, Safety, Snapshots, Status } from './api.ts';
import { ago, bytes, plural } from './text.ts';
import { UndoFolders } from './undo-folders.tsx';

interface Props {
  readonly api: Api;
  readonly list: Snapshots;
  readonly status: Status;
  readonly nowMs: number;
  readonly look: () => Promise<void>;
}

/** Is there room? */
export function Room({ api, list, status: { safety, data_dir }, nowMs, look }: Props) {
  const { total } = list;
  const rows: [string, string, string][] = [
    ['Snapshots', bytes(total.disk_bytes), plural(total.count, 'snapshot')],
  ];
  if (safety !== null) {
    const kept = [
      ['Undo folders', safety.undo],
      ['Archives', safety.archives],
      ['Exports', safety.exports],
    ] as const;
    for (const [name, { count, disk_bytes, oldest_at_ms }] of kept) {
      if (count === 0) continue;
      const oldest = oldest_at_ms === null ? '' : `, the oldest ${ago(oldest_at_ms, nowMs)}`;
      rows.push([name, bytes(disk_bytes), `${plural(count, 'folder')}${oldest}`]);
    }
    rows.push(['Free on the disk', bytes(safety.free_bytes), '']);
  }
  return (
    <section aria-labelledby="room" class="card">
      <h2 id="room">Is there room?</h2>
      {safety !== null && <Verdict safety={safety} />}
      <table>
        <thead class="hidden">
          <tr>
            <th scope="col">What</th>
            <th scope="col">Bytes on the disk</th>
            <th scope="col">How many</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, size, more]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="right">{size}</td>
              <td>{more}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {safety !== null && <UndoFolders api={api} safety={safety} dataDir={data_dir} look={look} />}
    </section>
  );
}

/** Whether the next snapshot fits, and a restore; each takes so much at most. */
function Verdict({ safety }: { safety: Safety }) {
  const { next, free_bytes: free, data_free_bytes, restore_bytes, prunable, room, source_damaged } = safety;
  const isTight = next !== null && !next.fits;
  const restoreBytes = restore_bytes ?? 0;
  return (
    <>
      {next === null && <p class="unsure">Not known: there is no database to measure.</p>}
      {next !== null && (
        <p class={isTight ? 'bad' : 'good'}>
          {isTight ? 'The next snapshot may not fit' : 'The next snapshot fits'}: it needs up to{' '}
          {bytes(next.needed_bytes)}, and {bytes(free)} are free.
        </p>
      )}
      {room.text !== '' && <p>How long the disk lasts: {room.text}.</p>}
      {restoreBytes > data_free_bytes && (
        <p class="bad">
          A restore may not fit: it needs up to {bytes(restoreBytes)}. Restore into a folder on another disk.
        </p>
      )}
      {isTight && !source_damaged && prunable.count > 0 && (
        <p>
          Without all but the newest snapshot, {bytes(prunable.freed_bytes)} more would be free:{' '}
          <strong>Remove old snapshots</strong> shows which would go.
        </p>
      )}
    </>
  );
}
