// Makes an SLH-DSA-SHA2-256s key from its seeds (FIPS 205 §9.1). OpenSSL takes a private key only whole and believes its
// PK.root, so noble computes that: 2^8 WOTS+ keys, most of a second. The keyring does it in place at a store's first start, and on the
// sealing thread (job `derive`) while the daemon runs, because nothing may hold up the main thread for so long. Where the public key
// was published before, its root is taken from there (`slhDsaKeyOf`): keys are proven to be pairs before they are published.
import { createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import { equal } from '../actors/bytes.ts';
import type { DeriveTask } from './job.ts';

const SEED_BYTES = 96;
/** FIPS 205 §9.1: PK.seed ‖ PK.root is the public key. */
export const PK_ROOT_BYTES = 32;

/**
 * @param seed  SK.seed ‖ SK.prf ‖ PK.seed, 96 bytes; wiping it is the caller's job
 * @throws      when OpenSSL reads another public key out of it: the machine computes wrongly
 */
export function slhDsaKey(seed: Uint8Array): KeyObject {
  const { secretKey, publicKey } = slh_dsa_sha2_256s.keygen(seed);
  secretKey.fill(0);
  const key = slhDsaKeyOf(seed, publicKey.subarray(-PK_ROOT_BYTES));
  const read = createPublicKey(key as never).export({ format: 'raw-public' } as never) as unknown as Uint8Array;
  if (!equal(new Uint8Array(read), publicKey)) throw new Error('the halves of an SLH-DSA key differ');
  return key;
}

/**
 * @param seed  as above
 * @param root  PK.root, 32 bytes, of a public key that was proven and published; believed, so a wrong one signs what doesn't verify
 */
export function slhDsaKeyOf(seed: Uint8Array, root: Uint8Array): KeyObject {
  const secretKey = new Uint8Array(new ArrayBuffer(SEED_BYTES + PK_ROOT_BYTES));
  secretKey.set(seed);
  secretKey.set(root, SEED_BYTES);
  try {
    return createPrivateKey({
      key: Buffer.from(secretKey.buffer),
      format: 'raw-private',
      asymmetricKeyType: 'slh-dsa-sha2-256s',
    });
  } finally {
    secretKey.fill(0);
  }
}

/** On a thread: the seed comes and the key goes as handles, so that no message holds their bytes. */
export function derive({ seed }: DeriveTask): KeyObject {
  const exported = seed.export();
  const bytes = new Uint8Array(new ArrayBuffer(SEED_BYTES));
  bytes.set(exported);
  exported.fill(0);
  try {
    return slhDsaKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

/** What `derive` takes. @param seed  copied; wiping it is the caller's job */
export const deriveTask = (seed: Uint8Array): DeriveTask => ({ seed: createSecretKey(seed) });
