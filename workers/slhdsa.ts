// Makes an SLH-DSA-SHA2-256s key from its seeds (FIPS 205 §9.1). OpenSSL takes a private key only whole and believes its
// PK.root, so noble computes that: 2^8 WOTS+ keys, a quarter of a second. The sealing thread does it (job `derive`), because nothing
// may hold up the main thread for so long.
import { createPublicKey, type KeyObject } from 'node:crypto';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import { equal } from '../actors/bytes.ts';
import type { DeriveTask } from './job.ts';
import { PK_ROOT_BYTES, SLH_DSA_SEED_BYTES, slhDsaKeyOf } from './slhdsakey.ts';

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

/** On a thread: the seed comes and the key goes as handles, so that no message holds their bytes. */
export function derive({ seed }: DeriveTask): KeyObject {
  const exported = seed.export();
  const bytes = new Uint8Array(new ArrayBuffer(SLH_DSA_SEED_BYTES));
  bytes.set(exported);
  exported.fill(0);
  try {
    return slhDsaKey(bytes);
  } finally {
    bytes.fill(0);
  }
}
