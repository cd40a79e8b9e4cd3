// Signing, on a thread (DESIGN §4): ML-DSA-87 and ECDSA over batch digests, SLH-DSA-SHA2-256s and ML-DSA-87 over heads of
// the log. All by OpenSSL, hedged, but for ECDSA over a 32-byte EIP-712 hash with recovery id, which is libsecp256k1's. What is signed is always a 64-byte digest of actors/digest.ts under its tag.
import assert from 'node:assert';
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import secp256k1 from 'secp256k1';
import { batchHash } from '../actors/eip712.ts';
import type { SealResult, SealTask, SignResult, SignTask } from './job.ts';

const BATCH_CONTEXT = Buffer.from('aegis/batch/v1');
const SEAL_CONTEXT = Buffer.from('aegis/seal/v1');

/** A chunk of batches: one message for many costs less than a message each (FACTS: up to 40 %). */
export function signBatches(tasks: readonly SignTask[]): SignResult[] {
  return tasks.map((task) => ({
    ml_dsa: mlDsa(task.digest, task.ml_dsa_87, BATCH_CONTEXT),
    ecdsa: task.secp256k1 === null ? null : ecdsa(task, task.secp256k1),
  }));
}

/**
 * FIPS 205 §10.2.1. A fault in the computation that made one WOTS+ key sign two roots would give the key away, so a
 * signature leaves only when it verifies.
 */
export function signHead(task: SealTask): SealResult {
  const key = { key: task.slh_dsa_sha2_256s, context: SEAL_CONTEXT };
  const slh_dsa = sign(null, task.digest, key);
  const genuine = verify(null, task.digest, { ...key, key: createPublicKey(task.slh_dsa_sha2_256s) }, slh_dsa);
  if (!genuine) {
    slh_dsa.fill(0);
    throw new Error('an SLH-DSA signature did not verify: the machine computes wrongly');
  }
  return { slh_dsa: new Uint8Array(slh_dsa), ml_dsa: mlDsa(task.digest, task.ml_dsa_87, SEAL_CONTEXT) };
}

/** FIPS 204 §5.2, hedged. */
function mlDsa(digest: Uint8Array, key: KeyObject, context: Buffer): Uint8Array {
  assert(digest.length === 64, 'only digests are signed');
  return new Uint8Array(sign(null, digest, { key, context }));
}

/** EIP-712 with low s (EIP-2); v is 27 or 28 as Solidity's ecrecover takes it. */
function ecdsa(task: SignTask, key: KeyObject): Uint8Array {
  const scalar = key.export();
  try {
    const hash = batchHash({ chain_id: task.chain_id, height: task.height, digest: task.digest });
    // libsecp256k1 signs in constant time, by RFC 6979, and always with the lower s.
    const { signature, recid } = secp256k1.ecdsaSign(hash, scalar);
    const out = new Uint8Array(65);
    out.set(signature);
    out[64] = 27 + recid;
    return out;
  } finally {
    scalar.fill(0);
  }
}
