// The start-up self-test: every primitive that Aegis relies on is asked for a known answer before a key is derived, as FIPS
// 140-3 asks of a module. It finds a library that was built or patched wrongly, an engine that was swapped, and a processor
// that miscomputes. The daemon refuses to start on what it returns. Costs 8 ms, or 70 to 110 with noble, whose code is cold
// then. Long answers are in answers.json, each with its source; short ones are here.
import {
  createPrivateKey,
  createPublicKey,
  decapsulate,
  hkdfSync,
  type KeyFormat,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { keccak_256 } from '@noble/hashes/sha3.js';
import secp256k1 from 'secp256k1';
import { sha512 } from '../actors/digest.ts';
import { equal, fromBase64, utf8 } from '../actors/encoding.ts';
import { openGcm } from './aead.ts';
import answers from './answers.json' with { type: 'json' };
import { eciesKey, openEcies } from './ecies.ts';
import type { Engine } from './engine.ts';
import { nativeKeccak, recoverKey } from './recovery.ts';
import { decapsulateXWing, mlkemKey, xwingKey } from './xwing.ts';

/** What is asked, as the rest of Aegis calls it. A test puts a broken one in the place of each. */
export interface Primitives {
  readonly engine: Engine;
  readonly sha512: (message: Uint8Array) => Uint8Array;
  readonly keccak256: (message: Uint8Array) => Uint8Array;
  readonly nativeKeccak: (message: Uint8Array) => Uint8Array;
  readonly hkdfSha512: (material: Uint8Array, salt: Uint8Array, info: Uint8Array, bytes: number) => Uint8Array;
  readonly openGcm: typeof openGcm;
  readonly ed25519Sign: (key: KeyObject, message: Uint8Array) => Uint8Array;
  readonly ed25519Verify: (key: KeyObject, message: Uint8Array, signature: Uint8Array) => boolean;
  readonly ecdsaSign: (hash: Uint8Array, scalar: Uint8Array) => { signature: Uint8Array; recid: number };
  readonly recoverKey: typeof recoverKey;
  readonly mlKemDecapsulate: (seed: Uint8Array, ciphertext: Uint8Array) => Uint8Array;
  readonly xWingDecapsulate: (seed: Uint8Array, ciphertext: Uint8Array) => Uint8Array | null;
  readonly openEcies: (scalar: Uint8Array, sealed: Uint8Array) => Uint8Array | null;
}

/** Those that run here. */
export const primitives = (engine: Engine): Primitives => ({
  engine,
  sha512,
  keccak256: keccak_256,
  nativeKeccak,
  hkdfSha512: (material, salt, info, bytes) => new Uint8Array(hkdfSync('sha512', material, salt, info, bytes)),
  openGcm,
  ed25519Sign: (key, message) => sign(null, message, key),
  ed25519Verify: (key, message, signature) => verify(null, message, key, signature),
  ecdsaSign: (hash, scalar) => secp256k1.ecdsaSign(hash, scalar),
  recoverKey,
  mlKemDecapsulate: (seed, ciphertext) => decapsulate(mlkemKey(seed), ciphertext),
  xWingDecapsulate: (seed, ciphertext) => decapsulateXWing(xwingKey(seed).handle, ciphertext),
  openEcies: (scalar, sealed) => openEcies(eciesKey(scalar).handle, sealed),
});

const KNOWN: Readonly<Record<string, (of: Primitives) => boolean>> = {
  'SHA-512': knownSha512,
  'Keccak-256': knownKeccak,
  'HKDF-SHA-512': knownHkdf,
  'AES-256-GCM': knownGcm,
  Ed25519: knownEd25519,
  'ECDSA-secp256k1': knownEcdsa,
  'ML-KEM-768': knownMlKem,
  'X-Wing': knownXWing,
  ECIES: ({ openEcies }) => is(openEcies(EIP155.scalar, fromBase64(answers.ecies.sealed)), answers.ecies.plaintext),
  'ML-DSA-87': knownMlDsa,
  'SLH-DSA-SHA2-256s': knownSlhDsa,
};

/** In the order in which they are asked. */
export const PRIMITIVES = Object.keys(KNOWN);

/**
 * Asks for all answers, also after the first wrong one.
 *
 * @returns  the names of the primitives that answered wrongly or threw; none when all is well
 */
export function selfTest(of: Primitives): string[] {
  return PRIMITIVES.filter((name) => {
    try {
      return !KNOWN[name]!(of);
    } catch {
      return true;
    }
  });
}

const bytes = (hex: string): Uint8Array => Uint8Array.fromHex(hex);
const is = (found: Uint8Array | null, hex: string): boolean => found !== null && equal(found, bytes(hex));

/** The last bit: a check that reads everything must notice. */
function spoiled(text: Uint8Array): Uint8Array {
  const copy = text.slice();
  copy[copy.length - 1]! ^= 1;
  return copy;
}

/** FIPS 180-4: the example of one block in the secure hash standard. */
function knownSha512(of: Primitives): boolean {
  return is(
    of.sha512(utf8('abc')),
    'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
  );
}

/** The hash of nothing, as in the yellow paper of Ethereum (the root of no code). */
function knownKeccak(of: Primitives): boolean {
  const root = 'c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470';
  return [of.keccak256, of.nativeKeccak].every((keccak) => is(keccak(new Uint8Array(0)), root));
}

/** The inputs of RFC 5869, appendix A.1, with SHA-512. */
function knownHkdf(of: Primitives): boolean {
  const [material, salt, info] = ['0b'.repeat(22), '000102030405060708090a0b0c', 'f0f1f2f3f4f5f6f7f8f9'].map(bytes);
  return is(
    of.hkdfSha512(material!, salt!, info!, 42),
    '832390086cda71fb47625bb5ceb168e4c8e26a1a16ed34d9fc7fe92c1481579338da362cb8d9f925d7cb',
  );
}

/** McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, test case 16; and a spoiled tag. */
function knownGcm(of: Primitives): boolean {
  const key = bytes('feffe9928665731c6d6a8f9467308308'.repeat(2));
  const nonce = bytes('cafebabefacedbaddecaf888');
  const ciphertext = bytes(
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662',
  );
  const aad = bytes('feedfacedeadbeeffeedfacedeadbeefabaddad2');
  const tag = bytes('76fc6ece0f4e1768cddf8853bb2d551b');
  const plaintext =
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39';
  return (
    is(of.openGcm(key, nonce, ciphertext, tag, aad), plaintext) &&
    of.openGcm(key, nonce, ciphertext, spoiled(tag), aad) === null
  );
}

/** RFC 8032 §7.1, TEST 2: Ed25519 is deterministic, so the signature is known, too. */
function knownEd25519(of: Primitives): boolean {
  const seed = bytes('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb');
  const key = createPrivateKey({ key: seed, format: 'raw-private', asymmetricKeyType: 'ed25519' });
  const publicKey = createPublicKey(key);
  const message = Uint8Array.of(0x72);
  const signature =
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00';
  return (
    is(
      publicKey.export({ format: 'raw-public' }),
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    ) &&
    is(of.ed25519Sign(key, message), signature) &&
    of.ed25519Verify(publicKey, message, bytes(signature)) &&
    !of.ed25519Verify(publicKey, message, spoiled(bytes(signature)))
  );
}

/** The example of EIP-155: signing by RFC 6979 is deterministic, and the sender's key comes back. */
const EIP155 = {
  scalar: bytes('46'.repeat(32)),
  hash: bytes('daf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53'),
  signature: bytes(
    '28ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa63627667cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83',
  ),
  publicKey:
    '4bc2a31265153f07e70e0bab08724e6b85e217f8cd628ceb62974247bb493382ce28cab79ad7119ee1ad3ebcdb98a16805211530ecc6cfefa1b88e6dff99232a',
} as const;

function knownEcdsa(of: Primitives): boolean {
  const { hash, scalar, signature, publicKey } = EIP155;
  const made = of.ecdsaSign(hash, scalar);
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)].map((half) => BigInt(`0x${half.toHex()}`));
  const recovered = (y_parity: 0 | 1) => of.recoverKey(hash, { r: r!, s: s!, y_parity });
  return (
    made.recid === 0 && equal(made.signature, signature) && is(recovered(0), publicKey) && !is(recovered(1), publicKey)
  );
}

/** A ciphertext that was made for the key, and one that was not: FIPS 203 §6.3 gives a secret for both. */
function knownMlKem(of: Primitives): boolean {
  return [answers.ml_kem_768, answers.ml_kem_768_rejected].every(({ seed, ciphertext, shared_secret }) =>
    is(of.mlKemDecapsulate(bytes(seed), fromBase64(ciphertext)), shared_secret),
  );
}

function knownXWing(of: Primitives): boolean {
  const { seed, ciphertext, shared_secret } = answers.x_wing;
  return is(of.xWingDecapsulate(bytes(seed), fromBase64(ciphertext)), shared_secret);
}

/** The key that a seed gives, a signature that is known, one spoiled, and one of its own. */
function knownMlDsa({ engine }: Primitives): boolean {
  const known = answers.ml_dsa_87;
  const scheme = engine.ml_dsa_87;
  const key = createPrivateKey({
    key: bytes(known.seed),
    format: 'raw-seed' satisfies KeyFormat,
    asymmetricKeyType: 'ml-dsa-87',
  });
  const publicKey = scheme.publicKey(key);
  const [message, context] = [bytes(known.message), bytes(known.context)];
  const signature = fromBase64(known.signature);
  return (
    is(sha512(publicKey), known.public_key_sha512) &&
    scheme.verify(publicKey, message, context, signature) &&
    !scheme.verify(publicKey, message, context, spoiled(signature)) &&
    scheme.verify(publicKey, message, context, scheme.sign(key, message, context))
  );
}

/** A signature that is known, and one spoiled. To make one would hold up the start by most of a second; fresh keys do. */
function knownSlhDsa({ engine }: Primitives): boolean {
  const known = answers.slh_dsa_sha2_256s;
  const { verify } = engine.slh_dsa_sha2_256s;
  const [publicKey, signature] = [fromBase64(known.public_key), fromBase64(known.signature)];
  const [message, context] = [bytes(known.message), bytes(known.context)];
  return verify(publicKey, message, context, signature) && !verify(publicKey, message, context, spoiled(signature));
}
