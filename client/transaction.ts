// The way of a transaction as its sender goes it: submit the envelope and check the receipt, follow what the daemon says of
// it, and in the end see it in a batch that verifies. What the daemon says on the way is only a hint when to look; `ok` of
// `confirmTransaction` rests on the batch file alone. Every wait has an end.
import { Admitted, TransactionStatus } from '../actors/admission.ts';
import type { BatchRefusal, BatchTransaction } from '../actors/batch.ts';
import type { EnvelopeInput } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Receipt } from '../actors/receipt.ts';
import { fetchBatch, type VerifiedBatch } from './batch.ts';
import { ask, checkTimeout, EXCHANGE_CODES, type ExchangeOptions, type ExchangeRefusal } from './exchange.ts';
import { type Refused, refused } from './outcome.ts';
import { checkReceipt, type ReceiptCode } from './receipt.ts';
import type { Trust } from './trust.ts';
import type { Refusal } from './verdict.ts';

const ANSWER_BYTES_MAX = 65_536;
const FOLLOW_TIMEOUT_MS = 60_000;
/** One question of many; the next may reach a daemon that was started again. */
const QUESTION_TIMEOUT_MS = 10_000;
const PAUSE_MIN_MS = 100;
const PAUSE_MAX_MS = 2_000;
const PAUSE_FACTOR = 1.5;

/** Daemons of later versions may say more. */
const Submitted = Admitted.strip();
const Status = TransactionStatus.strip();

export interface Submission {
  readonly ok: true;
  readonly envelope_id: string;
  /** Checked: signed by the keyset's receipt key, for this envelope. Keep it with the envelope. */
  readonly receipt: Receipt;
}

/**
 * Submits one envelope. When it resolves with `ok`, the enclave has signed that the envelope is durable and by which height
 * it will be ordered. Sending the same envelope again is harmless, also after a timeout: it gets its first receipt.
 *
 * @param options.keyset  verified (`fetchKeyset`), of the active epoch; `submitTransaction` follows one that has passed
 */
export async function submit(
  url: string | URL,
  envelope: EnvelopeInput,
  options: ExchangeOptions & { readonly keyset: Keyset },
): Promise<Submission | Refused<ReceiptCode> | ExchangeRefusal> {
  const question = { path: 'transactions', answer: Submitted, bytes_max: ANSWER_BYTES_MAX, body: envelope };
  const answer = await ask(url, question, options);
  if (!answer.ok) return answer;
  const checked = checkReceipt(answer.value.receipt, options.keyset, envelope);
  if (!checked.ok) return { ...checked, field: `receipt.${checked.field}` };
  return { ok: true, envelope_id: checked.receipt.envelope_id, receipt: checked.receipt };
}

/** What the daemon says of a transaction in the end; nobody has signed it. */
export interface Followed {
  readonly ok: true;
  readonly transaction: TransactionStatus & { readonly height: number };
}

/**
 * Asks again and again, at growing intervals, until the batch of an envelope is sealed, whether it was executed in it or
 * refused. A daemon that is away, starting or busy is asked again; what it says otherwise ends the call.
 *
 * @param options.timeout_ms  for all of it; 60,000 where left out
 */
export async function followTransaction(
  url: string | URL,
  envelope_id: string,
  { signal, timeout_ms = FOLLOW_TIMEOUT_MS }: ExchangeOptions = {},
): Promise<Followed | Refused<'id_mismatch'> | ExchangeRefusal> {
  if (!/^0x[0-9a-f]{64}$/.test(envelope_id)) throw new TypeError('expected an envelope id: 32 bytes in 0x-hex');
  const deadline = AbortSignal.timeout(checkTimeout(timeout_ms));
  const stop = signal === undefined ? deadline : AbortSignal.any([deadline, signal]);
  const question = { path: `transactions/${envelope_id}`, answer: Status, bytes_max: ANSWER_BYTES_MAX };
  let seen = 'unknown';
  for (let pause_ms = PAUSE_MIN_MS; ; pause_ms = Math.min(pause_ms * PAUSE_FACTOR, PAUSE_MAX_MS)) {
    const answer = await ask(url, question, { signal: stop, timeout_ms: QUESTION_TIMEOUT_MS });
    if (signal?.aborted) return refused('aborted', envelope_id, EXCHANGE_CODES.aborted);
    if (deadline.aborted) return refused('timeout', envelope_id, `still ${seen} after ${timeout_ms} ms`);
    if (answer.ok) {
      const { value } = answer;
      if (value.envelope_id !== envelope_id) {
        return refused('id_mismatch', 'envelope_id', `asked for ${envelope_id}`);
      }
      if (value.sealed && value.height !== undefined) {
        return { ok: true, transaction: { ...value, height: value.height } };
      }
      seen = value.status;
    } else if (!isPassing(answer)) return answer;
    const told_ms = answer.ok ? 0 : (answer.problem?.retry_after_s ?? 0) * 1_000;
    await sleep(Math.max(pause_ms, Math.min(told_ms, timeout_ms)), stop);
  }
}

/** The daemon, or what stands before it, may answer otherwise in a while. */
function isPassing({ code, problem }: ExchangeRefusal): boolean {
  if (code === 'unreachable' || code === 'timeout') return true;
  return problem !== undefined && [429, 502, 503, 504].includes(problem.status);
}

/** Ends early when the signal does. */
function sleep(time_ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = () => {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
    resolve();
  };
  const timer = setTimeout(end, time_ms);
  signal.addEventListener('abort', end);
  if (signal.aborted) end();
  return promise;
}

export interface Confirmation extends Omit<VerifiedBatch, 'ok'> {
  readonly ok: true;
  /** As executed: `index` is its place among the transactions of the batch. */
  readonly index: number;
  readonly transaction: BatchTransaction;
}

/** The batch verifies, and says that the envelope could not be executed. */
export interface TransactionRefusal extends Omit<VerifiedBatch, 'ok'>, Refused<'transaction_refused'> {
  readonly refusal: BatchRefusal;
}

export type ConfirmationCode = 'envelope_missing' | 'promise_broken';

/**
 * Follows an envelope to its batch, verifies the batch, and finds the envelope in it by the id that is recomputed there.
 *
 * @param options.receipt  where given, the batch must keep its promise; `promise_broken` is to be shown around
 */
export async function confirmTransaction(
  url: string | URL,
  envelope_id: string,
  options: Trust & ExchangeOptions & { readonly receipt?: Receipt } = {},
): Promise<
  | Confirmation
  | TransactionRefusal
  | Refused<ConfirmationCode | 'height_mismatch' | 'id_mismatch'>
  | Refusal
  | ExchangeRefusal
> {
  const followed = await followTransaction(url, envelope_id, options);
  if (!followed.ok) return followed;
  const { height } = followed.transaction;
  const { timeout_ms: _, ...rest } = options;
  const batch = await fetchBatch(url, height, rest);
  if (!batch.ok) return batch;
  const by = options.receipt?.order_by_height;
  if (by !== undefined && BigInt(by) < BigInt(height)) {
    return refused('promise_broken', 'height', `the receipt promised a height up to ${by}, not ${height}`);
  }
  const { file, verdict } = batch;
  const index = file.transactions.findIndex((each) => each.envelope_id === envelope_id);
  if (index !== -1) return { ok: true, file, verdict, index, transaction: file.transactions[index]! };
  const place = file.refused.findIndex((each) => each.envelope_id === envelope_id);
  const refusal = file.refused[place];
  if (refusal === undefined) {
    return refused('envelope_missing', `batch ${height}`, 'the daemon said that the envelope is in this batch');
  }
  return { ...refused('transaction_refused', `refused[${place}]`, refusal.reason), file, verdict, refusal };
}
