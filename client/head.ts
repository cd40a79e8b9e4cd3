// The verifier of heads that travel alone (DESIGN §3 "Why a log"): `sealed` of GET /log/head, or a head that somebody kept.
// Pure and synchronous, about 50 ms. An `ok` means that both signatures sign this head under this keyset and that evidence
// which the policy accepts attests both; whether it continues another head is for history.ts. No input makes it throw.
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import { keysetDigest, sealDigest } from '../actors/digest.ts';
import { fromBase64, hex, timestamp, utf8 } from '../actors/encoding.ts';
import { endedBefore } from '../actors/handover.ts';
import { SignedHead } from '../actors/head.ts';
import { KEY_SOURCES } from '../actors/keyset.ts';
import type { Head } from '../actors/seal.ts';
import { CLOCK_SKEW_MS } from './attestation.ts';
import { fieldPath } from './json.ts';
import { checkPlatforms, judgePlatforms } from './platforms.ts';
import { DEFAULT_POLICY } from './policy.ts';
import { type FailureCode, fail, SIMULATED_NOTE, type VerifyOptions } from './verdict.ts';
import { checkTime } from './verify.ts';

export type HeadCode = FailureCode | 'head_digest_mismatch';

export interface AcceptedHead {
  readonly ok: true;
  readonly seal: Head;
  /** What was signed, 0x-hex. */
  readonly digest: string;
  readonly chain_id: string;
  readonly sealed_at: string;
  readonly tcb_status: string | null;
  readonly simulated: boolean;
  readonly ml_dsa_valid: boolean;
  readonly slh_dsa_valid: boolean;
  readonly notes: readonly string[];
}

export interface RefusedHead {
  readonly ok: false;
  readonly code: HeadCode;
  /** As `seal.root`. */
  readonly field: string;
  readonly message: string;
}

export type HeadVerdict = AcceptedHead | RefusedHead;

interface Subject extends Required<VerifyOptions> {
  readonly head: SignedHead;
  readonly digest: Uint8Array;
  readonly keyset_digest: Uint8Array;
  readonly found: { simulated: boolean | null; tcb_status: string | null; ml_dsa: boolean; slh_dsa: boolean };
}
type Failed = Omit<RefusedHead, 'ok'> | null;

const CONTEXT = { context: utf8('aegis/seal/v1') };

/**
 * ```ts
 * const { sealed } = await (await fetch(`${url}/log/head`)).json();
 * const verdict = verifyHead(sealed, { policy, now_ms: Date.now() });
 * ```
 *
 * @param options.now_ms  a head that was kept is judged at the time when it was new: see `keptAt`
 */
export function verifyHead(head: unknown, options: VerifyOptions): HeadVerdict {
  const timeless = checkTime(options.now_ms);
  if (timeless !== null) return { ok: false, ...timeless };
  const parsed = SignedHead.safeParse(head);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const extra = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
    return { ok: false, ...fail('malformed', fieldPath([...issue.path, ...extra]), issue.message) };
  }
  const subject: Subject = {
    head: parsed.data,
    policy: options.policy ?? DEFAULT_POLICY,
    allow_simulated: options.allow_simulated ?? false,
    now_ms: options.now_ms,
    handovers: options.handovers ?? [],
    digest: sealDigest(parsed.data.seal),
    keyset_digest: keysetDigest(parsed.data.keyset),
    found: { simulated: null, tcb_status: null, ml_dsa: false, slh_dsa: false },
  };
  for (const check of [checkBinding, checkPolicy, checkEnded, checkLifetime, checkSignatures, checkEvidence]) {
    const failure = check(subject);
    if (failure !== null) return { ok: false, ...failure };
  }
  return accepted(subject);
}

/**
 * The time to judge a kept head's evidence at: its own. Collateral ends after weeks, and whoever kept the head vouches for
 * when it was new. Nothing rests on it: a kept head that an attested newer one continues is genuine whatever its evidence.
 */
export function keptAt(head: { readonly seal: Pick<Head, 'timestamp_ms'> }): number {
  return head.seal.timestamp_ms;
}

function accepted({ head, digest, found }: Subject): AcceptedHead {
  const simulated = found.simulated === true;
  return {
    ok: true,
    seal: head.seal,
    digest: hex(digest),
    chain_id: head.keyset.chain_id,
    sealed_at: timestamp(head.seal.timestamp_ms),
    tcb_status: found.tcb_status,
    simulated,
    ml_dsa_valid: found.ml_dsa,
    slh_dsa_valid: found.slh_dsa,
    notes: simulated ? [SIMULATED_NOTE] : [],
  };
}

/** Seal, digest and keyset are of one log and one epoch. */
function checkBinding({ head: { seal, digest, keyset }, digest: computed, keyset_digest }: Subject): Failed {
  if (digest !== hex(computed)) {
    return { code: 'head_digest_mismatch', field: 'digest', message: `the seal's is ${hex(computed)}` };
  }
  for (const name of ['log_id', 'epoch'] as const) {
    if (keyset[name] !== seal[name]) return fail('keyset_mismatch', `keyset.${name}`, `the seal says ${seal[name]}`);
  }
  if (seal.keyset_digest === hex(keyset_digest)) return null;
  return fail('seal_keyset_mismatch', 'seal.keyset_digest', `the keyset's is ${hex(keyset_digest)}`);
}

function checkPolicy({ head: { seal, keyset }, policy, keyset_digest }: Subject): Failed {
  if (policy.chain_id !== undefined && keyset.chain_id !== policy.chain_id) {
    return fail('wrong_chain', 'keyset.chain_id', `the policy wants chain ${policy.chain_id}`);
  }
  if (policy.log_id !== undefined && seal.log_id !== policy.log_id) {
    return fail('wrong_log', 'seal.log_id', `the policy wants log ${policy.log_id}`);
  }
  const source = KEY_SOURCES[keyset.key_source]!;
  if (policy.key_sources !== undefined && !policy.key_sources.includes(source)) {
    const wanted = policy.key_sources.join(', ');
    return fail('key_source_refused', 'keyset.key_source', `${source}: the policy wants ${wanted}`);
  }
  if (policy.keysets === undefined || policy.keysets.includes(hex(keyset_digest))) return null;
  return fail('keyset_refused', 'keyset', `its digest ${hex(keyset_digest)} is not one that the policy pins`);
}

function checkEnded({ head: { seal }, handovers }: Subject): Failed {
  const by = endedBefore(handovers, seal);
  if (by === undefined) return null;
  return fail('keyset_ended', 'seal.epoch', `its keys ended by the handover at leaf ${by.leaf_index}`);
}

function checkLifetime({ head: { seal, attestation }, now_ms }: Subject): Failed {
  if (seal.timestamp_ms > now_ms + CLOCK_SKEW_MS) {
    return fail('seal_in_future', 'seal.timestamp_ms', 'sealed after the time that it is judged at');
  }
  return checkPlatforms({ seal, field: 'seal', attestation });
}

/** Under `all` both hold; under `any-pq` one does. */
function checkSignatures({ head, policy, digest, found }: Subject): Failed {
  const { ml_dsa_sig, slh_dsa_sig, keyset } = head;
  const [ml, slh] = [fromBase64(keyset.ml_dsa_87), fromBase64(keyset.slh_dsa_sha2_256s)];
  found.ml_dsa = verifies(() => ml_dsa87.verify(fromBase64(ml_dsa_sig.signature), digest, ml, CONTEXT));
  if (!found.ml_dsa && policy.signatures === 'all') return unsigned('seal_ml_dsa_invalid', 'ml_dsa_sig.signature');
  found.slh_dsa = verifies(() => slh_dsa_sha2_256s.verify(fromBase64(slh_dsa_sig.signature), digest, slh, CONTEXT));
  if (found.slh_dsa || (found.ml_dsa && policy.signatures === 'any-pq')) return null;
  return unsigned('slh_dsa_invalid', 'slh_dsa_sig.signature');
}

function unsigned(code: FailureCode, field: string): Failed {
  return fail(code, field, "does not verify over the head under the keyset's key");
}

/** Libraries throw on what is no key at all. */
function verifies(verify: () => boolean): boolean {
  try {
    return verify();
  } catch {
    return false;
  }
}

function checkEvidence({ head, digest, ...subject }: Subject): Failed {
  const { seal, attestation, keyset } = head;
  return judgePlatforms({ ...subject, seal, field: 'seal', attestation, keyset, head_digest: digest });
}
