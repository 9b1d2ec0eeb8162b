import * as z from 'zod';
import { StillpointError } from '../../errors.ts';
import type { ServerContext } from '../assemble-server.ts';
import type { WriteOp } from '../database.ts';
import { type App, content, replies } from '../route-types.ts';
import { decodeText, keyOfParam, requireKey } from './keys.ts';
import { listPage } from './list.ts';
import {
  batchBodySchema,
  keyParamsSchema,
  listQuerySchema,
  listReplySchema,
  writtenSchema,
} from './schemas.ts';

const BINARY = 'application/octet-stream';

/** Reading and writing keys. A reply to a write means that it is on disk. */
export function keyRoutes(app: App, { gate }: ServerContext): void {
  app.get(
    '/kv/:key',
    {
      schema: {
        summary: 'Read a value',
        params: keyParamsSchema,
        response: replies(content(BINARY, z.any(), 'The value, byte for byte')),
      },
    },
    async ({ params }, reply) => {
      const key = keyOfParam(params.key);
      const value = await gate.read((database) => database.get(key));
      if (value === undefined) throw new StillpointError('NOT_FOUND', 'there is no such key');
      return reply.type(BINARY).send(value);
    },
  );

  app.delete(
    '/kv/:key',
    {
      schema: {
        summary: 'Delete a key',
        description: 'Deleting a key that is not there is no error.',
        params: keyParamsSchema,
        response: replies(writtenSchema),
      },
    },
    async ({ params }) => {
      const key = keyOfParam(params.key);
      return gate.write((database) => database.write([{ type: 'delete', key }]));
    },
  );

  app.get(
    '/kv',
    {
      schema: {
        summary: 'Read keys and values in order',
        querystring: listQuerySchema,
        response: replies(listReplySchema),
      },
    },
    async ({ query }) => gate.read((database) => listPage(database, query)),
  );

  app.post(
    '/kv/_batch',
    {
      schema: {
        summary: 'Write several keys in one commit',
        body: batchBodySchema,
        response: replies(writtenSchema),
      },
    },
    async ({ body }) => {
      const ops = body.ops.map((op, i): WriteOp => {
        const key = requireKey(decodeText(`ops[${i}].key`, op.key, op.encoding));
        if (op.op === 'delete') return { type: 'delete', key };
        return { type: 'put', key, value: decodeText(`ops[${i}].value`, op.value, op.encoding) };
      });
      return gate.write((database) => database.write(ops));
    },
  );
}

/** Writing one value: the body is the value, whatever its content type says. */
export function valueRoute(app: App, { gate }: ServerContext): void {
  app.put(
    '/kv/:key',
    {
      schema: {
        summary: 'Write a value',
        description: 'The body is the value, byte for byte; an empty one is a value too.',
        consumes: [BINARY],
        params: keyParamsSchema,
        body: z.any().describe('The value'),
        response: replies(writtenSchema),
      },
    },
    async ({ params, body }) => {
      const key = keyOfParam(params.key);
      const value = (body as Buffer | undefined) ?? Buffer.alloc(0);
      return gate.write((database) => database.write([{ type: 'put', key, value }]));
    },
  );
}
