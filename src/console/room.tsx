import type { Snapshots, Status } from './api.ts';
import { ago, bytes, plural } from './text.ts';

/** Is there room? */
export function Room({ list, safety, nowMs }: { list: Snapshots; safety: Status['safety']; nowMs: number }) {
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
    </section>
  );
}
