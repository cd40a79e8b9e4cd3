// The one place that derives keys (DESIGN §5): HKDF-SHA-512 with the path as info, from what the key source gives. Out come
// public keys as bytes and private ones as handles, which threads can use without seeing bytes; every intermediate is off
// the V8 heap and wiped.
import { createECDH, createPrivateKey, createPublicKey, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { keysetDigest } from '../../actors/digest.ts';
import { base64, fromBase64, hex } from '../../actors/encoding.ts';
import { KEY_SOURCES, type Keyset } from '../../actors/keyset.ts';
import { type EciesHandle, eciesKey } from '../../workers/ecies.ts';
import { type XWingHandle, xwingKey } from '../../workers/xwing.ts';
import { p256Key } from '../tls.ts';
import type { KeySource } from './source.ts';

/** SEC 2 §2.4.1. */
const SECP256K1_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** SEC 2 §2.4.2. */
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const ED25519_PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** What an epoch keeps until it retires: it opens what was encrypted to it, and signs nothing. */
export interface ReadingKeys {
  readonly epoch: number;
  readonly x_wing: XWingHandle;
  readonly ecies: EciesHandle;
  /** Wraps the data keys of assets: a secret key object of 32 bytes. */
  readonly asset: KeyObject;
  /** Opens the keys of IPNS names. */
  readonly names: EciesHandle;
  /** The public half, all but what the log and the clock decide. */
  readonly public: Omit<Keyset, 'chain_id' | 'log_id' | 'epoch' | 'key_source' | 'not_before_ms'>;
}

/** The whole private half of an epoch, as handles; `secp256k1` is a secret key object of 32 bytes. */
export interface EpochKeys extends ReadingKeys {
  readonly ml_dsa_87: KeyObject;
  readonly slh_dsa_sha2_256s: KeyObject;
  readonly secp256k1: KeyObject | null;
  readonly receipt: KeyObject;
  /** NIST P-256, of the TLS that ends here; null where the published keyset has none. */
  readonly tls: KeyObject | null;
}

/** Makes a key of 96 bytes of seeds: in place, or on a thread. */
export type MakeSlhDsa = (seed: Uint8Array) => KeyObject | Promise<KeyObject>;

export const path = (role: string, algorithm: string, epoch: number): string =>
  `aegis/${role}/${algorithm}/epoch/${epoch}`;

/** The role `store`: seals records at rest. It belongs to no epoch, so it stands before the first. */
export async function storeKey(source: KeySource): Promise<KeyObject> {
  return secret(source, path('store', 'aes-256-gcm', 0), 32, (bytes) => createSecretKey(bytes));
}

/** Of a witness: it signs acknowledgements. It belongs to no epoch, since it is the identity that sequencers remember. */
export async function deriveWitness(source: KeySource): Promise<{ ml_dsa_87: KeyObject; public_key: Uint8Array }> {
  const at = path('witness', 'ml-dsa-87', 0);
  const ml_dsa_87 = await secret(source, at, 32, mlDsaKey);
  return { ml_dsa_87, public_key: fromBase64(raw(ml_dsa_87)) };
}

/** What `deriveReading` gives: its own part of the public half. */
export interface ReadingHalf extends Omit<ReadingKeys, 'public'> {
  readonly public: Pick<Keyset, 'x_wing' | 'ecies' | 'names'>;
}

/** The keys of an epoch that signs no more. */
export async function deriveReading(source: KeySource, epoch: number): Promise<ReadingHalf> {
  const secrets = await readingSecrets(source, epoch);
  try {
    return readingOf(epoch, secrets);
  } finally {
    secrets.fill(0);
  }
}

/** What `readingSecrets` gives: four secrets of 32 bytes. */
export const READING_BYTES = 128;

/**
 * What opens and unwraps in an epoch: X-Wing seed ‖ ecies scalar ‖ asset key ‖ names scalar. It leaves this file for one reason: a
 * successor enclave (handover/) that an admin's order allows goes on opening what was encrypted to the epoch.
 *
 * @returns 128 bytes off the V8 heap, the caller's to wipe
 */
export async function readingSecrets(source: KeySource, epoch: number): Promise<Uint8Array> {
  const at = deriver(source, epoch);
  const secrets = new Uint8Array(new ArrayBuffer(READING_BYTES));
  const put = (offset: number) => (bytes: Uint8Array) => secrets.set(bytes, offset);
  await at('envelope', 'x-wing', 32, put(0));
  await at('envelope', 'secp256k1', 48, (wide) => withScalar(wide, put(32)));
  await at('asset', 'aes-256-gcm', 32, put(64));
  await at('names', 'secp256k1', 48, (wide) => withScalar(wide, put(96)));
  return secrets;
}

/** @param secrets  of `readingSecrets`; not kept, and wiping them is the caller's job */
export function readingOf(epoch: number, secrets: Uint8Array): ReadingHalf {
  const x_wing = xwingKey(secrets.subarray(0, 32));
  const ecies = eciesKey(secrets.subarray(32, 64));
  const asset = createSecretKey(secrets.subarray(64, 96));
  const names = eciesKey(secrets.subarray(96, READING_BYTES));
  return {
    epoch,
    x_wing: x_wing.handle,
    ecies: ecies.handle,
    asset,
    names: names.handle,
    public: { x_wing: base64(x_wing.publicKey), ecies: base64(ecies.publicKey), names: base64(names.publicKey) },
  };
}

/** Opens the state of a predecessor, for which it is encrypted to the epoch that will go on with it. */
export async function deriveHandover(source: KeySource, epoch: number): Promise<XWingHandle> {
  return (await deriver(source, epoch)('handover', 'x-wing', 32, xwingKey)).handle;
}

/** The role `inherited`: wraps what a predecessor handed over of its epochs. It belongs to no epoch of its own, as the store's. */
export async function inheritedKey(source: KeySource): Promise<KeyObject> {
  return secret(source, path('inherited', 'aes-256-gcm', 0), 32, (bytes) => createSecretKey(bytes));
}

/** @param slhDsa  `slhDsaKey` in place, or a thread's job: a quarter of a second; `slhDsaKeyOf` where the root is known */
export async function deriveEpoch(
  source: KeySource,
  epoch: number,
  hybrid_ecdsa: boolean,
  slhDsa: MakeSlhDsa,
  with_tls = true,
): Promise<EpochKeys> {
  const at = deriver(source, epoch);

  const ml_dsa_87 = await at('batch', 'ml-dsa-87', 32, mlDsaKey);
  const slh_dsa_sha2_256s = await at('batch', 'slh-dsa-sha2-256s', 96, slhDsa);
  const secp256k1 = hybrid_ecdsa ? await at('batch', 'secp256k1', 48, secp256k1Key) : null;
  const receipt = await deriveReceiptKey(source, epoch);
  const reading = await deriveReading(source, epoch);
  const handover = await at('handover', 'x-wing', 32, xwingKey);
  const tls = with_tls ? await at('tls', 'p-256', 48, (wide) => withScalar(wide, p256Key, P256_ORDER)) : null;

  return {
    ...reading,
    ml_dsa_87,
    slh_dsa_sha2_256s,
    secp256k1: secp256k1?.key ?? null,
    receipt,
    tls,
    public: {
      ...reading.public,
      ml_dsa_87: raw(ml_dsa_87),
      slh_dsa_sha2_256s: raw(slh_dsa_sha2_256s),
      secp256k1: secp256k1 === null ? null : base64(secp256k1.point),
      receipt: raw(receipt),
      handover: base64(handover.publicKey),
      tls: tls === null ? null : base64(p256Point(tls)),
    },
  };
}

/** What an epoch signs receipts with, without the rest of its keys. */
export const deriveReceiptKey = (source: KeySource, epoch: number): Promise<KeyObject> =>
  deriver(source, epoch)('receipt', 'ed25519', 32, ed25519);

/** The published keyset of derived keys, and its digest as 0x-hex. */
export function keysetOf(
  keys: EpochKeys,
  source: KeySource['name'],
  log: { chain_id: string; log_id: string },
  not_before_ms: number,
): { keyset: Keyset; digest: string } {
  const keyset: Keyset = {
    chain_id: log.chain_id,
    log_id: log.log_id,
    epoch: keys.epoch,
    key_source: KEY_SOURCES.indexOf(source),
    not_before_ms,
    ...keys.public,
  };
  return { keyset, digest: hex(keysetDigest(keyset)) };
}

const deriver =
  (source: KeySource, epoch: number) =>
  <T>(role: string, algorithm: string, length: number, use: (bytes: Uint8Array) => T | Promise<T>): Promise<T> =>
    secret(source, path(role, algorithm, epoch), length, use);

/** HKDF-SHA-512 (RFC 5869), empty salt, info = path. */
async function secret<T>(
  source: KeySource,
  path: string,
  length: number,
  use: (bytes: Uint8Array) => T | Promise<T>,
): Promise<T> {
  const material = await source.material(path);
  const bytes = new Uint8Array(hkdfSync('sha512', material, new Uint8Array(0), path, length));
  try {
    return await use(bytes);
  } finally {
    material.fill(0);
    bytes.fill(0);
  }
}

function mlDsaKey(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.from(seed.buffer), format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });
}

function secp256k1Key(wide: Uint8Array): { key: KeyObject; point: Uint8Array } {
  return withScalar(wide, (scalar) => ({ key: createSecretKey(scalar), point: publicPoint(scalar) }));
}

function ed25519(seed: Uint8Array): KeyObject {
  const der = Buffer.from(new ArrayBuffer(ED25519_PKCS8.length + 32));
  der.set(ED25519_PKCS8);
  der.set(seed, ED25519_PKCS8.length);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}

/** FIPS 186-5 §A.2.1: 48 bytes reduced, so that the bias is below 2^-128; never zero. */
function withScalar<T>(wide: Uint8Array, use: (scalar: Uint8Array) => T, order = SECP256K1_ORDER): T {
  let value = 0n;
  for (const byte of wide) value = (value << 8n) | BigInt(byte);
  value = (value % (order - 1n)) + 1n;
  const scalar = new Uint8Array(new ArrayBuffer(32));
  for (let i = 31; i >= 0; i--, value >>= 8n) scalar[i] = Number(value & 0xffn);
  try {
    return use(scalar);
  } finally {
    scalar.fill(0);
  }
}

/** SEC 1 §2.3.3, 65 bytes uncompressed. */
function publicPoint(scalar: Uint8Array): Uint8Array {
  const ecdh = createECDH('secp256k1');
  ecdh.setPrivateKey(scalar);
  return new Uint8Array(ecdh.getPublicKey());
}

/** As in a keyset: 65 bytes, uncompressed, which end the SubjectPublicKeyInfo. */
function p256Point(key: KeyObject): Uint8Array {
  return new Uint8Array(
    createPublicKey(key as never)
      .export({ format: 'der', type: 'spki' })
      .subarray(-65),
  );
}

function raw(key: KeyObject): string {
  return base64(new Uint8Array(createPublicKey(key as never).export({ format: 'raw-public' } as never)));
}
