// What comes from outside, strictly: path and query parameters as exact integers with bounds, bodies as JSON in UTF-8, and
// the name of the field that is wrong. Every route's schemas are made of these, so unknown keys are refused everywhere.
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { FastifyInstance, FastifyRequest, FastifySchemaCompiler } from 'fastify';
import { z } from 'zod';
import { parseStrict } from '../../client/json.ts';
import type { Budget } from './budget.ts';
import { peerOf } from './door.ts';
import { Refused } from './problem.ts';

/** What a JSON number can say exactly. */
export const INTEGER_MAX = Number.MAX_SAFE_INTEGER;

const FIELD_CHARACTERS_MAX = 128;

const DEPTH_MAX = 32;
const MARKS_MAX = 65_536;

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

/** The only bodies there are: JSON, in UTF-8, not compressed, of a modest shape, without keys that reach for prototypes. */
export function acceptJson(app: FastifyInstance, budget: Budget): void {
  const parse = app.getDefaultJsonParser('error', 'ignore');
  const { bodyLimit: bytes_max = 0 } = app.initialConfig;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', async (request: FastifyRequest, payload: IncomingMessage) => {
    const encoding = request.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity') throw new Refused('unsupported_media_type');
    const body = await collect(payload, bytes_max, budget, peerOf(request.raw.socket).client);
    if (body.length === 0) throw new Refused('empty_body');
    if (!isUtf8(body)) throw new Refused('invalid_json', { detail: 'not UTF-8' });
    const { members, immodest } = shapeOf(body);
    if (immodest !== undefined) throw new Refused('invalid_body', { field: '', detail: immodest });
    const text = body.toString('utf8');
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    parse(request, text, (error, value) =>
      error === null ? resolve(value) : reject(new Refused('invalid_json', whereIn(text))),
    );
    const value = await promise;
    // Of two equal keys JSON.parse keeps the last: what was signed, logged or checked on the way here could be the first.
    if (keysIn(value) < members)
      throw new Refused('invalid_body', { field: repeated(text), detail: 'a key is there twice' });
    return value;
  });
}

/** A body's bytes, counted while they come in. What is refused is read to its end and thrown away, so that the answer arrives. */
function collect(payload: IncomingMessage, bytes_max: number, budget: Budget, client?: string): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let length = 0;
  const end = (refused?: Error) => {
    payload.off('data', add).off('end', whole).off('error', fail).off('close', fail);
    budget.give(client, length);
    if (refused === undefined) return resolve(Buffer.concat(chunks, length));
    payload.on('error', () => {}).resume();
    reject(refused);
  };
  const whole = () => end();
  const fail = () => end(new Refused('bad_request'));
  const add = (chunk: Buffer) => {
    if (length + chunk.length > bytes_max) return end(new Refused('body_too_large'));
    if (budget.isSpent(client)) {
      return end(new Refused('rate_limited', { retry_after_s: 1, detail: 'too many bodies are on their way' }));
    }
    budget.take(client, chunk.length);
    length += chunk.length;
    chunks.push(chunk);
  };
  if (Number(payload.headers['content-length'] ?? 0) > bytes_max) return Promise.reject(new Refused('body_too_large'));
  payload
    .on('data', add)
    .on('end', () => end())
    .on('error', fail)
    .on('close', fail);
  return promise;
}

const [QUOTE, BACKSLASH, COMMA, COLON] = [0x22, 0x5c, 0x2c, 0x3a];
const OPENING = [0x5b, 0x7b];
const CLOSING = [0x5d, 0x7d];

interface Shape {
  /** Of all objects: a colon stands behind each key. */
  readonly members: number;
  readonly immodest?: string;
}

/**
 * What makes JSON costly beyond its bytes. A megabyte of brackets or of keys takes the main thread and its collector for a
 * second; 256 envelopes with every field at its limit stay below a third of this, three deep.
 */
function shapeOf(body: Buffer): Shape {
  let depth = 0;
  let marks = 0;
  let members = 0;
  for (let i = 0; i < body.length && marks <= MARKS_MAX; i++) {
    const byte = body[i]!;
    if (byte === QUOTE) {
      do {
        marks += 1;
        i = body.indexOf(QUOTE, i + 1);
        // It ends too early, as the parser will say.
        if (i === -1) return { members };
      } while (marks <= MARKS_MAX && isEscaped(body, i));
    } else if (byte === COMMA || byte === COLON) {
      marks += 1;
      if (byte === COLON) members += 1;
    } else if (CLOSING.includes(byte)) depth -= 1;
    else if (OPENING.includes(byte)) {
      marks += 1;
      depth += 1;
      if (depth > DEPTH_MAX) return { members, immodest: `expected arrays and objects at most ${DEPTH_MAX} deep` };
    }
  }
  if (marks <= MARKS_MAX) return { members };
  return { members, immodest: `expected at most ${MARKS_MAX} marks (strings, commas, colons, brackets)` };
}

/** At most `DEPTH_MAX` deep. */
function keysIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  if (Array.isArray(value)) return value.reduce<number>((sum, each) => sum + keysIn(each), 0);
  return Object.entries(value).reduce((sum, [, each]) => sum + 1 + keysIn(each), 0);
}

/** Which key it is, of a text that has one twice; nothing where another oddity hides it. */
function repeated(text: string): string {
  const parsed = parseStrict(text);
  return parsed.ok || !/twice/.test(parsed.message) ? '' : parsed.field.slice(0, FIELD_CHARACTERS_MAX);
}

/** An odd number of backslashes stands before it. */
function isEscaped(body: Buffer, at: number): boolean {
  let first = at;
  while (body[first - 1] === BACKSLASH) first -= 1;
  return (at - first) % 2 === 1;
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
