// How each end of the channel judges the other's evidence, and the witness the sequencer's seals: by `[attestation.policy]`, on a
// thread, as a stranger would. Beside client/attestation.ts, which judges in one go where nothing else waits for the thread.
// Promises: what is `ok` attests exactly these 64 bytes, by an enclave that the policy names, and nothing that is said of it is
// believed.
import { keysetDigest, quoteDigest, sealDigest } from '../../actors/digest.ts';
import { equal, fromBase64, hex, timestamp, utf8 } from '../../actors/encoding.ts';
import type { Evidence, EvidencePolicy, VerifiedEvidence } from '../../actors/evidence.ts';
import type { SignedHead } from '../../actors/head.ts';
import { type Attestation, disagreement, readAttestation } from '../../actors/quote.ts';
import { PROVIDER_BIT } from '../../actors/seal.ts';
import { refuse, type WitnessRefusal } from '../../actors/witness.ts';
import type { Engine } from '../../workers/engine.ts';
import type { Pool } from '../../workers/pool.ts';
import { runJob } from '../job.ts';

/** How far the clock of the other platform may run ahead, and how long a quote may live. */
const SKEW_MS = 300_000;
const LIFETIME_MAX_MS = 86_400_000;

export interface Judge {
  readonly pool: Pool;
  readonly engine: Engine;
  /** `[attestation.policy]`. */
  readonly policy: Omit<EvidencePolicy, 'now_ms' | 'report_data'>;
  /** Production takes no evidence that no hardware made, and none of enclaves that nobody named. */
  readonly production: boolean;
  /** Which enclave it is, the caller judges: an order of an admin says so, not the policy (`ofAnyEnclave`). */
  readonly any_enclave?: boolean;
  readonly now: () => number;
}

/**
 * What the policy asks of any enclave: platforms, versions, and who holds the keys. Which programs it pins says which may be
 * this one, or its predecessor; the next one measures otherwise.
 */
export function ofAnyEnclave(judge: Judge): Judge {
  const { measurements: _, compose_hashes: __, app_ids: ___, ...policy } = judge.policy;
  return { ...judge, policy, any_enclave: true };
}

export interface Judged {
  readonly ok: true;
  readonly found: VerifiedEvidence;
  /** RFC 3339 UTC with three decimals. */
  readonly checked_at: string;
}

/** Evidence of the other platform over these 64 bytes. @throws {Fault} worker_failed */
export async function judgeEvidence(
  judge: Judge,
  evidence: Evidence,
  report_data: Uint8Array,
): Promise<Judged | WitnessRefusal> {
  const { pool, policy, production, now } = judge;
  const now_ms = now();
  const found = await runJob(pool, 'evidence', { evidence, policy: { ...policy, now_ms, report_data } });
  if (!found.ok) return refuse('evidence_refused', `${found.code}: ${found.message}`);
  if (production && found.simulated) return refuse('evidence_refused', 'it is simulated, and this is production');
  // Anyone can run an enclave of their own on genuine hardware.
  if (!found.simulated && policy.measurements === undefined && judge.any_enclave !== true) {
    return refuse('evidence_refused', 'attestation.policy names no measurements, so any enclave would do');
  }
  return { ok: true, found, checked_at: timestamp(now_ms) };
}

/** An attestation of one end of a channel, to a witness (purpose 4) or of a handover (3): over the channel, and the other end's nonce. */
export async function judgeEnd(
  judge: Judge,
  attestation: Attestation,
  about: { purpose?: 'witness' | 'handover'; subject: Uint8Array; keyset_digest: Uint8Array; nonce: Uint8Array },
): Promise<Judged | WitnessRefusal> {
  const { not_after_ms } = attestation;
  const report_data = quoteDigest({ purpose: 'witness', ...about, not_after_ms });
  const left_ms = not_after_ms - judge.now();
  if (left_ms <= 0 || left_ms > LIFETIME_MAX_MS + SKEW_MS) return refuse('not_after_invalid');
  return judgeAttestation(judge, attestation, report_data);
}

async function judgeAttestation(judge: Judge, attestation: Attestation, report_data: Uint8Array) {
  const judged = await judgeEvidence(judge, readAttestation(attestation), report_data);
  if (!judged.ok) return judged;
  const field = disagreement(attestation, judged.found);
  // Each platform judges TCB statuses by rules of its own; all else must be what the evidence yields.
  if (field === undefined || field === 'aegis_verification') return judged;
  return refuse('evidence_refused', `${field} says something else than the evidence`);
}

/** Both signatures of a seal, its digests, and the primary's quote over it. @throws {Fault} worker_failed */
export async function judgeSeal(judge: Judge, signed: SignedHead): Promise<{ readonly ok: true } | WitnessRefusal> {
  const { seal, keyset, attestation } = signed;
  const digest = sealDigest(seal);
  const keyset_digest = keysetDigest(keyset);
  const bound = keyset.log_id === seal.log_id && keyset.epoch === seal.epoch;
  if (!bound || hex(keyset_digest) !== seal.keyset_digest || hex(digest) !== signed.digest) {
    return refuse('seal_invalid', 'seal, digest and keyset are not of one head');
  }
  const context = utf8('aegis/seal/v1');
  const { ml_dsa_87, slh_dsa_sha2_256s } = judge.engine;
  const ml = fromBase64(signed.ml_dsa_sig.signature);
  if (!ml_dsa_87.verify(fromBase64(keyset.ml_dsa_87), digest, context, ml)) {
    return refuse('seal_invalid', 'its ML-DSA-87 signature');
  }
  const slh = fromBase64(signed.slh_dsa_sig.signature);
  if (!slh_dsa_sha2_256s.verify(fromBase64(keyset.slh_dsa_sha2_256s), digest, context, slh)) {
    return refuse('seal_invalid', 'its SLH-DSA-SHA2-256s signature');
  }
  const purpose = (seal.providers & PROVIDER_BIT.primary) === 0 ? 'redundancy' : 'seal';
  const { not_after_ms } = attestation;
  const report_data = quoteDigest({ purpose, subject: digest, keyset_digest, not_after_ms });
  if (!equal(report_data, Uint8Array.fromHex(attestation.report_data.slice(2)))) {
    return refuse('seal_invalid', 'its quote is over something else');
  }
  const judged = await judgeAttestation(judge, attestation, report_data);
  return judged.ok ? { ok: true } : refuse('seal_invalid', judged.message);
}
