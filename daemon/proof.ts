// Proof before trust: the cryptography of this machine answers known questions before a key is derived, and new keys are tried where
// they are made, before anyone is told of them. Both end the start with a Fault that names what was wrong.
import { createPublicKey, decapsulate, encapsulate, sign, verify } from 'node:crypto';
import secp256k1 from 'secp256k1';
import { base64, equal, fromBase64 } from '../actors/encoding.ts';
import { spkiOf } from '../actors/tlskey.ts';
import { type EngineName, loadEngine } from '../workers/engine.ts';
import type { Pool } from '../workers/pool.ts';
import { type Primitives, primitives, selfTest } from '../workers/selftest.ts';
import { deriveTask } from '../workers/slhdsakey.ts';
import { Fault } from './fault.ts';
import { runJob } from './job.ts';
import { deriveEpoch, type EpochKeys } from './keys/keyring.ts';
import type { KeySource } from './keys/source.ts';

/**
 * @param name  `signing.engine`
 * @param of    what to ask instead of what runs here; for tests
 * @throws {Fault} self_test_failed
 */
export async function proveCrypto(name: EngineName, of?: Primitives): Promise<void> {
  const wrong = selfTest(of ?? primitives(await loadEngine(name)));
  if (wrong.length > 0) throw new Fault({ code: 'self_test_failed', engine: name, primitives: wrong });
}

/**
 * Keys of an epoch that nobody has seen yet. What SLH-DSA takes, a quarter of a second for the key and a signature to try it, the
 * sealing thread does.
 *
 * @throws {Fault} key_source_failed and its kin; as `proveKeys`
 */
export async function provenKeys(
  { source, pool }: { source: KeySource; pool: Pool },
  epoch: number,
  hybrid_ecdsa: boolean,
): Promise<EpochKeys> {
  const keys = await deriveEpoch(source, epoch, hybrid_ecdsa, (seed) => runJob(pool, 'derive', deriveTask(seed)));
  await proveKeys(keys, pool);
  return keys;
}

/**
 * The pairwise tests of FIPS 140-3 over an epoch's new keys. The post-quantum signatures are made on the sealing thread,
 * since SLH-DSA takes most of a second; keys that were published before are held against their keyset instead.
 *
 * @throws {Fault} self_test_failed; worker_failed when a signature of ML-DSA or SLH-DSA did not verify
 */
export async function proveKeys(keys: EpochKeys, pool: Pool): Promise<void> {
  const { ml_dsa_87, slh_dsa_sha2_256s } = keys;
  await runJob(pool, 'pair', { ml_dsa_87, slh_dsa_sha2_256s });
  const pairs = { Ed25519: receiptPair, 'X-Wing': kemPair, 'ECDSA-secp256k1': ecdsaPair, 'ECDSA-P-256': tlsPair };
  const wrong = Object.entries(pairs).flatMap(([name, holds]) => (holds(keys) ? [] : [name]));
  if (wrong.length > 0) throw new Fault({ code: 'self_test_failed', primitives: wrong });
}

const MESSAGE = new Uint8Array(32).fill(1);

function receiptPair({ receipt, public: published }: EpochKeys): boolean {
  const format = { format: 'raw-public', asymmetricKeyType: 'ed25519' } as const;
  const publicKey = createPublicKey({ key: Buffer.from(fromBase64(published.receipt)), ...format });
  return verify(null, MESSAGE, publicKey, sign(null, MESSAGE, receipt));
}

/** X-Wing's halves: what is encapsulated to the published ML-KEM key comes out, and X25519's public key is the published. */
function kemPair({ x_wing, public: published }: EpochKeys): boolean {
  const raw = fromBase64(published.x_wing);
  const key = Buffer.from(raw.subarray(0, -x_wing.publicX25519.length));
  const { sharedKey, ciphertext } = encapsulate(
    createPublicKey({ key, format: 'raw-public', asymmetricKeyType: 'ml-kem-768' }),
  );
  const opened = decapsulate(x_wing.mlkem, ciphertext);
  return equal(sharedKey, opened) && equal(raw.subarray(key.length), x_wing.publicX25519);
}

function tlsPair({ tls, public: published }: EpochKeys): boolean {
  if (tls === null || published.tls === null) return tls === published.tls;
  const key = Buffer.from(spkiOf(fromBase64(published.tls)));
  return verify('sha256', MESSAGE, createPublicKey({ key, format: 'der', type: 'spki' }), sign('sha256', MESSAGE, tls));
}

function ecdsaPair({ secp256k1: key, public: published }: EpochKeys): boolean {
  if (key === null) return published.secp256k1 === null;
  const scalar = key.export();
  try {
    const { signature, recid } = secp256k1.ecdsaSign(MESSAGE, scalar);
    return base64(secp256k1.ecdsaRecover(signature, recid, MESSAGE, false)) === published.secp256k1;
  } finally {
    scalar.fill(0);
  }
}
