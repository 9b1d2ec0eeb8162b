import swagger from '@fastify/swagger';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import * as z from 'zod';
import { operationStateSchema } from '../../operation/operation-state.ts';
import {
  backupReplySchema,
  errorSchema,
  reportSchema,
  restoreReplySchema,
  snapshotListSchema,
  snapshotSchema,
  statusReplySchema,
} from '../../rpc/replies.ts';
import { VERSION } from '../../snapshot/version.ts';
import { type App, replies } from '../route-types.ts';

/** Schemas that the document names and refers to. A registry of our own: the global one belongs to the host. */
const named = {
  Error: errorSchema,
  OperationState: operationStateSchema,
  Backup: backupReplySchema,
  Restore: restoreReplySchema,
  Report: reportSchema,
  Snapshot: snapshotSchema,
  SnapshotList: snapshotListSchema,
  Status: statusReplySchema,
};

/** Collects the routes that are registered after it into an OpenAPI 3.1 document. */
export async function describeRoutes(app: App): Promise<void> {
  const schemaRegistry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(named)) schemaRegistry.add(schema, { id });
  const nameSchemas = createJsonSchemaTransformObject({ schemaRegistry });
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'stillpoint',
        description: 'Key-value routes and admin RPC of the stillpoint database server',
        version: VERSION,
        license: { name: 'MIT', identifier: 'MIT' },
      },
      servers: [{ url: '/', description: 'The server that this document comes from' }],
      components: {
        securitySchemes: {
          apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
          bearer: { type: 'http', scheme: 'bearer' },
        },
      },
      security: [{ apiKey: [] }, { bearer: [] }],
    },
    transform: createJsonSchemaTransform({ schemaRegistry }),
    transformObject: (document) => tidy(nameSchemas(document) as Document),
  });
}

interface Document {
  readonly components?: { readonly schemas?: object };
  readonly paths?: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

interface Operation {
  operationId?: string;
  readonly summary?: string;
  description?: string;
  requestBody?: { required?: boolean; content: Readonly<Record<string, { schema?: { anyOf?: object[] } }>> };
}

/**
 * Every named schema is generated as a request would carry it too, and most are replies only; and every body is said to be
 * required, also one that may be null, which is one that may be left out.
 */
function tidy(document: Document): object {
  for (const [path, operations] of Object.entries(document.paths ?? {})) {
    for (const [method, operation] of Object.entries(operations)) {
      operation.operationId = operationId(method, path);
      operation.description ??= `${operation.summary}.`;
      const { requestBody } = operation;
      const [media] = Object.values(requestBody?.content ?? {});
      const mayBeNull = media?.schema?.anyOf?.some((schema) => 'type' in schema && schema.type === 'null');
      if (requestBody !== undefined && mayBeNull) requestBody.required = false;
    }
  }
  const schemas: Readonly<Record<string, unknown>> = { ...document.components?.schemas };
  const used = new Set<string>();
  for (const found = namesIn(document.paths); found.length > 0; ) {
    const name = found.pop()!;
    if (used.has(name)) continue;
    used.add(name);
    found.push(...namesIn(schemas[name]));
  }
  const kept = Object.entries(schemas).filter(([name]) => used.has(name));
  return { ...document, components: { ...document.components, schemas: Object.fromEntries(kept) } };
}

/** A name for generated clients: `GET /api/admin/backup/{id}/events` is `getBackupByIdEvents`. It changes only with the path. */
function operationId(method: string, path: string): string {
  const words = path
    .replace(/^\/api\/admin/, '')
    .split(/[/._]+/)
    .filter((word) => word !== '')
    .map((word) => (word.startsWith('{') ? `by-${word.slice(1, -1)}` : word))
    .flatMap((word) => word.split('-'));
  return method + words.map((word) => `${word[0]!.toUpperCase()}${word.slice(1)}`).join('');
}

const namesIn = (part: unknown): string[] =>
  [...(JSON.stringify(part) ?? '').matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name!);

export function openApiRoute(app: App): void {
  let text: string | undefined;
  app.get(
    '/api/admin/openapi.json',
    { schema: { summary: 'This document', response: replies(z.looseObject({ openapi: z.string() })) } },
    async (_request, reply) => {
      text ??= JSON.stringify(app.swagger());
      return reply
        .type('application/json; charset=utf-8')
        .serializer(String)
        .send(text as never);
    },
  );
}
