// IPNS names over HTTP (DESIGN §10, §11): enrolling, newer records, removal and pages for whoever has the token of the role `names`.
// An entry of a batch is answered in its place, as if it had come alone; the words are those of the upstream's schedule.
import { z } from 'zod';
import { base64, Timestamp, timestamp, uint } from '../../actors/encoding.ts';
import { Enrolment, NAMES_PER_REQUEST_MAX, RecordUpdate } from '../../actors/enrolment.ts';
import { IpnsName } from '../../actors/ipns.ts';
import { NAME_STATES } from '../../actors/words.ts';
import { contextOf, stateOf } from '../names/record.ts';
import { type Enrolled, type Refusal, reasonOf, type Shown } from '../names.ts';
import { integer, NoQuery, within } from './input.ts';
import { Problem, problem, sendProblem } from './problem.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

const PAGE_DEFAULT = 100;
const PAGE_MAX = 1_000;

export const ShownName = z
  .strictObject({
    ipnsName: z.string(),
    status: z.enum(NAME_STATES),
    lastError: z.string().nullable().describe('Why it failed last, or is quarantined; null once it is published.'),
    consecutiveFailures: z.int(),
    value: z.string().describe('What it points to.'),
    sequenceNumber: z.string(),
    keyEpoch: uint(32).describe('Whose key wraps its key.'),
    expiresAt: Timestamp.describe('End of life of the newest record.'),
    nextRepublishAt: Timestamp.nullable().describe('Null while it is quarantined.'),
    lastRepublishAt: Timestamp.nullable().describe('Null before the first time.'),
    enrolledAt: Timestamp,
    record: z.string().optional().describe('The newest record, base64; where one name is asked for.'),
  })
  .meta({ id: 'IpnsName' });
export type ShownName = z.output<typeof ShownName>;
const EnrolledItem = ShownName.extend({ httpStatus: z.union([z.literal(200), z.literal(201)]) }).meta({
  id: 'EnrolledName',
});

export const ListedNames = z
  .strictObject({
    names: z.array(ShownName),
    next: z.string().nullable().describe('`after` of the next page; null on the last.'),
    total: z.int(),
  })
  .meta({ id: 'IpnsNames' });

export const RemovedName = z.strictObject({ ipnsName: z.string() }).meta({ id: 'RemovedName' });

const Params = z.strictObject({ name: IpnsName });
const BODY = ['empty_body', 'invalid_json', 'invalid_body', 'body_too_large', 'unsupported_media_type'] as const;
const COMMON = ['unauthorized', 'forbidden', 'invalid_query', 'names_off', 'store_unavailable'] as const;
/** Of a name that is asked for without a body. */
const NAMED = [
  'unauthorized',
  'forbidden',
  'invalid_path',
  'invalid_query',
  'name_not_found',
  'store_unavailable',
] as const;
const RECORD = ['record_invalid', 'record_foreign', 'record_expired', 'record_outdated', 'record_conflict'] as const;
const KEY = ['key_unopenable', 'key_foreign', 'key_epoch_not_accepted'] as const;

export function names(app: App, { sequencer }: Modules): void {
  const { names: room, store } = sequencer;
  const role = { config: { role: 'names' as const } };

  app.post(
    '/names',
    {
      ...role,
      schema: {
        summary: 'Have IPNS names republished',
        description:
          'One enrolment, or an array of up to 200, each answered in its place: `httpStatus` 201 for a new name, 200 for one that was known, or a problem. ' +
          'Of an array the whole answer is 200 when at least one was taken, else the status of the first.',
        tags: ['names'],
        querystring: NoQuery,
        body: z.union([Enrolment, z.array(Enrolment).min(1).max(NAMES_PER_REQUEST_MAX)]),
        response: {
          200: z.union([ShownName, z.array(z.union([EnrolledItem, Problem]))]),
          201: ShownName,
          ...problems(...BODY, ...COMMON, ...RECORD, ...KEY, 'too_many_names', 'name_repeated', 'names_full'),
        },
      },
      // Validated by the room, entry by entry.
      validatorCompiler: ({ schema, httpPart }) => {
        if (httpPart === 'body') return (data: unknown) => ({ value: data });
        return app.validatorCompiler!({ schema, httpPart } as never);
      },
    },
    async (request, reply) => {
      const body: unknown = request.body;
      if (body === undefined || body === null) return refuse(reply, 'empty_body');
      if (!Array.isArray(body)) {
        const [answer] = await room.enrol([body]);
        if (!answer!.ok) return sendProblem(reply, problemOf(answer!));
        return reply.code(answer!.created ? 201 : 200).send(shown(answer!));
      }
      if (body.length === 0 || body.length > NAMES_PER_REQUEST_MAX) {
        const detail = `expected 1 to ${NAMES_PER_REQUEST_MAX} names, found ${body.length}`;
        return refuse(reply, 'too_many_names', { detail });
      }
      const answers = (await room.enrol(body)).map((each, i) =>
        each.ok ? { ...shown(each), httpStatus: each.created ? (201 as const) : (200 as const) } : problemOf(each, i),
      );
      const taken = answers.some((each) => 'httpStatus' in each);
      const status = taken ? 200 : (answers[0] as Problem).status;
      return reply.code(status as 200).send(answers);
    },
  );

  app.get(
    '/names',
    {
      ...role,
      schema: {
        summary: 'Enrolled names, in pages',
        tags: ['names'],
        querystring: z.strictObject({
          after: IpnsName.optional(),
          state: z
            .enum(NAME_STATES)
            .optional()
            .describe('A page may then hold fewer than asked for, and still have a next.'),
          limit: integer(1, PAGE_MAX).default(PAGE_DEFAULT),
        }),
        response: { 200: ListedNames, ...problems('unauthorized', 'forbidden', 'invalid_query', 'store_unavailable') },
      },
    },
    async (request) => {
      const page = room.list(request.query);
      return { names: page.names.map((each) => shown(each)), next: page.next, total: store.count('names') };
    },
  );

  app.get(
    '/names/:name',
    {
      ...role,
      schema: {
        summary: 'Where a name stands, and its newest record',
        tags: ['names'],
        params: Params,
        querystring: NoQuery,
        response: {
          200: ShownName,
          ...problems(...NAMED),
        },
      },
    },
    async (request, reply) => {
      const found = room.show(request.params.name);
      if (found === undefined) return refuse(reply, 'name_not_found');
      return { ...shown(found), record: base64(found.record.held.record) };
    },
  );

  app.put(
    '/names/:name/record',
    {
      ...role,
      schema: {
        summary: 'A newer record of the owner',
        description: 'It goes out at once. The one that is held, or an older form of it, is no error.',
        tags: ['names'],
        params: Params,
        querystring: NoQuery,
        body: RecordUpdate,
        response: { 200: ShownName, ...problems(...BODY, ...COMMON, ...RECORD, 'invalid_path', 'name_not_found') },
      },
    },
    async (request, reply) => {
      const answer = await room.update(request.params.name, request.body);
      return answer.ok ? shown(answer) : sendProblem(reply, problemOf(answer));
    },
  );

  app.delete(
    '/names/:name',
    {
      ...role,
      schema: {
        summary: 'Republish a name no more',
        description: 'Its key is removed; what is published ends by itself.',
        tags: ['names'],
        params: Params,
        querystring: NoQuery,
        response: {
          200: RemovedName,
          ...problems(...NAMED),
        },
      },
    },
    async (request, reply) => {
      if (!(await room.remove(request.params.name))) return refuse(reply, 'name_not_found');
      return { ipnsName: request.params.name };
    },
  );

  /** @param place  of the entry in the body; undefined when it is the body */
  function problemOf(refused: Refusal, place?: number): Problem {
    if (refused.code === 'invalid_name') {
      return problem('invalid_body', { field: within(place, refused.field), detail: refused.detail });
    }
    if (refused.code === 'epoch_not_accepted') {
      const { keys, keyset } = sequencer.epoch;
      return problem('key_epoch_not_accepted', { current_epoch: keys.epoch, keyset_digest: keyset.digest });
    }
    return problem(refused.code);
  }
}

function shown({ name, record, key_epoch }: Shown | Extract<Enrolled, { ok: true }>): ShownName {
  const { held, due_ms, published_at_ms, enrolled_at_ms } = record;
  return {
    ipnsName: name,
    status: stateOf(record),
    lastError: reasonOf(record),
    consecutiveFailures: contextOf(record).failures,
    value: held.value,
    sequenceNumber: String(held.sequence),
    keyEpoch: key_epoch,
    expiresAt: timestamp(held.eol_ms),
    nextRepublishAt: due_ms === null ? null : timestamp(due_ms),
    lastRepublishAt: published_at_ms === null ? null : timestamp(published_at_ms),
    enrolledAt: timestamp(enrolled_at_ms),
  };
}
