// The second signing engine: @noble/post-quantum, in JavaScript, for the day when OpenSSL's ML-DSA or SLH-DSA is known to be
// wrong. 13 ms a signature of ML-DSA-87 and 2 to 4 s of SLH-DSA-SHA2-256s. The secret is taken out of its handle inside the
// thread, for one signature, and wiped; what noble and V8 copied of it on the way can't be promised to be gone.
import { type KeyObject, randomBytes } from 'node:crypto';
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import { bounded, type Engine, mine } from './engine.ts';

/** FIPS 204 §5.2 (rnd) and FIPS 205 §10.2.1 (addrnd, n bytes). */
const ENTROPY_BYTES = 32;

/** The raw private key of FIPS 205 §9.1 ends with the public one. */
const SLH_PUBLIC_BYTES = 64;

export const noble: Engine = {
  name: 'noble',
  ml_dsa_87: {
    publicKey: (key) => withMlDsa(key, ({ publicKey }) => publicKey),
    sign: (key, message, context) =>
      withMlDsa(key, ({ secretKey }) => ml_dsa87.sign(message, secretKey, hedged(context))),
    verify: (publicKey, message, context, signature) =>
      ml_dsa87.verify(signature, message, publicKey, { context: bounded(context) }),
  },
  slh_dsa_sha2_256s: {
    publicKey: (key) => withSlhDsa(key, (secretKey) => secretKey.slice(-SLH_PUBLIC_BYTES)),
    sign: (key, message, context) =>
      withSlhDsa(key, (secretKey) => slh_dsa_sha2_256s.sign(message, secretKey, hedged(context))),
    verify: (publicKey, message, context, signature) =>
      slh_dsa_sha2_256s.verify(signature, message, publicKey, { context: bounded(context) }),
  },
};

const hedged = (context: Uint8Array) => ({ context: bounded(context), extraEntropy: randomBytes(ENTROPY_BYTES) });

/** From the seed, so that not even OpenSSL's key generation is relied on (FIPS 204 §6.1). */
function withMlDsa<T>(key: KeyObject, use: (pair: { publicKey: Uint8Array; secretKey: Uint8Array }) => T): T {
  const seed = mine(key, 'ml-dsa-87').export({ format: 'raw-seed' });
  try {
    const pair = ml_dsa87.keygen(seed);
    try {
      return use(pair);
    } finally {
      pair.secretKey.fill(0);
    }
  } finally {
    seed.fill(0);
  }
}

function withSlhDsa<T>(key: KeyObject, use: (secretKey: Uint8Array) => T): T {
  const exported = mine(key, 'slh-dsa-sha2-256s').export({ format: 'raw-private' });
  try {
    // Without a copy; noble takes plain arrays alone where it slices.
    return use(new Uint8Array(exported.buffer, exported.byteOffset, exported.length));
  } finally {
    exported.fill(0);
  }
}
