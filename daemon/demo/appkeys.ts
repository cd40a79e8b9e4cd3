// The keys of a simulated dstack app: an app root that a KMS root has signed, in the form of the official simulator's
// appkeys.json, and what the guest agent derives from it. Called by agent.ts. Sources: dstack `docs/guest-api-v0.md`,
// `guest-api-v1.md`. Written apart from keys/chain.ts, which checks what this makes; published vectors hold both.
import { createPrivateKey, createPublicKey, hkdfSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { keccak_256 } from '@noble/hashes/sha3.js';
import secp256k1 from 'secp256k1';
import { z } from 'zod';
import { concat, uintBytes, utf8 } from '../../actors/encoding.ts';
import { RequestError } from '../cli/connection.ts';

/** Of the official simulator; its appkeys.json doesn't say it. */
const OFFICIAL_APP_ID = '5bb4ff9a3837357f19dc176407a5709c62eb6c56';

const bytes = (length: number) =>
  z
    .string()
    .regex(new RegExp(`^[0-9a-f]{${length * 2}}$`))
    .transform((text) => Uint8Array.fromHex(text));
const File = z.object({ k256_key: bytes(32), k256_signature: bytes(65), app_id: bytes(20).optional() });

export interface AppKeys {
  readonly app_id: Uint8Array;
  readonly k256_key: Uint8Array;
  /** The second link of every chain. */
  readonly k256_signature: Uint8Array;
}

export interface Answer {
  readonly key: Uint8Array;
  readonly public_key: Uint8Array;
  readonly signature_chain: readonly Uint8Array[];
}

/** A KMS made for this, which signs an app root made for this. */
export function makeAppKeys(app_id: Uint8Array = new Uint8Array(randomBytes(20))): AppKeys {
  return issue(scalar(), scalar(), app_id);
}

/** @param kms_key  signs the app root @param k256_key  the app root */
export function issue(kms_key: Uint8Array, k256_key: Uint8Array, app_id: Uint8Array): AppKeys {
  const root = secp256k1.publicKeyCreate(k256_key, true);
  return { app_id, k256_key, k256_signature: signLink(kms_key, concat(utf8('dstack-kms-issued:'), app_id, root)) };
}

/** Keys of a file in the form of appkeys.json; made there where there is none. @throws {RequestError} `keys_invalid` */
export function openAppKeys(path: string): AppKeys {
  if (!existsSync(path)) {
    const made = makeAppKeys();
    const content = Object.entries(made).map(([name, value]) => [name, (value as Uint8Array).toHex()]);
    writeFileSync(path, `${JSON.stringify(Object.fromEntries(content), null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    return made;
  }
  try {
    const { app_id = Uint8Array.fromHex(OFFICIAL_APP_ID), ...keys } = File.parse(
      JSON.parse(readFileSync(path, 'utf8')),
    );
    return { app_id, ...keys };
  } catch (cause) {
    throw new RequestError('keys_invalid', `${path} holds no appkeys.json of dstack's simulator`, { cause });
  }
}

/** Whom the chain leads to, SEC 1 compressed. */
export function kmsRoot({ app_id, k256_key, k256_signature }: AppKeys): Uint8Array {
  const root = secp256k1.publicKeyCreate(k256_key, true);
  const hash = keccak_256(concat(utf8('dstack-kms-issued:'), app_id, root));
  return secp256k1.ecdsaRecover(k256_signature.subarray(0, 64), k256_signature[64]!, hash, true);
}

/** @param algorithm  `secp256k1` or `ed25519`; it changes the public key, not the key */
export function deriveV0(keys: AppKeys, path: string, purpose: string, algorithm: string): Answer {
  const key = new Uint8Array(hkdfSync('sha256', keys.k256_key, utf8('RATLS'), utf8(path), 32));
  const public_key = publicKey(key, algorithm);
  const link = signLink(keys.k256_key, utf8(`${purpose}:${public_key.toHex()}`));
  return { key, public_key, signature_chain: [link, keys.k256_signature] };
}

/** The other generation: other keys, other claims. */
export function deriveV1(keys: AppKeys, domain: string, algorithm: string): Answer {
  const info = prefixed('dstack-guest-v1-key', algorithm, domain);
  const key = new Uint8Array(hkdfSync('sha256', keys.k256_key, utf8('dstack-guest-v1'), info, 32));
  const public_key = publicKey(key, algorithm);
  const claim = prefixed('dstack-guest-v1-key-claim', algorithm, domain, public_key);
  return { key, public_key, signature_chain: [signLink(keys.k256_key, claim), keys.k256_signature] };
}

export function ed25519(seed: Uint8Array): ReturnType<typeof createPrivateKey> {
  const der = concat(Uint8Array.fromHex('302e020100300506032b657004220420'), seed);
  return createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' });
}

function publicKey(key: Uint8Array, algorithm: string): Uint8Array {
  if (algorithm === 'secp256k1') return secp256k1.publicKeyCreate(key, true);
  const spki = createPublicKey(ed25519(key) as never).export({ format: 'der', type: 'spki' });
  return new Uint8Array(spki.subarray(-32));
}

/** r ‖ s ‖ v over Keccak-256; low-s, RFC 6979. */
function signLink(key: Uint8Array, message: Uint8Array): Uint8Array {
  const { signature, recid } = secp256k1.ecdsaSign(keccak_256(message), key);
  return concat(signature, Uint8Array.of(recid));
}

function prefixed(...fields: readonly (string | Uint8Array)[]): Uint8Array {
  const all = fields.map((field) => (typeof field === 'string' ? utf8(field) : field));
  return concat(...all.flatMap((field) => [uintBytes(field.length, 4), field]));
}

function scalar(): Uint8Array {
  for (;;) {
    const key = new Uint8Array(randomBytes(32));
    if (secp256k1.privateKeyVerify(key)) return key;
  }
}
