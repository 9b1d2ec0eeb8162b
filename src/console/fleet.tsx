import type { Api, Fleet } from './api.ts';
import { Prose } from './prose.tsx';
import { ago, ahead, bytes, plural } from './text.ts';
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
            <Sets sets={fleet.sets} />
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

function Sets({ sets }: { sets: readonly FleetSet[] }) {
  return (
    <section aria-labelledby="sets" class="card">
      <h2 id="sets">What can the fleet go back to?</h2>
      {sets.length === 0 && (
        <p>No backup of the fleet is known. Say where they are: stillpoint console --fleet FILE --sets DIR</p>
      )}
      {sets.map((set, i) => (
        <details key={set.name} open={i === 0}>
          <summary>
            {set.name} <SetBadge set={set} /> <span class="small">({wholeUnits(set)})</span>
          </summary>
          {set.problem !== null && <p class="bad">{set.problem}</p>}
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard */}
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
                {set.nodes.map(({ id, unit, state, error }) => (
                  <tr key={id}>
                    <td>{unit}</td>
                    <th scope="row">{id}</th>
                    <td class={isWhole(state) ? 'good' : 'bad'}>
                      {STATES[state] ?? state}
                      {error !== null && `: ${error}`}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </section>
        </details>
      ))}
    </section>
  );
}

const STATES: Readonly<Record<string, string>> = {
  Missing: 'nothing yet',
  Created: 'snapshot taken, not downloaded',
  Downloaded: 'downloaded, not verified',
  ChecksumVerified: 'downloaded and verified',
  Durable: 'whole',
};
const isWhole = (state: string): boolean => state === 'ChecksumVerified' || state === 'Durable';

function SetBadge({ set: { complete, running } }: { set: FleetSet }) {
  if (complete) return <span class="badge good">whole</span>;
  return running ? <span class="badge unsure">under way</span> : <span class="badge bad">not whole</span>;
}

function wholeUnits({ nodes }: FleetSet): string {
  const units = [...grouped(nodes).values()];
  const whole = units.filter((ofUnit) => ofUnit.every(({ state }) => isWhole(state)));
  return `${whole.length} of ${plural(units.length, 'unit')} whole`;
}
