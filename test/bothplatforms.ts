// Files in which two platforms vouch for one head, made as an enclave and its second platform would, without either: a quote of
// another machine in the role that a test wants. For tests of verifiers; what makes such files in life is daemon/attester.ts.
import { generateKeyPairSync, sign } from 'node:crypto';
import type { BatchFile } from '../actors/batch.ts';
import { keysetDigest, quoteDigest, sealDigest, witnessDigest } from '../actors/digest.ts';
import { base64, timestamp } from '../actors/encoding.ts';
import type { Evidence, VerifiedEvidence } from '../actors/evidence.ts';
import { type Attestation, attest, readAttestation } from '../actors/quote.ts';
import { type Enclave as Names, redundancy, redundancyNonce, witnessStatement } from '../actors/redundancy.ts';
import type { Head } from '../actors/seal.ts';
import { verifyEvidence } from '../actors/verification.ts';
import type { Pki } from '../daemon/tee/pki.ts';
import { makeCollateral, makeQuote } from '../daemon/tee/tdx.ts';
import { COLLATERAL_END_MS, type Enclave, makeSigned, NOW_MS, sealBatch } from './forge.ts';

export const NAMELESS: Names = { worker_id: null, enclave_id: null };

/** A sealed batch with the evidence of both. @param second  of the other machine; the enclave's own PKI is the same machine */
export async function makeWitnessed(
  enclave: Enclave,
  second: Pki,
  { role, names = NAMELESS, freshness }: { role: 'quote' | 'witness'; names?: Names; freshness?: Head['freshness'] },
): Promise<BatchFile> {
  const earned = freshness ?? (role === 'witness' ? 1 : 0);
  const file = sealBatch(enclave, await makeSigned(enclave), { providers: 3, freshness: earned });
  const { seal } = file.slh_dsa_sig!;
  const primary = verified(readAttestation(file.attestation!), enclave.pki);
  const { witness, report_data } = role === 'witness' ? witnessing(seal, names) : quoting(seal, enclave, names);
  const evidence = quote(second, report_data);
  const about = { checked_at: timestamp(NOW_MS), enclave: names, primary, ...(witness && { witness }) };
  file.attestation!.phala_redundancy = redundancy(evidence, verified(evidence, second), about);
  return file;
}

/** A batch that the second platform alone vouches for, since the primary had failed. */
export async function makeFallen(enclave: Enclave, second: Pki): Promise<BatchFile> {
  const file = sealBatch(enclave, await makeSigned(enclave), { providers: 2 });
  const { report_data } = quoting(file.slh_dsa_sig!.seal, enclave, NAMELESS);
  const evidence = quote(second, report_data);
  const { not_after_ms } = file.attestation as Attestation;
  file.attestation = attest(evidence, verified(evidence, second), not_after_ms, timestamp(NOW_MS));
  return file;
}

const lifetime = (seal: Head) => seal.timestamp_ms + 86_400_000;

function quoting(seal: Head, { keyset }: Enclave, names: Names) {
  const nonce = redundancyNonce(names);
  const about = { purpose: 'redundancy', subject: sealDigest(seal), keyset_digest: keysetDigest(keyset) } as const;
  const statement = { ...about, not_after_ms: lifetime(seal), ...(nonce && { nonce }) };
  return { witness: undefined, report_data: quoteDigest(statement) };
}

function witnessing(seal: Head, names: Names) {
  const { publicKey, privateKey } = generateKeyPairSync('ml-dsa-87');
  const key = new Uint8Array(publicKey.export({ format: 'raw-public' } as never) as never);
  const { log_id, size: number, root } = seal;
  const digest = witnessDigest({ kind: 'head', log_id, number, count: 0, root, witness_key: key });
  const context = Buffer.from('aegis/witness/v1');
  const acknowledgement = base64(new Uint8Array(sign(null, digest, { key: privateKey, context } as never)));
  const statement = witnessStatement({ head: seal, not_after_ms: lifetime(seal), ...names }, key);
  return { witness: { key: base64(key), acknowledgement }, report_data: quoteDigest(statement) };
}

function quote(pki: Pki, report_data: Uint8Array): Evidence {
  const collateral = makeCollateral(pki, COLLATERAL_END_MS);
  return { quote_type: 'TDX', quote: makeQuote(pki, { report_data }), event_log: null, collateral };
}

function verified(evidence: Evidence, pki: Pki): VerifiedEvidence {
  const roots = [pki.certificates.root];
  const found = verifyEvidence(evidence, { roots, now_ms: NOW_MS, tcb_statuses: ['UpToDate'] });
  if (!found.ok) throw new Error(`${found.code}: ${found.message}`);
  return found;
}
