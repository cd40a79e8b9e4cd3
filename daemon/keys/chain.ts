// The signature chain of a dstack key: the app root signed the key's public half, the KMS root signed the app root. Reads of
// it who signed; whether those are the right ones is the key source's to say (dstack.ts). Source: dstack
// `docs/guest-api-v0.md` "The signature chain"; the other generation is known only in order to be told apart.
import { keccak_256 } from '@noble/hashes/sha3.js';
import secp256k1 from 'secp256k1';
import { concat, uintBytes, utf8 } from '../../actors/encoding.ts';

/** r ‖ s ‖ v. */
export const LINK_BYTES = 65;
const KMS_ISSUED = utf8('dstack-kms-issued:');
const V1_CLAIM = utf8('dstack-guest-v1-key-claim');

export interface Claim {
  /** 32 bytes, a secp256k1 scalar. */
  readonly key: Uint8Array;
  /** What the key was asked for under: `purpose` in v0, `domain` in v1. */
  readonly label: string;
  readonly generation: 'v0' | 'v1';
}

export interface Issuers {
  /** SEC 1 compressed, 33 bytes each. */
  readonly app_root: Uint8Array;
  readonly kms_root: Uint8Array;
}

/**
 * Whoever holds any key can make a chain of the right form: the answer is worth as much as its `kms_root` is trusted.
 *
 * @param links   two of 65 bytes
 * @param app_id  20 bytes
 * @returns       who signed; undefined when a link is no signature in low-s form (which would have a twin), or the key no scalar
 */
export function issuers(claim: Claim, links: readonly Uint8Array[], app_id: Uint8Array): Issuers | undefined {
  const [first, second] = links;
  if (first === undefined || second === undefined || !secp256k1.privateKeyVerify(claim.key)) return undefined;
  const app_root = signer(keccak_256(claimed(claim)), first);
  if (app_root === undefined) return undefined;
  const kms_root = signer(keccak_256(concat(KMS_ISSUED, app_id, app_root)), second);
  return kms_root === undefined ? undefined : { app_root, kms_root };
}

function claimed({ key, label, generation }: Claim): Uint8Array {
  const public_key = secp256k1.publicKeyCreate(key, true);
  if (generation === 'v0') return utf8(`${label}:${public_key.toHex()}`);
  return concat(...[V1_CLAIM, utf8('secp256k1'), utf8(label), public_key].map(prefixed));
}

/** `LP` of guest-api-v1.md. */
const prefixed = (bytes: Uint8Array): Uint8Array => concat(uintBytes(bytes.length, 4), bytes);

/** SEC 1 §4.1.6; dstack's v goes up to 3, but beyond 1 it takes an r that nobody has ever seen. */
function signer(hash: Uint8Array, link: Uint8Array): Uint8Array | undefined {
  const [signature, recovery] = [link.slice(0, 64), link[64]];
  if (link.length !== LINK_BYTES || recovery === undefined || recovery > 1) return undefined;
  try {
    const low = secp256k1.signatureNormalize(signature.slice());
    if (low.some((byte, i) => byte !== signature[i])) return undefined;
    return secp256k1.ecdsaRecover(signature, recovery, hash, true);
  } catch {
    return undefined;
  }
}
