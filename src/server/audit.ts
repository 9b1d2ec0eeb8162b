import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Clock, isoTime } from '../env/clock.ts';
import type { ErrorCode } from '../errors.ts';
import { type LineTarget, lineWriter } from './line-writer.ts';

/** What changes something, by method and route. Names are those in the audit lines. */
export const AUDITED_ROUTES: Readonly<Record<string, string>> = {
  'POST /api/admin/backup': 'backup',
  'DELETE /api/admin/backup/:id': 'cancel',
  'DELETE /api/admin/backups/:name': 'delete',
  'POST /api/admin/restore': 'restore',
  'POST /api/admin/restore/undo': 'undo',
  'POST /api/admin/prune': 'prune',
  'POST /api/admin/prune/undo': 'prune-undo',
  'POST /api/admin/plans/:name/run': 'run-plan',
  'DELETE /api/admin/jobs/:id': 'cancel-job',
  'POST /api/admin/lifecycle': 'lifecycle',
  'POST /api/admin/export': 'export',
  'POST /api/admin/compaction': 'compaction',
  'POST /api/admin/quiesce': 'quiesce',
  'POST /api/admin/resume': 'resume',
  'POST /api/admin/backups/:name/pin': 'pin',
  'POST /api/admin/backups/:name/push': 'push',
  'POST /api/admin/hold': 'hold',
  'POST /api/admin/release': 'release',
  'DELETE /api/admin/incoming/:run': 'remove-incoming',
};

/**
 * `accepted` comes before the work of a run; a second line with the same id tells how that has ended. `ended`: there was
 * nothing to cancel any more. `dry-run`: somebody asked what would be removed.
 */
export type AuditOutcome =
  | 'accepted'
  | 'completed'
  | 'failed'
  | 'cancelled'
  | 'refused'
  | 'ended'
  | 'dry-run';

export interface AuditNote {
  readonly action?: string;
  readonly outcome?: AuditOutcome;
  readonly code?: ErrorCode | undefined;
  /** Of the run or job, the name of the snapshot, or the run of a fleet's controller. */
  readonly id?: string;
  /** Of a console: the store of the backup. */
  readonly store?: string;
  /** The folder that a backup is restored into. */
  readonly into?: string;
}

/**
 * One JSON line for each admin action that changes something or is refused, and for each request that is not admitted:
 * `{time, action, outcome, correlation_id, remote, code?, id?, data_dir?, store?, into?}`. No credentials and no keys of the database are in it.
 */
export class Audit {
  readonly #write: (record: Readonly<Record<string, unknown>>) => void;
  readonly #clock: Clock;
  readonly #dataDirOf: (request: FastifyRequest) => string | undefined;
  readonly #notes = new WeakMap<FastifyRequest, AuditNote>();
  readonly #withRun = new WeakSet<FastifyRequest>();

  /** @param dataDirOf Where several data directories are served: which one a request is about. */
  constructor(
    sink: LineTarget,
    clock: Clock,
    dataDirOf: (request: FastifyRequest) => string | undefined = () => undefined,
  ) {
    this.#dataDirOf = dataDirOf;
    this.#write = lineWriter(sink);
    this.#clock = clock;
  }

  /** Adds to what the line of this request will say. */
  note(request: FastifyRequest, note: AuditNote): void {
    this.#notes.set(request, { ...this.#notes.get(request), ...note });
  }

  /** The request has been answered: writes its line if it is one that counts. */
  answered(request: FastifyRequest, reply: FastifyReply): void {
    if (this.#withRun.has(request)) return;
    const note = this.#notes.get(request);
    const action = note?.action ?? AUDITED_ROUTES[`${request.method} ${routeOf(request)}`];
    if (action === undefined) return;
    const { statusCode } = reply;
    const byStatus = statusCode < 400 ? 'completed' : statusCode < 500 ? 'refused' : 'failed';
    this.#line(request, { outcome: byStatus, ...note, action });
  }

  /** A run that `request` began was admitted, or has ended. The request itself gets no other line then. */
  run(request: FastifyRequest, note: AuditNote & { readonly action: string }): void {
    this.#withRun.add(request);
    this.#line(request, note);
  }

  #line(request: FastifyRequest, { action, outcome, code, ...named }: AuditNote): void {
    const dataDir = this.#dataDirOf(request);
    this.#write({
      time: isoTime(this.#clock.nowMs()),
      action,
      outcome,
      correlation_id: request.id,
      remote: request.ip,
      ...(code && { code }),
      ...(dataDir !== undefined && { data_dir: dataDir }),
      ...named,
    });
  }
}

/** Without what says of which data directory. */
const routeOf = ({ routeOptions: { url = '' } }: FastifyRequest): string => url.replace(/^\/folder\/\d+/, '');
