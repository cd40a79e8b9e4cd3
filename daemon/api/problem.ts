// Every error of the API in one table: code → HTTP status, sentence, and what to do next. An error leaves as an RFC 9457
// problem document, made here from a code and what is particular to the case; the docs are generated from the same table,
// and test/errors.test.ts provokes each. A code is stable, texts may be reworded. Nothing that came from inside (a stack, a
// path, a fault's text) is ever part of one.
import type { FastifyError, FastifyReply } from 'fastify';
import { z } from 'zod';
import { Bytes32, Counter, Digest, uint } from '../../actors/encoding.ts';
import { SCHEMES } from '../../actors/envelope.ts';
import { Fault } from '../fault.ts';
import { STATUS_CODES } from '../http.ts';

export const PROBLEMS = {
  bad_request: [
    400,
    'The request is not valid HTTP, or its URL cannot be read.',
    'Send HTTP/1.1 with a percent-encoded URL; a TLS client needs api.tls, or a proxy in front.',
  ],
  too_many_names: [
    400,
    'The array holds no name, or more than one request may carry.',
    'Send fewer in each request, at least one; `detail` has the bound.',
  ],
  name_repeated: [400, 'The name stands earlier in the same array.', 'Send each name once; its newest record counts.'],
  record_invalid: [
    400,
    'The record is no IPNS record, or says more than its five fields.',
    'Send the bytes of the record as they were published: V2, canonical DAG-CBOR, at most 10 KiB.',
  ],
  record_foreign: [
    400,
    'The record is not signed by the key of the name.',
    'Check that record and name belong together; the name is of the key that signs.',
  ],
  record_expired: [400, 'The life of the record has ended.', 'Have the owner sign a new one; it need not live long.'],
  key_unopenable: [
    400,
    'The encrypted key does not open.',
    'Encrypt the 32-byte seed to the names key of `keyEpoch` (GET /public-key?epoch=), in the ecies format of eciesjs.',
  ],
  key_foreign: [
    400,
    'The encrypted key is not the key of the name.',
    'Check that key and name belong together: the name is of its public half.',
  ],
  empty_body: [400, 'The body is empty; send JSON.', 'Send one envelope, or an array of them, as the body.'],
  invalid_json: [
    400,
    'The body is not JSON in UTF-8.',
    'Mend what stands at `position`; let a JSON library write the body.',
  ],
  invalid_body: [
    400,
    'A field of the body is missing, unknown or wrong; `field` names it.',
    'Mend the field as `detail` says; docs/schema/envelope.json has its shape.',
  ],
  too_many_envelopes: [
    400,
    'The array holds no envelope, or more than one request may carry.',
    'Send fewer in each request, at least one; `detail` has the bound.',
  ],
  invalid_query: [
    400,
    'A query parameter is missing, unknown or wrong; `field` names it.',
    'Mend or leave out the parameter; /openapi.json lists those of each route.',
  ],
  invalid_path: [
    400,
    'A part of the path is wrong; `field` names it.',
    'Mend it: heights and sizes are plain decimal numbers, ids are 0x and 64 lower-case hex digits.',
  ],
  stream_unknown: [
    400,
    'The body is no stream that Aegis has encrypted, or one of another version.',
    'Send what /assets/{id}/encrypt gave, from its first byte.',
  ],
  stream_foreign: [
    400,
    'The stream was encrypted for another asset.',
    'Decrypt it under the id that it was encrypted for.',
  ],
  stream_truncated: [400, 'The stream ends before its last chunk does.', 'Fetch or copy it again, whole.'],
  stream_reordered: [
    400,
    'A chunk of the stream stands at another place than it was encrypted for.',
    'Fetch it again, or put its parts together in their order; somebody may have tampered with it.',
  ],
  stream_altered: [
    400,
    'A chunk of the stream is not authentic, or something stands behind its end.',
    'Fetch it again from where it was kept; somebody may have tampered with it.',
  ],
  unauthorized: [
    401,
    'This route needs a bearer token over TCP.',
    'Send `Authorization: Bearer` with the token of the role, or ask through the unix socket.',
  ],
  forbidden: [
    403,
    'The token is valid, but its role does not open this route.',
    'Use a token of the role that the route names, or of admin.',
  ],
  order_admin_unknown: [
    403,
    'The log knows no admin of this id.',
    'Sign with a key that /admin/keys lists; they were fixed when the log began.',
  ],
  order_signature_invalid: [
    403,
    'The signature is not one of this admin over this order.',
    'Sign the order as it is, with the context `aegis/order/v1`; `aegisd admin sign` does.',
  ],
  grant_missing: [
    403,
    'The token’s role was not granted this on the data of the asset.',
    'Use an admin’s token, or have the operator change `grants` with PATCH /assets/{id}/policy.',
  ],
  operation_not_allowed: [
    403,
    'The policy of the asset does not allow the operation.',
    'Look at allowed_operations in /assets/protection/{id}; only the operator can change them.',
  ],
  asset_protected: [
    403,
    'The asset is protected while the risk is high, and this is no emergency operation.',
    'Wait for a lower level (/assets says it), or use an operation of emergency_operations.',
  ],
  route_not_found: [
    404,
    'There is nothing at this path; /openapi.json lists the routes.',
    'Check the path: no slash at its end, lower case, and the daemon’s version.',
  ],
  transaction_not_found: [
    404,
    'No envelope and no sequenced transaction has this id.',
    'Ask by the envelope_id of the receipt. If a receipt for it verifies, keep the receipt: a promise was broken.',
  ],
  batch_not_found: [
    404,
    'No batch of this height is signed yet.',
    'Ask again when the feed says batch_created; /sequencer/status has the newest height.',
  ],
  leaf_not_found: [
    404,
    'The log has no such leaf, or no head of such a size, yet.',
    'Ask for less than `size`, or again when the log has grown.',
  ],
  epoch_not_found: [
    404,
    'There is no keyset of this epoch, or it has no key of this kind.',
    'Take an epoch that /epochs lists.',
  ],
  name_not_found: [404, 'The name is not enrolled.', 'Enrol it with POST /names; GET /names lists those that are.'],
  asset_not_found: [404, 'No asset is registered under this id.', 'Check the id; /assets lists those that there are.'],
  method_not_allowed: [405, 'The path exists, but not with this method; see Allow.', 'Use a method that Allow lists.'],
  request_timeout: [
    408,
    'The request took longer to arrive than request_timeout_ms allows.',
    'Send it again without a pause in between; over a slow line send fewer envelopes in each.',
  ],
  key_epoch_not_accepted: [
    409,
    'Keys of names that are encrypted to this epoch are not taken; encrypt to the current one.',
    'Fetch the names key of `current_epoch` (GET /public-key), verify its keyset, and encrypt the key again.',
  ],
  record_outdated: [
    409,
    'A record with a higher sequence is held already.',
    'Resolve the name, make a record with a higher sequence than it has, and send that.',
  ],
  record_conflict: [
    409,
    'The record has the sequence of the one that is held, and another value.',
    'Make a record with a higher sequence: two values under one sequence leave it to chance what others see.',
  ],
  epoch_not_accepted: [
    409,
    'Envelopes of this epoch are not admitted; encrypt to the current keyset.',
    'Fetch and verify the keyset of `current_epoch`, and encrypt the transaction again.',
  ],
  order_wrong_log: [
    409,
    'The order is for another log.',
    'Sign an order for the log_id that /log/head has; check that this is the daemon that you mean.',
  ],
  order_expired: [
    409,
    'The order could be executed until not_after_ms, which has passed.',
    'Look in /admin/orders whether it was; if not, sign a new one. Its time is judged by the newest batch as well.',
  ],
  order_lifetime_too_long: [
    409,
    'The order would be good for more than 30 days.',
    'Sign one that expires sooner, and hand it in when it is needed.',
  ],
  order_replayed: [
    409,
    'An order with this nonce was executed before; it counts once.',
    'Nothing, if it was this one: /admin/orders has it at `leaf_index`. To do the same again sign a new order.',
  ],
  act_refused: [
    409,
    'The order is genuine, but what it says cannot be done now; nothing was changed.',
    'Read `detail`. The same order can be handed in again, as long as it has not expired.',
  ],
  indicator_not_found: [
    404,
    'No indicator of this id was reported here.',
    'Take an id that GET /qrm/indicators lists under operator/, without that; feeds and the daemon take back their own.',
  ],
  scheme_not_accepted: [
    409,
    'Envelopes of this scheme are not admitted since the risk score called an emergency.',
    'Encrypt the transaction again with a scheme of `schemes`: x-wing, which no quantum computer opens.',
  ],
  simulation_not_allowed: [
    409,
    'The configuration allows no simulated threats: what the score does about one is real.',
    'Set risk.simulation = true and restart; a daemon in production refuses that.',
  ],
  simulation_running: [409, 'A simulated threat is playing.', 'Stop it first, or wait for its end.'],
  simulation_not_running: [409, 'No simulated threat is playing.', 'Nothing: it may have come to its end.'],
  data_key_missing: [
    409,
    'Nothing was ever encrypted for the asset, so there is no key.',
    'Check the id; encrypt something first.',
  ],
  asset_exists: [
    409,
    'Another asset, or this one with another policy, is registered under this id.',
    'Change its policy with PATCH /assets/{id}/policy, or take another id. The same registration again is no error.',
  ],
  asset_frozen: [
    409,
    'The asset is part of a migration, and keeps its policy until that ends.',
    'Complete or roll back the migration first; GET /migration/status has its state.',
  ],
  migration_running: [
    409,
    'A migration is running: no asset is registered, changed or removed, and no other migration starts.',
    'Complete it or roll it back first; GET /migration/status has its state and its checkpoint.',
  ],
  migration_not_running: [
    409,
    'No migration is running.',
    'Start one with POST /migration/start; GET /migration/status has the newest.',
  ],
  migration_preparing: [
    409,
    'The checkpoint of the migration is not signed yet.',
    'Wait until GET /migration/status says Migrating, then ask again; or roll it back.',
  ],
  migration_ending: [
    409,
    'The migration has been completed or rolled back, which is being carried out.',
    'Nothing: GET /migration/status tells when it is over.',
  ],
  checkpoint_not_found: [
    404,
    'There is no such checkpoint, or its snapshots are gone.',
    'Take one that GET /migration/status lists; migration.checkpoints_max says how many keep their snapshots.',
  ],
  checkpoint_not_running: [
    409,
    'The checkpoint is not that of the migration that runs.',
    'Name the one that GET /migration/status has; older ones complete and restore nothing.',
  ],
  checkpoint_foreign: [
    409,
    'The checkpoint is of another log.',
    'Check that this is the daemon that you mean; /log/head has its log_id.',
  ],
  checkpoint_altered: [
    400,
    'The checkpoint differs from the one that was signed under this id.',
    'Give it as the batch has it, or its checkpoint_id alone; somebody may have tampered with it.',
  ],
  asset_has_key: [
    409,
    'Data was encrypted for the asset, and could never be read again.',
    'Decrypt what is still needed, then ask again with lose_key=true.',
  ],
  address_full: [
    409,
    'As many assets as one transaction can declare are registered at this contract.',
    'Remove one of them, or put its operations into the policy of another.',
  ],
  rotation_pending: [
    409,
    'A rotation is announced already, and one is enough.',
    'Wait until it is executed; /epochs/rotations has it. One for a compromise comes forward and is never refused for this.',
  ],
  too_many_epochs: [
    409,
    'Too many epochs are in grace, and each keeps keys in memory.',
    'Wait until one retires: /epochs says until when its grace lasts, and what its backlog is.',
  ],
  future_cursor: [
    409,
    'The cursor is beyond the newest entry of the journal.',
    'Check that this is the same log_id as before; if so, an acknowledged journal was lost: tell the operator.',
  ],
  data_key_retired: [
    410,
    'The data key is wrapped by an epoch that was retired by force; it is lost.',
    'Restore the store from a backup of before; /epochs lists the backlog of each epoch before it retires.',
  ],
  outdated_cursor: [
    410,
    'Entries behind the cursor have been pruned; the oldest kept one is named.',
    'Go on behind the cursor before `oldest`, and take what is missing from /batches and /log/entries.',
  ],
  body_too_large: [
    413,
    'The body is larger than body_bytes_max allows.',
    'Send fewer envelopes in each request; one alone always fits.',
  ],
  unsupported_media_type: [
    415,
    'Send application/json, without a content encoding.',
    'Set `Content-Type: application/json` and do not compress the body.',
  ],
  upgrade_required: [
    426,
    'The feed speaks WebSocket; /feed/entries pages the same over HTTP.',
    'Open it with a WebSocket client, or ask /feed/entries; a proxy in between must let upgrades through.',
  ],
  rate_limited: [
    429,
    'This address has used up its allowance of envelopes; see Retry-After.',
    'Wait as long as Retry-After says; refused envelopes and quotes over a nonce cost more than others.',
  ],
  headers_too_large: [
    431,
    'The headers are larger than this server reads.',
    'Send less than 16 KiB of headers; most often it is cookies that a proxy or browser adds.',
  ],
  internal_error: [
    500,
    'The daemon made a mistake; its log has the details.',
    'The same request will fail again. Operator: the line `a request failed` of the log has the error; report it.',
  ],
  act_not_supported: [
    501,
    'The order is genuine, but this daemon cannot do such an act; nothing was changed.',
    'Run a version that can: the order stays good until it expires.',
  ],
  checkpoint_running: [
    503,
    'A checkpoint of all assets is being taken, which holds them still for a moment.',
    'Ask again after Retry-After.',
  ],
  mempool_full: [
    503,
    'The pool of pending envelopes is full; see Retry-After.',
    'Send the same envelope again after Retry-After. Operator: mempool.capacity is the bound.',
  ],
  handover_not_open: [
    409,
    'No handover is open here.',
    'Operator: `aegisd handover <url>` on the enclave that hands over, once its successor runs.',
  ],
  handover_no_url: [
    409,
    'Nobody has said where clients are to go on.',
    'Give the URL of the successor, or set handover.successor_url.',
  ],
  handover_ended: [
    409,
    'This enclave has ended, for the successor that GET /handover names; no other can come.',
    'Go on at the successor.',
  ],
  handover_session_unknown: [
    409,
    'There is no such transfer, or it is over, or this is not what comes next in it.',
    'Greet again: the state is given from its beginning.',
  ],
  handover_not_accepted: [
    409,
    'What was accepted is not what was handed over.',
    'Take the state again; nothing has ended by it.',
  ],
  successor_other_schema: [
    409,
    'The successor keeps another version of the store.',
    'Hand over between releases with one schema; `detail` has the one that is here.',
  ],
  successor_keyset_refused: [
    409,
    'The keyset of the successor is not the one of the next epoch of this log.',
    'Start it with the settings of this log; `detail` says what was expected.',
  ],
  successor_evidence_refused: [
    403,
    'The evidence of the successor does not verify.',
    'Check attestation.policy of the predecessor: it must allow the root of the successor’s platform. `detail` says why.',
  ],
  successor_not_allowed: [
    403,
    'No order of an admin lets this enclave succeed.',
    'Have an admin sign `allow_measurement` for what GET /attestation of a daemon on the new image measures.',
  ],
  successor_not_in_force: [
    403,
    'The order that lets this enclave succeed is not in force yet.',
    'Wait until `in_force_after_ms` of it has come, and the daemon has run as long; GET /handover lists it.',
  ],
  handover_not_drained: [
    503,
    'What was in hand was not signed and sealed in time, so nothing was handed over.',
    'Try again; look at /ready and at handover.drain_timeout_ms.',
  ],
  handover_running: [
    503,
    'A successor enclave takes the state at this moment; nothing is changed meanwhile.',
    'Send it again after Retry-After, or at `successor_url` once that answers.',
  ],
  handed_over: [
    503,
    'This enclave has handed its log over and will never sign again.',
    'Send it to `successor_url`; receipts, proofs and cursors of this log go on there.',
  ],
  draining: [
    503,
    'The daemon is ending and admits nothing any more.',
    'Send the same envelope again once the daemon is back; what has a receipt is kept.',
  ],
  store_unavailable: [
    503,
    'The store cannot be read or written at the moment; nothing was admitted.',
    'Send the same envelope again after Retry-After. Operator: `aegisd status` says what the disk answered.',
  ],
  disk_low: [
    503,
    'The disk is nearly full, so nothing is admitted.',
    'Send the same envelope again later. Operator: make room on the disk of state_dir; store.free_bytes_min is the bound.',
  ],
  keys_unavailable: [
    503,
    'The key source gave no keys for the next epoch, or they did not pass their test; nothing was announced.',
    'Ask again. Operator: the log says which, and docs/errors.md what to do about it.',
  ],
  attestation_unavailable: [
    503,
    'The platform gave no quote, or too many requests wait for one.',
    'Ask again after Retry-After, and without a nonce where the newest quote will do. Operator: see the log for quote_failed.',
  ],
  evidence_missing: [
    503,
    'The asset takes nothing while the attestation of the enclave is not valid.',
    'Ask again once /ready shows the attestation. Operator: see the log for quote_failed.',
  ],
  streams_busy: [503, 'As many streams as may be are being encrypted or decrypted.', 'Ask again after Retry-After.'],
  names_off: [
    503,
    'This daemon republishes no names: no router is configured.',
    'Operator: names.router is where records go; it takes a restart.',
  ],
  names_full: [503, 'As many names as may be are enrolled.', 'Operator: names.names_max is the bound.'],
  worker_off: [
    503,
    'The worker protocol is not served here.',
    'Enrol names with POST /names instead. Operator: names.worker turns it on, and says what that means.',
  ],
  feed_full: [
    503,
    'The feed serves as many clients as it may.',
    'Connect again later, or page /feed/entries meanwhile. Operator: feed.clients_max is the bound.',
  ],
} as const satisfies Record<string, readonly [status: number, title: string, remedy: string]>;

export type ProblemCode = keyof typeof PROBLEMS;
export const PROBLEM_CODES = Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]];
export const PROBLEM_TYPE = 'application/problem+json';

/** What may stand beside the code; all of it is for programs. */
const Extensions = z.object({
  field: z.string().optional().describe('The first field that is wrong, such as `[3].priority_fee`.'),
  position: z.int().optional().describe('Where in the body, in characters, it stops being JSON.'),
  retry_after_s: z.int().optional().describe('The same as Retry-After.'),
  current_epoch: uint(32).optional(),
  keyset_digest: Digest.optional().describe('Of the current keyset.'),
  schemes: z.array(z.enum(SCHEMES)).optional().describe('What envelopes may come under.'),
  size: Counter.optional().describe('Of the log.'),
  oldest: Counter.optional().describe('The oldest cursor that is kept.'),
  newest: Counter.optional().describe('The newest cursor.'),
  envelope_id: Bytes32.optional(),
  leaf_index: Counter.optional().describe('Of the order that has used the nonce, in the log.'),
  successor_url: z.string().optional().describe('Where the log goes on.'),
});
type Extensions = z.output<typeof Extensions>;

export const Problem = z
  .strictObject({
    type: z.string().describe('`urn:aegis:problem:` and the code.'),
    title: z.string(),
    status: z.int(),
    code: z.enum(PROBLEM_CODES),
    remedy: z.string().describe('What to do next.'),
    detail: z.string().optional(),
    ...Extensions.shape,
  })
  .meta({ id: 'Problem' });
export type Problem = z.output<typeof Problem>;

export type Particulars = Extensions & { readonly detail?: string | undefined };

export function problem(code: ProblemCode, particulars: Particulars = {}): Problem {
  const [status, title, remedy] = PROBLEMS[code];
  return { type: `urn:aegis:problem:${code}`, title, status, code, remedy, ...particulars };
}

/** A refusal on its way through Fastify, which only carries errors. Thrown at the borders: validation, parsing, hooks. */
export class Refused extends Error {
  readonly problem: Problem;

  constructor(code: ProblemCode, particulars: Particulars = {}) {
    super(code);
    this.problem = problem(code, particulars);
  }
}

const sent = new WeakMap<FastifyReply, ProblemCode>();

/** What a reply ended with, where that was a problem; for metrics. */
export const problemSent = (reply: FastifyReply): ProblemCode | undefined => sent.get(reply);

export function sendProblem(reply: FastifyReply, found: Problem): FastifyReply {
  sent.set(reply, found.code);
  if (found.retry_after_s !== undefined) reply.header('retry-after', found.retry_after_s);
  reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
  if (found.code === 'unauthorized') reply.header('www-authenticate', 'Bearer realm="aegis"');
  // As bytes: to a text Fastify would add a charset, which this media type does not have.
  return reply
    .code(found.status)
    .type(PROBLEM_TYPE)
    .send(Buffer.from(JSON.stringify(found)));
}

const OF_FASTIFY: Readonly<Record<string, ProblemCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_TYPE: 'unsupported_media_type',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'empty_body',
  FST_ERR_MAX_PARAM_LENGTH: 'invalid_path',
};

/** For those who hear that the world failed: when to ask again. */
const FAULT_RETRY_S = 1;

/** What an error that was thrown on the way says to the client. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Refused) return error.problem;
  if (error instanceof Fault) return ofFault(error);
  const { code = '', statusCode = 500 } = error as Partial<FastifyError>;
  const known = OF_FASTIFY[code];
  if (known !== undefined) return problem(known);
  return problem(statusCode >= 400 && statusCode < 500 ? 'bad_request' : 'internal_error');
}

function ofFault({ code }: Fault): Problem {
  if (code === 'quote_failed' || code === 'quote_busy' || code === 'worker_failed') {
    return problem('attestation_unavailable', { retry_after_s: FAULT_RETRY_S });
  }
  if (code.startsWith('key_') || code.startsWith('guest_agent_') || code === 'self_test_failed') {
    return problem('keys_unavailable', { retry_after_s: FAULT_RETRY_S });
  }
  if (code.startsWith('store_')) return problem('store_unavailable', { retry_after_s: FAULT_RETRY_S });
  return problem('internal_error');
}

/** A whole HTTP/1.1 answer, for a connection on which no request could be read. */
export function rawProblem(code: ProblemCode): string {
  const found = problem(code);
  const body = JSON.stringify(found);
  return [
    `HTTP/1.1 ${found.status} ${STATUS_CODES[found.status]}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
