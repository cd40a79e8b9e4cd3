// SLH-DSA-SHA2-256s keys as far as OpenSSL makes them: of one that was published before, PK.root is known. They are proven to be pairs
// before they are published. slhdsa.ts computes the root of a new one, on a thread.
import { createPrivateKey, createSecretKey, type KeyObject } from 'node:crypto';
import type { DeriveTask } from './job.ts';

export const SLH_DSA_SEED_BYTES = 96;
/** FIPS 205 §9.1: PK.seed ‖ PK.root is the public key. */
export const PK_ROOT_BYTES = 32;

/**
 * @param seed  SK.seed ‖ SK.prf ‖ PK.seed, 96 bytes; wiping it is the caller's job
 * @param root  PK.root, 32 bytes, of a public key that was proven and published; believed, so a wrong one signs what doesn't verify
 */
export function slhDsaKeyOf(seed: Uint8Array, root: Uint8Array): KeyObject {
  const secretKey = new Uint8Array(new ArrayBuffer(SLH_DSA_SEED_BYTES + PK_ROOT_BYTES));
  secretKey.set(seed);
  secretKey.set(root, SLH_DSA_SEED_BYTES);
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

/** What `derive` takes. @param seed  copied; wiping it is the caller's job */
export const deriveTask = (seed: Uint8Array): DeriveTask => ({ seed: createSecretKey(seed) });
