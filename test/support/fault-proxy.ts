import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What goes wrong with one request. */
export const FAULTS = [
  'cut before the server',
  'cut after the server',
  'cut in the answer',
  '503 SlowDown',
  '500 after the work',
  '200 with an error in its body',
  'a wrong byte',
  'late',
] as const;
export type Fault = (typeof FAULTS)[number];

export interface FaultProxy {
  readonly endpoint: string;
  /** Requests since the last `plan`. */
  readonly requests: string[];
  /** From now on the request with this number, from 0, meets the fault; with `andAllAfter` every later one, too. */
  plan(fault?: Fault, at?: number, andAllAfter?: boolean): void;
  close(): Promise<void>;
}

const errorBody = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>planned</Message></Error>`;

/** Stands in front of a real S3 server and spoils chosen requests. */
export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(upstream);
  const requests: string[] = [];
  let planned: { fault?: Fault | undefined; at: number; andAllAfter: boolean } = {
    at: 0,
    andAllAfter: false,
  };
  const server = createServer((incoming, outgoing) => {
    const number = requests.push(`${incoming.method} ${incoming.url}`) - 1;
    const isMeant = number === planned.at || (planned.andAllAfter && number > planned.at);
    void answer(incoming, outgoing, isMeant ? planned.fault : undefined).catch(() => outgoing.destroy());
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  async function answer(incoming: IncomingMessage, outgoing: ServerResponse, fault: Fault | undefined) {
    const body = await bytesOf(incoming);
    const refuse = (status: number, code: string) =>
      outgoing.writeHead(status, { 'content-type': 'application/xml' }).end(errorBody(code));
    if (fault === 'cut before the server') return outgoing.destroy();
    if (fault === '503 SlowDown') return refuse(503, 'SlowDown');
    if (fault === '200 with an error in its body' && incoming.method !== 'GET' && incoming.method !== 'HEAD')
      return refuse(200, 'InternalError');
    if (fault === 'late') await new Promise((resolve) => setTimeout(resolve, 300));
    const forwarded = request({
      hostname,
      port,
      method: incoming.method,
      path: incoming.url,
      headers: incoming.headers,
    });
    forwarded.end(body);
    const [reply] = (await once(forwarded, 'response')) as [IncomingMessage];
    const content = await bytesOf(reply);
    if (fault === 'cut after the server') return outgoing.destroy();
    if (fault === '500 after the work') return refuse(500, 'InternalError');
    if (fault === 'a wrong byte' && content.byteLength > 0) {
      const middle = content.byteLength >> 1;
      content[middle] = content[middle]! ^ 1;
    }
    outgoing.writeHead(reply.statusCode!, reply.headers);
    if (fault !== 'cut in the answer' || content.byteLength === 0) return outgoing.end(content);
    outgoing.write(content.subarray(0, content.byteLength >> 1));
    setImmediate(() => outgoing.destroy());
  }

  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    plan(fault, at = 0, andAllAfter = false) {
      planned = { fault, at, andAllAfter };
      requests.length = 0;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function bytesOf(stream: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
