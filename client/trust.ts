// Fetches a keyset and verifies it, before anything is encrypted to it: encrypting to a key that no quote binds protects
// nothing. Promises: an `ok` means that an enclave which the policy allows made a quote over this very keyset (purpose 2),
// that the quote still holds, and where a nonce was given, that it was made for it, so the enclave is alive now.
import { z } from 'zod';
import { keysetDigest, quoteDigest } from '../actors/digest.ts';
import { hex, timestamp } from '../actors/encoding.ts';
import { KEY_SOURCES, type Keyset } from '../actors/keyset.ts';
import { type Attestation, AttestedKeyset, FreshAttestation } from '../actors/quote.ts';
import { CLOCK_SKEW_MS, judgeAttestation, QUOTE_LIFETIME_MAX_MS } from './attestation.ts';
import { ask, type ExchangeOptions, type ExchangeRefusal } from './exchange.ts';
import { fieldPath } from './json.ts';
import { type Refused, refused } from './outcome.ts';
import { DEFAULT_POLICY, type VerificationPolicy } from './policy.ts';
import { type FailureCode, SIMULATED_NOTE } from './verdict.ts';

/** What can be wrong with a keyset beside what can be wrong with any attestation. */
export const KEYSET_CODES = [
  'attestation_missing',
  'keyset_digest_mismatch',
  'nonce_mismatch',
  'keyset_expired',
  'keyset_not_yet_valid',
] as const;
export type KeysetCode = (typeof KEYSET_CODES)[number] | FailureCode;

/** How a reader judges: also of `fetchBatch` and `confirmTransaction`. */
export interface Trust {
  /** Default: Intel's root, all signatures, no enclave named, which is enough for simulated ones only. */
  readonly policy?: VerificationPolicy;
  /** Accept evidence that no hardware made. */
  readonly allow_simulated?: boolean;
  /** The time to judge at; the machine's clock where left out. */
  readonly now_ms?: number;
}

export interface VerifiedKeyset {
  readonly ok: true;
  readonly keyset: Keyset;
  /** Of `keyset`, recomputed: what policies pin and seals name. */
  readonly keyset_digest: string;
  /** Until when the quote vouches for it: fetch it again before. */
  readonly not_after_ms: number;
  readonly tcb_status: string | null;
  /** Evidence or keys come from no hardware. */
  readonly simulated: boolean;
  readonly notes: readonly string[];
}

const NONCE_BYTES = 32;
/** An event log and collateral at their limits. */
const ANSWER_BYTES_MAX = 8 * 1_048_576;

/** Either answer that carries a keyset. Unknown keys beside these are the business of later versions. */
const Answer = z.object({
  keyset: AttestedKeyset.shape.keyset,
  keyset_digest: AttestedKeyset.shape.keyset_digest,
  attestation: AttestedKeyset.shape.attestation,
  nonce: FreshAttestation.shape.nonce.optional(),
});
type Answer = z.output<typeof Answer>;

/**
 * The active keyset, under a quote over a nonce that nobody could know before.
 *
 * ```ts
 * const found = await fetchKeyset('https://sequencer.example', { policy });
 * if (!found.ok) throw new Error(`${found.code}: ${found.message}`);
 * ```
 *
 * @param options.nonce  1 to 64 bytes; 32 random ones where left out
 */
export async function fetchKeyset(
  url: string | URL,
  options: Trust & ExchangeOptions & { readonly nonce?: Uint8Array } = {},
): Promise<VerifiedKeyset | Refused<KeysetCode> | ExchangeRefusal> {
  const nonce = options.nonce ?? crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  if (nonce.length < 1 || nonce.length > 64) throw new RangeError('nonce: expected 1 to 64 bytes');
  const path = `attestation?nonce=${nonce.toHex()}`;
  const answer = await ask(url, { path, answer: Answer, bytes_max: ANSWER_BYTES_MAX }, options);
  return answer.ok ? judge(answer.value, options, nonce) : answer;
}

/**
 * Judges what `GET /attestation` or `GET /epochs/{epoch}/keyset` answered.
 *
 * @param answer         parsed JSON
 * @param options.nonce  the nonce that was asked with; left out, the quote must be over none
 */
export function verifyKeyset(
  answer: unknown,
  options: Trust & { readonly nonce?: Uint8Array } = {},
): VerifiedKeyset | Refused<KeysetCode> {
  const parsed = Answer.safeParse(answer);
  if (parsed.success) return judge(parsed.data, options, options.nonce);
  const issue = parsed.error.issues[0]!;
  return refused('malformed', fieldPath(issue.path), issue.message);
}

function judge(
  answer: Answer,
  { policy = DEFAULT_POLICY, allow_simulated = false, now_ms = Date.now() }: Trust,
  nonce: Uint8Array | undefined,
): VerifiedKeyset | Refused<KeysetCode> {
  const { keyset, attestation } = answer;
  if (attestation === null) {
    return refused('attestation_missing', 'attestation', 'no quote vouches for it: its epoch is not the active one');
  }
  const digest = keysetDigest(keyset);
  const wrong =
    checkAnswer(answer, hex(digest), nonce) ??
    checkPolicy(keyset, hex(digest), policy) ??
    checkLifetime(keyset, attestation, now_ms);
  if (wrong !== null) return wrong;
  const { not_after_ms } = attestation;
  const about = { purpose: 'keyset', subject: digest, keyset_digest: digest, not_after_ms } as const;
  const report_data = quoteDigest(nonce === undefined ? about : { ...about, nonce });
  const found = { simulated: null, tcb_status: null };
  const failure = judgeAttestation({ attestation, keyset, report_data, policy, allow_simulated, now_ms, found });
  if (failure !== null) return { ok: false, ...failure };
  const simulated = found.simulated === true;
  const notes = simulated ? [SIMULATED_NOTE] : [];
  return { ok: true, keyset, keyset_digest: hex(digest), not_after_ms, tcb_status: found.tcb_status, simulated, notes };
}

function checkAnswer(answer: Answer, digest: string, nonce: Uint8Array | undefined): Refused<KeysetCode> | null {
  if (answer.keyset_digest !== digest) {
    return refused('keyset_digest_mismatch', 'keyset_digest', `the keyset's is ${digest}`);
  }
  const expected = nonce === undefined ? null : hex(nonce);
  if ((answer.nonce ?? null) === expected) return null;
  return refused('nonce_mismatch', 'nonce', expected === null ? 'none was asked for' : `asked for ${expected}`);
}

/** What the policy names, the keyset must be. */
function checkPolicy(keyset: Keyset, digest: string, policy: VerificationPolicy): Refused<KeysetCode> | null {
  if (policy.chain_id !== undefined && keyset.chain_id !== policy.chain_id) {
    return refused('wrong_chain', 'keyset.chain_id', `the policy wants chain ${policy.chain_id}`);
  }
  if (policy.log_id !== undefined && keyset.log_id !== policy.log_id) {
    return refused('wrong_log', 'keyset.log_id', `the policy wants log ${policy.log_id}`);
  }
  const source = KEY_SOURCES[keyset.key_source]!;
  if (policy.key_sources !== undefined && !policy.key_sources.includes(source)) {
    const wanted = policy.key_sources.join(', ');
    return refused('key_source_refused', 'keyset.key_source', `${source}: the policy wants ${wanted}`);
  }
  if (policy.keysets !== undefined && !policy.keysets.includes(digest)) {
    return refused('keyset_refused', 'keyset', `its digest ${digest} is not one that the policy pins`);
  }
  return null;
}

function checkLifetime(keyset: Keyset, { not_after_ms }: Attestation, now_ms: number): Refused<KeysetCode> | null {
  if (keyset.not_before_ms > now_ms + CLOCK_SKEW_MS) {
    return refused('keyset_not_yet_valid', 'keyset.not_before_ms', `valid from ${dated(keyset.not_before_ms)}`);
  }
  if (not_after_ms <= now_ms) {
    return refused('keyset_expired', 'attestation.not_after_ms', `the quote held until ${dated(not_after_ms)}`);
  }
  if (not_after_ms > now_ms + QUOTE_LIFETIME_MAX_MS + CLOCK_SKEW_MS) {
    return refused('not_after_invalid', 'attestation.not_after_ms', 'no quote over a keyset lives for over 24 hours');
  }
  return null;
}

/** Dates end before counters do. */
function dated(time_ms: number): string {
  return time_ms <= 253_402_300_799_999 ? timestamp(time_ms) : `${time_ms} ms`;
}
