import { FleetSurvey, type SurveyedNode, type SurveyedSet } from '../../fleet/survey.ts';
import { fleetReplySchema } from '../../rpc/elsewhere.ts';
import { replies } from '../route-types.ts';
import { type ElsewhereOptions, type KeyedServer, serveElsewhere } from './elsewhere-app.ts';

export interface FleetConsoleOptions extends ElsewhereOptions {
  readonly fleetFile: string;
  /** A folder that holds backups of the fleet, each in a folder of its own. */
  readonly setsDir: string | undefined;
}

/** Shows the nodes of a fleet by unit, and its backups. Changes nothing. Rejects when the fleet file cannot be used. */
export async function startFleetConsole(options: FleetConsoleOptions): Promise<KeyedServer> {
  const survey = await FleetSurvey.open(options.fleetFile, options.environment, options.setsDir);
  return serveElsewhere(
    options,
    'fleet',
    (app) => {
      app.get(
        '/api/admin/fleet',
        { schema: { summary: 'The nodes and backups of a fleet', response: replies(fleetReplySchema) } },
        async () => {
          const [nodes, { sets, leftOut }] = await Promise.all([survey.nodes(), survey.sets()]);
          return {
            fleet: survey.name,
            nodes: nodes.map(describeNode),
            sets_dir: survey.setsDir ?? null,
            sets: sets.map(describeSet),
            sets_left_out: leftOut,
          };
        },
      );
    },
    () => survey.close(),
  );
}

function describeNode({ id, unit, role, url, status, problem }: SurveyedNode) {
  const { safety = null, quiesced = null } = status ?? {};
  const unwell = status === undefined ? undefined : unwellness(status);
  const running = [status?.backup_state, status?.restore_state].find((state) => state?.status === 'running');
  return {
    ...{ id, unit, role, url, problem: problem ?? null, lease: quiesced },
    engine: status?.engine ?? null,
    mode: status?.mode ?? null,
    phase: running === undefined || running === null ? null : (running.phase ?? 'running'),
    safe: unwell === undefined ? (safety?.safe ?? null) : false,
    summary:
      unwell === undefined
        ? (safety?.summary ?? null)
        : `${unwell} Snapshots: ${safety?.summary ?? 'not known.'}`,
    newest_good_at_ms: safety?.newest_good?.created_at_ms ?? null,
    snapshots_disk_bytes: safety?.total.disk_bytes ?? null,
  };
}

/** Why a node is not safe, whatever its snapshots are. A run that holds it keeps it out of normal mode, and that is right. */
function unwellness(status: NonNullable<SurveyedNode['status']>): string | undefined {
  const { overall_status, mode, quiesced, recovery_state, database_failure: failure } = status;
  if (failure !== null) return `The database takes no writes: ${failure.message}.`;
  if (overall_status === 'ok' || (quiesced !== null && mode !== 'normal')) return undefined;
  const reason = recovery_state?.reason == null ? '' : `: ${recovery_state.reason}`;
  return `The node is not well, mode ${mode.replace('_', ' ')}${reason}; it may take no writes.`;
}

function describeSet({ name, createdAtMs, status, glance, problem }: SurveyedSet) {
  const nodes = (status?.nodes ?? []).map(({ id, unit, state, error }) => {
    return { id, unit, state, error, damage: glance?.damage.get(id) ?? null };
  });
  return {
    name,
    problem: problem ?? null,
    created_at_ms: createdAtMs ?? null,
    complete: status?.complete ?? false,
    ended_at_ms: glance?.endedAtMs ?? null,
    running: status?.running ?? false,
    nodes,
  };
}
