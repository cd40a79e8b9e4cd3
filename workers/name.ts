// IPNS names on a thread (DESIGN §10): opens the key of a name, signs its record anew, and wipes the key; and examines records and
// keys that come from outside before anything is kept of them. A task is a chunk of names, since a message each would cost more
// than half of the signatures; whatever is wrong with one row is its own answer and touches no other.
//
// Promises: a seed is off the V8 heap, signs through OpenSSL without a KeyObject that would outlive it, and is zeroed before the
// row ends. What leaves has been verified under the key that the name is, so a foreign key and a computing fault are both met.
import { createPublicKey, type KeyObject, type SignPrivateKeyInput, sign, verify } from 'node:crypto';
import { concat, utf8 } from '../actors/bytes.ts';
import { dataOf, type IpnsEntry, keyOfName, readRecord, signedV1, signedV2, writeRecord } from '../actors/ipns.ts';
import { type EciesHandle, openEcies, sealEcies } from './ecies.ts';

/** What opens the keys of names that are encrypted to an epoch. */
export interface NamesKey {
  readonly epoch: number;
  readonly names: EciesHandle;
}

export interface WrappedName {
  readonly epoch: number;
  readonly wrapped: Uint8Array;
}

/** A name, and what its new record says. */
export interface ExtendRow extends WrappedName, IpnsEntry {
  readonly name: string;
}

export interface ExtendTask {
  readonly rows: readonly ExtendRow[];
  /** Of every epoch that still has keys. */
  readonly keys: readonly NamesKey[];
  /** The active epoch and its public names key: keys of another epoch are encrypted to it. */
  readonly to: { readonly epoch: number; readonly point: Uint8Array };
}

export type KeyRefusal = 'key_unopenable' | 'key_foreign' | 'key_retired';
export type ExtendOutcome =
  | { readonly ok: true; readonly record: Uint8Array; readonly rewrapped: WrappedName | null }
  | { readonly ok: false; readonly code: KeyRefusal };

/** A record that claims to be of this name, and perhaps a key that does. */
export interface ExamineRow {
  readonly name: string;
  readonly record: Uint8Array | null;
  readonly key: WrappedName | null;
}
export interface ExamineTask {
  readonly rows: readonly ExamineRow[];
  readonly keys: readonly NamesKey[];
}
export type ExamineOutcome =
  | { readonly ok: true; readonly entry: (IpnsEntry & { readonly eol_ms: number }) | null }
  | { readonly ok: false; readonly code: KeyRefusal | 'record_invalid' | 'record_foreign' };

const SEED_BYTES = 32;
/** Neither a V1 nor a V2 record begins so: what is signed to try a key says nothing to anybody. */
const TRIAL = utf8('aegis/name-trial/v1\0');

export function extend({ rows, keys, to }: ExtendTask): ExtendOutcome[] {
  const handles = handlesOf(keys);
  return rows.map((row) => {
    const publicKey = publicKeyOf(row.name);
    return withSeed(row, handles, (seed) => {
      const data = dataOf(row);
      const [message_v1, message_v2] = [signedV1(row), signedV2(data)];
      const signature = signWith(seed, message_v2);
      // The name's own key decides: of another seed, or of a machine that computes wrongly, nothing leaves.
      if (!verify(null, message_v2, publicKey, signature)) return { ok: false, code: 'key_foreign' };
      const record = writeRecord(row, signWith(seed, message_v1), signature, data);
      const rewrapped = row.epoch === to.epoch ? null : { epoch: to.epoch, wrapped: sealEcies(to.point, seed) };
      return { ok: true, record, rewrapped };
    });
  });
}

export function examine({ rows, keys }: ExamineTask): ExamineOutcome[] {
  const handles = handlesOf(keys);
  return rows.map(({ name, record, key }): ExamineOutcome => {
    const publicKey = publicKeyOf(name);
    const read = record === null ? null : readRecord(record, keyOfName(name)!);
    if (read === undefined) return { ok: false, code: 'record_invalid' };
    if (read !== null && !verify(null, signedV2(read.data), publicKey, read.signature)) {
      return { ok: false, code: 'record_foreign' };
    }
    const code = key === null ? null : tryKey(name, publicKey, key, handles);
    if (code !== null) return { ok: false, code };
    if (read === null) return { ok: true, entry: null };
    const { value, sequence, ttl_ns, validity, eol_ms } = read;
    return { ok: true, entry: { value, sequence, ttl_ns, validity, eol_ms } };
  });
}

/** @returns why it is not the key of the name; null when it is */
function tryKey(name: string, publicKey: KeyObject, key: WrappedName, handles: Handles): KeyRefusal | null {
  const message = concat(TRIAL, utf8(name));
  const tried = withSeed(key, handles, (seed) =>
    verify(null, message, publicKey, signWith(seed, message))
      ? { ok: true as const }
      : { ok: false as const, code: 'key_foreign' as const },
  );
  return tried.ok ? null : tried.code;
}

type Handles = ReadonlyMap<number, EciesHandle>;
const handlesOf = (keys: readonly NamesKey[]): Handles => new Map(keys.map(({ epoch, names }) => [epoch, names]));

/** Opens a seed for one call, and zeroes it whatever comes of that. */
function withSeed<T>(
  { epoch, wrapped }: WrappedName,
  handles: Handles,
  act: (seed: Uint8Array) => T | { readonly ok: false; readonly code: KeyRefusal },
): T | { readonly ok: false; readonly code: KeyRefusal } {
  const handle = handles.get(epoch);
  if (handle === undefined) return { ok: false, code: 'key_retired' };
  const seed = openEcies(handle, wrapped);
  if (seed === null) return { ok: false, code: 'key_unopenable' };
  try {
    if (seed.length !== SEED_BYTES) return { ok: false, code: 'key_unopenable' };
    return act(seed);
  } finally {
    seed.fill(0);
  }
}

/**
 * The key is OpenSSL's for this signature alone, which cleanses it. Never as PKCS #8: the decoder frees a copy of what it read without
 * wiping it, and a seed was found there.
 */
function signWith(seed: Uint8Array, message: Uint8Array): Uint8Array {
  const key = { key: seed, format: 'raw-private', asymmetricKeyType: 'ed25519' };
  // @types/node knows this form for createPrivateKey alone.
  return new Uint8Array(sign(null, message, key as unknown as SignPrivateKeyInput));
}

function publicKeyOf(name: string): KeyObject {
  const key = keyOfName(name);
  if (key === undefined) throw new RangeError('a name is of an Ed25519 key');
  return createPublicKey({ key, format: 'raw-public', asymmetricKeyType: 'ed25519' });
}
