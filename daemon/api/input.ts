// What comes from outside, strictly: path and query parameters as exact integers with bounds, bodies as JSON in UTF-8, and
// the name of the field that is wrong. Every route's schemas are made of these, so unknown keys are refused everywhere.
import { isUtf8 } from 'node:buffer';
import type { FastifyInstance, FastifySchemaCompiler } from 'fastify';
import { z } from 'zod';
import { Refused } from './problem.ts';

/** What a JSON number can say exactly. */
export const INTEGER_MAX = Number.MAX_SAFE_INTEGER;

const FIELD_CHARACTERS_MAX = 128;

/** A decimal integer in a URL: digits alone, no sign, no leading zeros. */
export function integer(minimum: number, maximum = INTEGER_MAX) {
  const expected = `expected an integer from ${minimum} to ${maximum}`;
  return z
    .string(expected)
    .regex(/^(?:0|[1-9]\d{0,15})$/, expected)
    .transform(Number)
    .pipe(z.int(expected).min(minimum, expected).max(maximum, expected))
    .meta({ type: 'integer', minimum, maximum });
}

/** The query of a route that takes none. */
export const NoQuery = z.strictObject({});

/** `['3', 'priority_fee']` → `[3].priority_fee`. Keys that a client chose are cut short. */
export function fieldName(path: readonly PropertyKey[]): string {
  const name = path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
  return name.length > FIELD_CHARACTERS_MAX ? `${name.slice(0, FIELD_CHARACTERS_MAX)}…` : name;
}

/** A field's name from outside the value that it is in. @param place  index of the value in the body; none when it is the body */
export function within(place: number | undefined, field: string): string {
  if (place === undefined) return field;
  return field === '' || field.startsWith('[') ? `[${place}]${field}` : `[${place}].${field}`;
}

/** The first thing that is wrong. */
export function firstIssue(error: z.core.$ZodError): { field: string; detail: string } {
  const issue = error.issues[0]!;
  const path = issue.path;
  if (issue.code === 'unrecognized_keys') return { field: fieldName([...path, issue.keys[0]!]), detail: 'unknown key' };
  return { field: fieldName(path), detail: issue.message.replace(/^Invalid input: /, '') };
}

const CODES = { body: 'invalid_body', querystring: 'invalid_query', params: 'invalid_path' } as const;

/** Validates with the zod schema of a route. Headers have none. */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> = ({ schema, httpPart }) => {
  const code = CODES[httpPart as keyof typeof CODES] ?? 'bad_request';
  return (data) => {
    if (httpPart === 'body' && (data === undefined || data === null)) return { error: new Refused('empty_body') };
    const result = schema.safeParse(data);
    return result.success ? { value: result.data } : { error: new Refused(code, firstIssue(result.error)) };
  };
};

/** The only bodies there are: JSON, in UTF-8, not compressed, without keys that reach for prototypes. */
export function acceptJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'ignore');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') return done(new Refused('unsupported_media_type'));
    if (body.length === 0) return done(new Refused('empty_body'));
    if (!isUtf8(body)) return done(new Refused('invalid_json', { detail: 'not UTF-8' }));
    const text = body.toString('utf8');
    parse(request, text, (error, value) =>
      done(error === null ? null : new Refused('invalid_json', whereIn(text)), value),
    );
  });
}

/** Where a text stops being JSON, when V8 tells it without showing what stands there. */
function whereIn(text: string): { position?: number; detail?: string } {
  try {
    JSON.parse(text);
    return { detail: 'the key __proto__ is not allowed' };
  } catch (error) {
    const { message } = error as Error;
    if (message.startsWith('Unexpected end')) return { position: text.length, detail: 'it ends too early' };
    const position = / in JSON at position (\d+)/.exec(message)?.[1];
    return position === undefined ? {} : { position: Number(position) };
  }
}
