import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../env/clock.ts';

interface Connection {
  /** Ends the requests that have begun and whose replies are not over. */
  readonly underWay: Set<() => void>;
  /** When it was opened, or when its last reply was over. */
  idleSinceMs: number;
}

/** Browsers and Node send one request at a time; who sends more ahead takes the processor from others. */
const REQUESTS_AHEAD = 8;

/**
 * The connections of a server, at most `limit`. For one more, the one that has been without a request for longest is cut off, so
 * that connections which only occupy places keep nobody out.
 */
export class Connections {
  readonly #limit: number;
  readonly #clock: Clock;
  readonly #bySocket = new Map<Socket, Connection>();

  constructor(server: Server, limit: number, clock: Clock) {
    this.#limit = limit;
    this.#clock = clock;
    server.on('connection', (socket) => this.#add(socket));
    // With TLS the socket of the requests comes after the handshake. It has the addresses of the one below it.
    server.on('secureConnection', (secure: Socket) => {
      for (const [socket, connection] of this.#bySocket) {
        if (socket.remotePort !== secure.remotePort || socket.remoteAddress !== secure.remoteAddress)
          continue;
        this.#bySocket.delete(socket);
        this.#put(secure, connection);
        return;
      }
    });
  }

  /**
   * False for a request on a connection that was cut. Else it calls `over` once, when the reply is over or the connection is:
   * a reply that waits behind others is told of neither.
   */
  begin({ raw: { socket } }: FastifyRequest, reply: FastifyReply, over: () => void): boolean {
    if (socket.destroyed) return false;
    const connection = this.#bySocket.get(socket);
    if ((connection?.underWay.size ?? 0) >= REQUESTS_AHEAD) {
      socket.destroy();
      return false;
    }
    const end = (): void => {
      reply.raw.removeListener('close', end);
      connection?.underWay.delete(end);
      if (connection !== undefined) connection.idleSinceMs = this.#clock.monotonicMs();
      over();
    };
    connection?.underWay.add(end);
    reply.raw.once('close', end);
    return true;
  }

  #add(socket: Socket): void {
    this.#put(socket, { underWay: new Set(), idleSinceMs: this.#clock.monotonicMs() });
    if (this.#bySocket.size <= this.#limit) return;
    const idle = this.#longestIdle();
    this.#bySocket.delete(idle);
    idle.destroy();
  }

  #put(socket: Socket, connection: Connection): void {
    this.#bySocket.set(socket, connection);
    socket.once('close', () => {
      this.#bySocket.delete(socket);
      for (const end of connection.underWay) end();
    });
  }

  /** There is one: the newest has no request yet. */
  #longestIdle(): Socket {
    const idle = [...this.#bySocket].filter(([, { underWay }]) => underWay.size === 0);
    return idle.reduce((longest, other) =>
      other[1].idleSinceMs < longest[1].idleSinceMs ? other : longest,
    )[0];
  }
}
