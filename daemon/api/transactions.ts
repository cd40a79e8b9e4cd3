// POST /transactions and GET /transactions/{id} (DESIGN §3). One envelope gets an answer of its own; of an array each element
// does, in its place, so that one bad envelope does not cost the others theirs. Nothing is answered before it is durable.
import { z } from 'zod';
import { Admitted, AdmittedItem, TransactionStatus } from '../../actors/admission.ts';
import { Bytes32 } from '../../actors/encoding.ts';
import { Envelope, type EnvelopeInput } from '../../actors/envelope.ts';
import { refusalOf } from '../../actors/refusal.ts';
import { isSealed, type Outcome, outcomeOf } from '../batches.ts';
import { type EnvelopeRecord, envelopeRecord } from '../records.ts';
import type { Sequencer } from '../sequencer.ts';
import { peerOf } from './door.ts';
import { NoQuery, within } from './input.ts';
import { Problem, problem, Refused, sendProblem } from './problem.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

export function transactions(app: App, { sequencer, allowance }: Modules): void {
  const { envelopes_max } = sequencer.config.api;

  app.post(
    '/transactions',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Submit encrypted transactions',
        description:
          'One envelope: 202 with its receipt, or a problem. An array: each is answered on its own and in its place, ' +
          'with `status` as if it had come alone; the answer as a whole is 202 when at least one was admitted, else ' +
          'the status of the first. The same envelope again gets its first receipt.',
        tags: ['transactions'],
        querystring: NoQuery,
        body: z.union([Envelope, z.array(Envelope).min(1).max(envelopes_max)]),
        response: {
          202: z.union([Admitted, z.array(z.union([AdmittedItem, Problem]))]),
          ...problems(
            ...(['empty_body', 'invalid_json', 'invalid_body', 'too_many_envelopes', 'invalid_query'] as const),
            ...(['epoch_not_accepted', 'body_too_large', 'unsupported_media_type', 'rate_limited'] as const),
            ...(['mempool_full', 'draining', 'store_unavailable', 'disk_low'] as const),
          ),
        },
      },
      // Before the body is read: who has nothing left is not worth parsing for, and what can't be parsed costs too.
      onRequest: async (request) => charge(peerOf(request.raw.socket).client, 1),
      // The body is validated in the handler, envelope by envelope.
      validatorCompiler: ({ schema, httpPart }) => {
        if (httpPart === 'body') return (data: unknown) => ({ value: data });
        return app.validatorCompiler!({ schema, httpPart } as never);
      },
    },
    async (request, reply) => {
      const { client } = peerOf(request.raw.socket);
      const body: unknown = request.body;
      if (body === undefined || body === null) return refuse(reply, 'empty_body');
      if (!Array.isArray(body)) {
        const answer = await submit(sequencer, body, undefined, client);
        if (answer.status !== 202) return sendProblem(reply, answer as Problem);
        const { status, ...admitted } = answer as AdmittedItem;
        return reply.code(status).send(admitted);
      }
      charge(client, Math.min(body.length, envelopes_max) - 1);
      if (body.length === 0 || body.length > envelopes_max) {
        const detail = `expected 1 to ${envelopes_max} envelopes, found ${body.length}`;
        return refuse(reply, 'too_many_envelopes', { detail });
      }
      const answers = await Promise.all(body.map((each, i) => submit(sequencer, each, i, client)));
      const first = answers.find(({ status }) => status === 202) ?? answers[0]!;
      const wait_s = Math.max(0, ...answers.map((each) => ('retry_after_s' in each ? (each.retry_after_s ?? 0) : 0)));
      if (wait_s > 0) reply.header('retry-after', wait_s);
      return reply.code(first.status as 202).send(answers);
    },
  );

  function charge(client: string | undefined, envelopes: number): void {
    if (envelopes <= 0) return;
    const allowed = allowance.take(client, envelopes);
    if (!allowed.ok) throw new Refused('rate_limited', { retry_after_s: allowed.retry_after_s });
  }

  app.get(
    '/transactions/:id',
    {
      config: { role: 'public' },
      schema: {
        summary: 'What became of an envelope',
        description: 'By the envelope id of its receipt or, once it is sequenced, by the hash of the transaction.',
        tags: ['transactions'],
        params: z.strictObject({ id: Bytes32 }),
        querystring: NoQuery,
        response: { 200: TransactionStatus, ...problems('invalid_path', 'invalid_query', 'transaction_not_found') },
      },
    },
    async (request, reply) => {
      const { store } = sequencer;
      const { id } = request.params;
      const envelope_id = envelopeRecord(store, id) === undefined ? store.get('hashes', id)?.envelope_id : id;
      const record = envelope_id === undefined ? undefined : envelopeRecord(store, envelope_id);
      if (record === undefined) return refuse(reply, 'transaction_not_found');
      const outcome = outcomeOf(store, record);
      return statusOf(record, outcome, outcome.status !== 'pending' && isSealed(store, outcome.height));
    },
  );
}

/** @param place  of the envelope in the body; undefined when it is the body */
async function submit(
  sequencer: Sequencer,
  input: unknown,
  place: number | undefined,
  client: string | undefined,
): Promise<AdmittedItem | Problem> {
  const admission = await sequencer.submitEncrypted(input as EnvelopeInput, client);
  if (admission.ok) {
    const { envelope_id, tx_id, receipt } = admission;
    return { status: 202, envelope_id, ...(tx_id !== null && { tx_id }), receipt };
  }
  if (admission.code === 'invalid_envelope') {
    return problem('invalid_body', { field: within(place, admission.field), detail: admission.detail });
  }
  const { ok: _, code, ...particulars } = admission;
  return problem(code, particulars);
}

function statusOf({ tx_id, receipt }: EnvelopeRecord, outcome: Outcome, sealed: boolean): TransactionStatus {
  const { status, ...place } = outcome;
  const reason = outcome.status === 'refused' ? refusalOf(outcome.code) : undefined;
  return {
    envelope_id: receipt.envelope_id,
    ...(tx_id !== null && { tx_id }),
    status,
    ...place,
    ...(reason !== undefined && { reason }),
    receipt,
    sealed,
  };
}
