// Who makes and checks ML-DSA-87 and SLH-DSA-SHA2-256s signatures (`signing.engine`): OpenSSL, here, or noble in noble.ts. They
// are two unrelated implementations of FIPS 204 and 205, so a defect that becomes known in one can be left behind by a
// setting, and each is the other's second opinion in the tests. Keys come as KeyObject handles. An engine is asked by sign.ts
// on the threads and by selftest.ts before there are keys.
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';

export const ENGINES = ['openssl', 'noble'] as const;
export type EngineName = (typeof ENGINES)[number];

type Algorithm = 'ml-dsa-87' | 'slh-dsa-sha2-256s';

/** One signature scheme: pure mode (not pre-hashed), with a context string of at most 255 bytes. */
export interface Scheme {
  /** @returns the raw public key that belongs to a private one */
  publicKey(key: KeyObject): Uint8Array;
  /** Hedged: two signatures of one message differ. @throws on a longer context, or on the key of another scheme */
  sign(key: KeyObject, message: Uint8Array, context: Uint8Array): Uint8Array;
  /** @param publicKey raw. @returns false for whatever is not a signature, of any length; never throws for it */
  verify(publicKey: Uint8Array, message: Uint8Array, context: Uint8Array, signature: Uint8Array): boolean;
}

export interface Engine {
  readonly name: EngineName;
  /** FIPS 204 §5. Sizes of key and signature: 2,592 and 4,627 bytes. */
  readonly ml_dsa_87: Scheme;
  /** FIPS 205 §10. Sizes of key and signature: 64 and 29,792 bytes. */
  readonly slh_dsa_sha2_256s: Scheme;
}

/** noble is loaded by those alone who asked for it. */
export async function loadEngine(name: EngineName): Promise<Engine> {
  return name === 'noble' ? (await import('./noble.ts')).noble : openssl;
}

/** 1.0 ms to sign with ML-DSA-87, 400 to 900 with SLH-DSA-SHA2-256s. The key never leaves OpenSSL. */
export const openssl: Engine = {
  name: 'openssl',
  ml_dsa_87: native('ml-dsa-87'),
  slh_dsa_sha2_256s: native('slh-dsa-sha2-256s'),
};

function native(asymmetricKeyType: Algorithm): Scheme {
  return {
    publicKey: (key) => new Uint8Array(createPublicKey(mine(key, asymmetricKeyType)).export({ format: 'raw-public' })),
    sign: (key, message, context) =>
      new Uint8Array(sign(null, message, { key: mine(key, asymmetricKeyType), context: bounded(context) })),
    verify: (publicKey, message, context, signature) => {
      const key = createPublicKey({ key: publicKey, format: 'raw-public', asymmetricKeyType });
      return verify(null, message, { key, context: bounded(context) }, signature);
    },
  };
}

/** A key of another kind would sign, too, but not what was asked for. */
export function mine(key: KeyObject, algorithm: Algorithm): KeyObject {
  if (key.type !== 'private' || (key.asymmetricKeyType as string) !== algorithm) {
    throw new TypeError(`expected a private key of ${algorithm}, not ${key.asymmetricKeyType ?? key.type}`);
  }
  return key;
}

/** FIPS 204 §5.2, FIPS 205 §10.2: a longer one is an error, also when a signature is checked. */
export function bounded(context: Uint8Array): Uint8Array {
  if (context.length > 255) throw new RangeError(`a context has at most 255 bytes, not ${context.length}`);
  return context;
}
