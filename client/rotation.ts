// Follows a rotation of keys (DESIGN §5): a wallet that kept a keyset goes on with the one after it, which it verifies like the
// first and finds in the log besides, so that nobody can be given an epoch of their own. What was encrypted to an epoch that
// admits no more is encrypted anew, once.
import { z } from 'zod';
import { Admitted } from '../actors/admission.ts';
import type { Envelope } from '../actors/envelope.ts';
import { LogHead } from '../actors/head.ts';
import type { Keyset } from '../actors/keyset.ts';
import { ask, type ExchangeOptions, type ExchangeRefusal } from './exchange.ts';
import { type HeadCode, verifyHead } from './head.ts';
import { fetchInclusion, type ProofCode } from './log.ts';
import { type Refused, refused } from './outcome.ts';
import { checkReceipt, type ReceiptCode } from './receipt.ts';
import { encryptEnvelope, type SealRequest } from './seal.ts';
import type { Submission } from './transaction.ts';
import { fetchKeyset, type KeysetCode, type Trust, type VerifiedKeyset } from './trust.ts';

export const SUCCESSION_CODES = {
  keyset_other_log: 'the active keyset is of another log than the kept one',
  keyset_not_newer: 'the active keyset is not of a later epoch than the kept one',
  keyset_unsealed: 'no seal covers the active keyset',
} as const;
export type SuccessionCode = keyof typeof SUCCESSION_CODES;

type SuccessionRefusal = Refused<KeysetCode | SuccessionCode | HeadCode | ProofCode> | ExchangeRefusal;

const HEAD_BYTES_MAX = 8 * 1_048_576;
const PLACE_BYTES_MAX = 8 * 1_048_576;

/** Where the log has a keyset; later versions may say more. */
const Place = z.object({ leaf_index: z.int().min(0) });

/**
 * The active keyset, as the successor of one that was verified before: of the same log, later, under a fresh quote, and an
 * entry of the log below a head that verifies.
 *
 * @param kept  verified before
 */
export async function fetchSuccessor(
  url: string | URL,
  kept: Keyset,
  options: Trust & ExchangeOptions = {},
): Promise<VerifiedKeyset | SuccessionRefusal> {
  const found = await fetchKeyset(url, options);
  if (!found.ok) return found;
  const { keyset, keyset_digest } = found;
  if (keyset.log_id !== kept.log_id || keyset.chain_id !== kept.chain_id) return wrong('keyset_other_log', 'log_id');
  if (keyset.epoch <= kept.epoch) return wrong('keyset_not_newer', 'epoch');
  const answer = await ask(url, { path: 'log/head', answer: LogHead.strip(), bytes_max: HEAD_BYTES_MAX }, options);
  if (!answer.ok) return answer;
  if (answer.value.sealed === null) return wrong('keyset_unsealed', 'sealed');
  const verdict = verifyHead(answer.value.sealed, { ...options, now_ms: options.now_ms ?? Date.now() });
  if (!verdict.ok) return verdict;
  if (verdict.seal.log_id !== kept.log_id) return wrong('keyset_other_log', 'sealed.seal.log_id');
  const question = { path: `epochs/${keyset.epoch}/keyset`, answer: Place, bytes_max: PLACE_BYTES_MAX };
  const place = await ask(url, question, options);
  if (!place.ok) return place;
  const { leaf_index } = place.value;
  if (leaf_index >= verdict.seal.size) return wrong('keyset_unsealed', 'leaf_index');
  const leaf = { kind: 'epoch', digest: keyset_digest, leaf_index } as const;
  const included = await fetchInclusion(url, leaf, verdict.seal, options);
  return included.ok ? found : included;
}

export interface SubmissionFollowed extends Submission {
  /** As it was admitted: encrypted to `request.keyset`, or to its successor. */
  readonly envelope: Envelope;
  /** The newest that was verified on the way: keep it for the next transaction. */
  readonly keyset: Keyset;
}

/**
 * Encrypts a signed transaction and submits it, over a rotation where there was one.
 *
 * @param request.keyset  verified before (`fetchKeyset`), however long ago
 * @throws {TypeError | z.ZodError} as `encryptEnvelope` does
 */
export async function submitTransaction(
  url: string | URL,
  request: SealRequest,
  options: Trust & ExchangeOptions = {},
): Promise<SubmissionFollowed | SuccessionRefusal | Refused<ReceiptCode>> {
  let { keyset } = request;
  let envelope = await encryptEnvelope(request);
  let answer = await post(url, envelope, options);
  if (!answer.ok && answer.problem?.code === 'epoch_not_accepted') {
    const next = await fetchSuccessor(url, keyset, options);
    if (!next.ok) return next;
    keyset = next.keyset;
    envelope = await encryptEnvelope({ ...request, keyset });
    answer = await post(url, envelope, options);
  }
  if (!answer.ok) return answer;
  const { receipt } = answer.value;
  if (receipt.epoch > keyset.epoch) {
    // Admitted in the grace of its epoch: what signs receipts is the epoch after it.
    const next = await fetchSuccessor(url, keyset, options);
    if (!next.ok) return next;
    keyset = next.keyset;
  }
  const checked = checkReceipt(receipt, keyset, envelope);
  if (!checked.ok) return { ...checked, field: `receipt.${checked.field}` };
  return { ok: true, envelope_id: checked.receipt.envelope_id, receipt: checked.receipt, envelope, keyset };
}

function post(url: string | URL, body: Envelope, options: ExchangeOptions) {
  return ask(url, { path: 'transactions', answer: Admitted.strip(), bytes_max: 65_536, body }, options);
}

const wrong = (code: SuccessionCode, field: string) => refused(code, field, SUCCESSION_CODES[code]);
