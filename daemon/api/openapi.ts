// The OpenAPI 3.1 document, made once from the schemas that validate. Components carry the names that schemas give themselves with
// `.meta({ id })`; only those that some route uses are listed.
import swagger from '@fastify/swagger';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { globalRegistry } from 'zod/v4/core';
import type { App } from './route.ts';

/** Lists what the schemas of inputs are called: the same as those of outputs where no output has that name. */
const INPUT = 'Input';
const REFERENCE = '#/components/schemas/';

type Document = { components?: { schemas?: Record<string, unknown> } };

/** Before the routes. */
export async function describe(app: App, version: string): Promise<void> {
  const schemaRegistry = globalRegistry as never;
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Aegis', version, description: 'A post-quantum TEE sequencer. Errors are RFC 9457 problems.' },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    },
    transform: createJsonSchemaTransform({ schemaRegistry }),
    transformObject: (document) =>
      tidy(createJsonSchemaTransformObject({ schemaRegistry })(document) as Document) as never,
  });
}

/** After the routes: the text to serve. */
export const documentOf = (app: App): string => JSON.stringify(app.swagger());

/** Drops components that nothing refers to, and the suffix of inputs whose plain name is free or says the same. */
function tidy(document: Document): Document {
  const { components, ...rest } = document;
  const all = components?.schemas ?? {};
  const used = new Set<string>();
  const visit = (value: unknown) => {
    for (const name of references(value)) {
      if (used.has(name)) continue;
      used.add(name);
      visit(all[name]);
    }
  };
  visit(rest);
  const plain = (name: string) => {
    const short = name.endsWith(INPUT) ? name.slice(0, -INPUT.length) : name;
    return used.has(short) && bare(all[name]) !== bare(all[short]) ? name : short;
  };
  const schemas = Object.fromEntries([...used].sort().map((name) => [plain(name), all[name]]));
  return JSON.parse(JSON.stringify({ ...rest, components: { ...components, schemas } }), (key, value) =>
    key === '$ref' && String(value).startsWith(REFERENCE)
      ? `${REFERENCE}${plain(String(value).slice(REFERENCE.length))}`
      : value,
  );
}

/** A schema as text, whether it is of inputs or outputs. */
const bare = (schema: unknown): string => JSON.stringify(schema).replace(/("\$ref":"[^"]+?)Input"/g, '$1"');

function references(value: unknown): string[] {
  const text = JSON.stringify(value) ?? '';
  return [...text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name!);
}
