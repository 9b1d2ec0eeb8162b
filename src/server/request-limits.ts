import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../env/clock.ts';
import { StillpointError } from '../errors.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /**
     * `light`: always answered, so that an operator can look and cancel however busy the server is. `follow`: the reply lasts as
     * long as a run, and has places of its own.
     */
    readonly load?: 'light' | 'follow';
  }
}

export interface RequestLimits {
  readonly requests: number;
  readonly adminRequests: number;
  readonly followers: number;
}

/** What a client has to move at least, on average, to be better than one that moves nothing. */
const BYTES_PER_MS = 64;

/** A request that waits for its client. */
interface Transfer {
  readonly socket: Socket;
  readonly sinceMs: number;
  readonly baseBytes: number;
}

/**
 * Places for requests, by what they wait for. Work of the server has places (`requests`, and of these `adminRequests`); beyond, a
 * request is `UNAVAILABLE` before its body is read. What waits for a client, to send its body or to take its reply, has
 * as many places of its own, and when they are full, the slowest client is cut off: a new one is never refused for it.
 */
export class RequestPlaces {
  readonly #limits: RequestLimits;
  readonly #clock: Clock;
  readonly #requests = new WeakMap<FastifyRequest, () => void>();
  readonly #receiving = new Set<Transfer>();
  readonly #replying = new Set<Transfer>();
  #working = 0;
  #workingForAdmin = 0;
  #followers = 0;

  constructor(limits: RequestLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** The request is admitted, and its body may still be on the way. */
  begin(request: FastifyRequest, reply: FastifyReply): void {
    const { load } = request.routeOptions.config;
    if (load === 'follow') {
      if (this.#followers >= this.#limits.followers) throw unavailable(reply, 'too many follow runs');
    } else if (load === undefined) this.#refuseBeyond(request, reply);
    this.#wait(request, this.#receiving);
  }

  /** The request has arrived whole: the server's work begins. */
  work(request: FastifyRequest, reply: FastifyReply): void {
    this.end(request);
    if (request.raw.socket.destroyed) return; // it has ended already
    const { load } = request.routeOptions.config;
    if (load === 'light') return;
    if (load === 'follow') {
      this.#followers++;
      this.#requests.set(request, () => this.#followers--);
      return;
    }
    this.#refuseBeyond(request, reply);
    const admin = isAdmin(request) ? 1 : 0;
    this.#working++;
    this.#workingForAdmin += admin;
    this.#requests.set(request, () => {
      this.#working--;
      this.#workingForAdmin -= admin;
    });
  }

  /** The work is done: it is the client's turn. */
  reply(request: FastifyRequest): void {
    if (request.routeOptions.config.load === 'follow') return; // its place lasts as long as its reply
    this.end(request);
    if (!request.raw.socket.destroyed) this.#wait(request, this.#replying);
  }

  /** The reply is over, or the connection. */
  end(request: FastifyRequest): void {
    this.#requests.get(request)?.();
    this.#requests.delete(request);
  }

  #refuseBeyond(request: FastifyRequest, reply: FastifyReply): void {
    const { requests, adminRequests } = this.#limits;
    if (this.#working < requests && !(isAdmin(request) && this.#workingForAdmin >= adminRequests)) return;
    throw unavailable(reply, 'too many requests are under way');
  }

  #wait(request: FastifyRequest, transfers: Set<Transfer>): void {
    const { socket } = request.raw;
    const transfer = { socket, sinceMs: this.#clock.monotonicMs(), baseBytes: bytesMoved(socket) };
    transfers.add(transfer);
    this.#requests.set(request, () => transfers.delete(transfer));
    while (transfers.size > this.#limits.requests) this.#cut(this.#slowest(transfers).socket, transfers);
  }

  #cut(socket: Socket, transfers: Set<Transfer>): void {
    for (const transfer of transfers) if (transfer.socket === socket) transfers.delete(transfer);
    socket.destroy();
  }

  #slowest(transfers: ReadonlySet<Transfer>): Transfer {
    const nowMs = this.#clock.monotonicMs();
    const debtMs = ({ socket, sinceMs, baseBytes }: Transfer): number =>
      nowMs - sinceMs - (bytesMoved(socket) - baseBytes) / BYTES_PER_MS;
    return [...transfers].reduce((worst, other) => (debtMs(other) > debtMs(worst) ? other : worst));
  }
}

const bytesMoved = (socket: Socket): number => socket.bytesRead + socket.bytesWritten - socket.writableLength;

const isAdmin = (request: FastifyRequest): boolean =>
  request.routeOptions.url?.startsWith('/api/admin/') === true;

function unavailable(reply: FastifyReply, message: string): StillpointError {
  reply.header('retry-after', '1');
  return new StillpointError('UNAVAILABLE', message);
}
