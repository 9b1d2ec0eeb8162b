import type { Api, Fleet } from './api.ts';
import { Prose } from './prose.tsx';
import { ago, ahead, bytes, plural, quoted, shown, time } from './text.ts';
import { BUSY_MS, IDLE_MS, NoAnswer, useLooking } from './use-looking.tsx';
import { Verdict } from './verdict.tsx';

type Node = Fleet['nodes'][number];
type FleetSet = Fleet['sets'][number];

/** A fleet: its nodes by unit, and its backups. */
export function FleetPage({ api }: { api: Api }) {
  const looking = useLooking<Fleet>(api, async () => {
    const fleet = await api.fleet();
    const isAtWork = fleet.sets.some(({ running }) => running) || fleet.nodes.some(isHeld);
    return [fleet, isAtWork ? BUSY_MS : IDLE_MS];
  });
  const { seen: fleet, nowMs } = looking;
  if (looking.signIn !== undefined) return looking.signIn;
  const bad = fleet?.nodes.filter((node) => node.safe !== true) ?? [];
  return (
    <>
      <header>
        <h1>Stillpoint</h1>
        <p>{fleet !== undefined && `fleet ${fleet.fleet} · ${plural(fleet.nodes.length, 'node')}`}</p>
      </header>
      <main>
        <NoAnswer looking={looking} />
        {fleet !== undefined && (
          <>
            <Verdict
              id="nodes"
              question="Are the nodes safe?"
              look={bad.length === 0 ? 'safe' : 'unsafe'}
              sentence={
                bad.length === 0 ? 'All are safe.' : `${bad.length} of ${fleet.nodes.length} not safe.`
              }
              oldMs={looking.oldMs}
            >
              {[...grouped(fleet.nodes)].map(([unit, nodes]) => (
                <Unit key={unit} unit={unit} nodes={nodes} nowMs={nowMs} />
              ))}
            </Verdict>
            <Sets fleet={fleet} nowMs={nowMs} />
          </>
        )}
      </main>
    </>
  );
}

const isHeld = ({ lease, phase }: Node): boolean => lease !== null || phase !== null;

function grouped<T extends { readonly unit: string }>(all: readonly T[]): Map<string, T[]> {
  const units = new Map<string, T[]>();
  for (const one of all) units.set(one.unit, [...(units.get(one.unit) ?? []), one]);
  return units;
}

function Unit({ unit, nodes, nowMs }: { unit: string; nodes: readonly Node[]; nowMs: number }) {
  return (
    <>
      <h3>
        {unit} <span class="small">({plural(nodes.length, 'node')})</span>
      </h3>
      <ul class="snapshots">
        {nodes.map((node) => (
          <NodeLine key={node.id} node={node} nowMs={nowMs} />
        ))}
      </ul>
    </>
  );
}

function NodeLine({ node, nowMs }: { node: Node; nowMs: number }) {
  const { id, role, url, problem, engine, mode, phase, lease, safe, summary } = node;
  const tone = safe === true ? 'good' : 'bad';
  return (
    <li>
      <div class="what">
        <strong>{id}</strong>
        <span class={`badge ${tone}`}>{safe === null ? 'not known' : safe ? 'safe' : 'not safe'}</span>
        {phase !== null && <span class="badge unsure">{phase}</span>}
        {lease !== null && <span class="badge unsure">takes no writes</span>}
        {mode !== null && mode !== 'normal' && <span class="badge bad">{mode.replace('_', ' ')}</span>}
        <div class={tone}>
          <Prose text={problem ?? summary ?? ''} />
        </div>
        <div class="small">
          {role} · {url}
          {engine !== null && ` · ${engine}`}
          {node.newest_good_at_ms !== null && ` · newest good snapshot ${ago(node.newest_good_at_ms, nowMs)}`}
          {node.snapshots_disk_bytes !== null && ` · snapshots take ${bytes(node.snapshots_disk_bytes)}`}
        </div>
        {lease !== null && (
          <div class="unsure">
            Held by run {lease.run}
            {lease.expires_at_ms !== null && `; its lease ends ${ahead(lease.expires_at_ms, nowMs)}`}.
          </div>
        )}
      </div>
    </li>
  );
}

function Sets({ fleet: { sets, sets_dir, sets_left_out: older }, nowMs }: { fleet: Fleet; nowMs: number }) {
  return (
    <section aria-labelledby="sets" class="card">
      <h2 id="sets">What can the fleet go back to?</h2>
      {sets.length === 0 && sets_dir !== null && <p>{sets_dir} holds no backup of a fleet.</p>}
      {sets.length === 0 && sets_dir === null && (
        <p>No backup of the fleet is known. Say where they are: stillpoint console --fleet FILE --sets DIR</p>
      )}
      {sets.map((set, i) => (
        <details key={set.name} open={i === 0}>
          <summary>
            {shown(set.name)} <SetBadge set={set} /> <span class="small">({about(set, nowMs)})</span>
          </summary>
          {set.problem !== null && <p class="bad">{shown(set.problem)}</p>}
          {set.ended_at_ms !== null && (
            <p class="small">
              Each copy was read in full when the run ended, {ago(set.ended_at_ms, nowMs)}. Here only names
              and sizes are looked at:{' '}
              <code>stillpoint fleet verify {quoted(`${sets_dir}/${set.name}`)}</code> reads it again.
            </p>
          )}
          {set.nodes.length > 0 && <SetNodes set={set} />}
        </details>
      ))}
      {older > 0 && (
        <p class="small">
          {plural(older, 'older backup')} in {sets_dir} {older === 1 ? 'is' : 'are'} not shown.
        </p>
      )}
    </section>
  );
}

function SetNodes({ set }: { set: FleetSet }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard
    <section class="scroll" tabIndex={0} aria-label={`Nodes of ${set.name}`}>
      <table>
        <thead>
          <tr>
            <th scope="col">Unit</th>
            <th scope="col">Node</th>
            <th scope="col">State</th>
          </tr>
        </thead>
        <tbody>
          {set.nodes.map(({ id, unit, state, error, damage }) => (
            <tr key={id}>
              <td>{unit}</td>
              <th scope="row">{id}</th>
              <td class={damage === null && isEnded(state) ? '' : 'bad'}>
                {damage === null ? (STATES[state] ?? state) : `damaged: ${shown(damage)}`}
                {error !== null && `: ${shown(error)}`}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

const STATES: Readonly<Record<string, string>> = {
  Missing: 'nothing yet',
  Created: 'snapshot taken, not downloaded',
  Downloaded: 'downloaded, not verified',
  ChecksumVerified: 'was verified by the run',
  Durable: 'was whole when the run ended',
};
const isEnded = (state: string): boolean => state === 'ChecksumVerified' || state === 'Durable';
const isDamaged = ({ problem, nodes }: FleetSet): boolean =>
  problem !== null || nodes.some(({ damage }) => damage !== null);

function SetBadge({ set }: { set: FleetSet }) {
  if (isDamaged(set)) return <span class="badge bad">damaged</span>;
  if (set.complete) return <span class="badge where">complete when it ended</span>;
  return set.running ? (
    <span class="badge unsure">under way</span>
  ) : (
    <span class="badge bad">not complete</span>
  );
}

function about({ created_at_ms, nodes }: FleetSet, nowMs: number): string {
  if (created_at_ms === null) return 'its plan cannot be read';
  const units = [...grouped(nodes).values()];
  const left = units.filter((ofUnit) =>
    ofUnit.every(({ state, damage }) => isEnded(state) && damage === null),
  );
  const made = `begun ${time(created_at_ms)}, ${ago(created_at_ms, nowMs)}`;
  return units.length === 0 ? made : `${made}; ${left.length} of ${plural(units.length, 'unit')} complete`;
}
