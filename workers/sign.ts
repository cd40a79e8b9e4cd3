// Signing, on a thread (DESIGN §4): ML-DSA-87 and ECDSA over batch digests, SLH-DSA-SHA2-256s and ML-DSA-87 over heads of
// the log. The post-quantum ones by the engine that `signing.engine` names, hedged; ECDSA over a 32-byte EIP-712 hash with
// recovery id by libsecp256k1. What is signed is always a 64-byte digest of actors/digest.ts under its tag.
import assert from 'node:assert';
import type { KeyObject } from 'node:crypto';
import secp256k1 from 'secp256k1';
import { utf8 } from '../actors/bytes.ts';
import { batchHash } from '../actors/eip712.ts';
import type { Engine, Scheme } from './engine.ts';
import {
  type CertifyTask,
  type PairTask,
  SELF_CHECK_FAILED,
  type SealResult,
  type SealTask,
  type SignResult,
  type SignTask,
} from './job.ts';

const BATCH_CONTEXT = utf8('aegis/batch/v1');
const SEAL_CONTEXT = utf8('aegis/seal/v1');
const CHECKPOINT_CONTEXT = utf8('aegis/checkpoint/v1');
/** No verifier takes it, so what is signed to try a key stands for nothing. */
const PAIR_CONTEXT = utf8('aegis/pairwise/v1');

/** A chunk of batches: one message for many costs less than a message each (FACTS: up to 40 %). */
export function signBatches(engine: Engine, tasks: readonly SignTask[]): SignResult[] {
  return tasks.map((task) => ({
    ml_dsa: signDigest(engine.ml_dsa_87, task.ml_dsa_87, task.digest, BATCH_CONTEXT),
    ecdsa: task.secp256k1 === null ? null : ecdsa(task, task.secp256k1),
  }));
}

/**
 * FIPS 205 §10.2.1. A fault in the computation that made one WOTS+ key sign two roots would give the key away, so a
 * signature leaves only when it verifies.
 */
export function signHead(engine: Engine, task: SealTask): SealResult {
  return {
    slh_dsa: signChecked(engine.slh_dsa_sha2_256s, task.slh_dsa_sha2_256s, task.digest, SEAL_CONTEXT),
    ml_dsa: signDigest(engine.ml_dsa_87, task.ml_dsa_87, task.digest, SEAL_CONTEXT),
  };
}

/** One in a thousand batches: there is time to see that it verifies before anybody keeps it. */
export function signCheckpoint(engine: Engine, task: CertifyTask): Uint8Array {
  assert(task.digest.length === 64, 'only digests are signed');
  return signChecked(engine.ml_dsa_87, task.ml_dsa_87, task.digest, CHECKPOINT_CONTEXT);
}

/**
 * The pairwise consistency test of FIPS 140-3 (ISO/IEC 19790 §7.10.3.3) for keys that were just derived: each signs its own
 * public half, which must verify. OpenSSL believes any PK.root of SLH-DSA, and only a whole signature shows a wrong one.
 *
 * @throws when a pair is none
 */
export function tryPairs(engine: Engine, task: PairTask): null {
  for (const scheme of ['ml_dsa_87', 'slh_dsa_sha2_256s'] as const) {
    signChecked(engine[scheme], task[scheme], engine[scheme].publicKey(task[scheme]), PAIR_CONTEXT);
  }
  return null;
}

function signDigest(scheme: Scheme, key: KeyObject, digest: Uint8Array, context: Uint8Array): Uint8Array {
  assert(digest.length === 64, 'only digests are signed');
  return scheme.sign(key, digest, context);
}

function signChecked(scheme: Scheme, key: KeyObject, message: Uint8Array, context: Uint8Array): Uint8Array {
  const signature = scheme.sign(key, message, context);
  if (scheme.verify(scheme.publicKey(key), message, context, signature)) return signature;
  signature.fill(0);
  throw new Error(`a signature of ${key.asymmetricKeyType} ${SELF_CHECK_FAILED}`);
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
