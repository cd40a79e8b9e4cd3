// Wraps: secrets at rest under a key of an epoch (DESIGN §2 "wraps bind asset id and epoch", §5). This file is the format
// and the work on a thread: the room that keeps wraps (daemon/wraps.ts) sends rows by the hundred, because opening and
// sealing again are what re-encryption costs. A secret exists here between two calls of OpenSSL and is wiped.
//
//   sealed under `asset`  0x01 ‖ nonce (12, random) ‖ AES-256-GCM ciphertext ‖ tag (16)
//     AAD                 "aegis/wrap/v1" ‖ 0x00 ‖ kind ‖ 0x00 ‖ uint32 epoch ‖ id
//   sealed to `names`     the ecies format (ecies.ts), which binds nothing: whoever opens a name's key holds it against
//                         the name, because the key must be the key of that name
import { createCipheriv, type KeyObject, randomFillSync } from 'node:crypto';
import { concat, uintBytes, utf8 } from '../actors/bytes.ts';
import { openGcm, TAG_BYTES } from './aead.ts';
import { type EciesHandle, openEcies, sealEcies } from './ecies.ts';

/** What a wrap is for and which epoch's key it is under; all of it is authenticated. */
export interface Place {
  /** ASCII without a zero byte, so that the AAD is injective. */
  readonly kind: string;
  readonly id: string;
  readonly epoch: number;
}

/** A wrap of a known kind and epoch. */
export interface WrapRow {
  readonly id: string;
  readonly wrapped: Uint8Array;
}

/** From one epoch to another: all rows of a task are of one kind. `to` of a name is the public point. */
export type RewrapTask = { readonly rows: readonly WrapRow[] } & (
  | { readonly scheme: 'aes'; readonly kind: string; readonly from: WrapKey; readonly to: WrapKey }
  | { readonly scheme: 'ecies'; readonly from: EciesHandle; readonly to: Uint8Array }
);
/** One for each row; null where a row doesn't open. */
export type RewrapResult = readonly (Uint8Array | null)[];

export interface WrapKey {
  readonly epoch: number;
  /** A secret key object of 32 bytes. */
  readonly key: KeyObject;
}

/** One secret for the main thread, written into memory that both share: a message would leave copies of it behind. */
export interface UnwrapTask {
  readonly names: EciesHandle;
  readonly wrapped: Uint8Array;
  readonly into: SharedArrayBuffer;
}

const VERSION = 1;
/** NIST SP 800-38D §8.3: random nonces, so at most 2^32 wraps under one epoch's key. */
const NONCE_BYTES = 12;
const HEAD_BYTES = 1 + NONCE_BYTES;

export function sealWrap(key: KeyObject, place: Place, secret: Uint8Array): Uint8Array {
  const nonce = randomFillSync(new Uint8Array(NONCE_BYTES));
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(wrapAad(place));
  const ciphertext = cipher.update(secret);
  cipher.final();
  return concat(Uint8Array.of(VERSION), nonce, ciphertext, cipher.getAuthTag());
}

/** @returns the secret, in memory of its own and the caller's to wipe; null when it is no wrap of this place */
export function openWrap(key: KeyObject, place: Place, wrapped: Uint8Array): Uint8Array | null {
  const end = wrapped.length - TAG_BYTES;
  if (end < HEAD_BYTES || wrapped[0] !== VERSION) return null;
  const nonce = wrapped.subarray(1, HEAD_BYTES);
  return openGcm(key, nonce, wrapped.subarray(HEAD_BYTES, end), wrapped.subarray(end), wrapAad(place));
}

export function wrapAad({ kind, id, epoch }: Place): Uint8Array {
  return concat(utf8(`aegis/wrap/v1\0${kind}\0`), uintBytes(epoch, 4), utf8(id));
}

/** Moves rows from one epoch to another. A row that doesn't open is null and touches no other. */
export function rewrap(task: RewrapTask): RewrapResult {
  return task.rows.map((row) => {
    const secret = openRow(task, row);
    if (secret === null) return null;
    try {
      return task.scheme === 'aes'
        ? sealWrap(task.to.key, { kind: task.kind, id: row.id, epoch: task.to.epoch }, secret)
        : sealEcies(task.to, secret);
    } finally {
      secret.fill(0);
    }
  });
}

function openRow(task: RewrapTask, { id, wrapped }: WrapRow): Uint8Array | null {
  if (task.scheme === 'ecies') return openEcies(task.from, wrapped);
  return openWrap(task.from.key, { kind: task.kind, id, epoch: task.from.epoch }, wrapped);
}

/** @returns the length of the secret, which is in `into`; null when it doesn't open, or is longer than a key can be */
export function unwrap({ names, wrapped, into }: UnwrapTask): number | null {
  const secret = openEcies(names, wrapped);
  if (secret === null) return null;
  try {
    if (secret.length > into.byteLength) return null;
    new Uint8Array(into).set(secret);
    return secret.length;
  } finally {
    secret.fill(0);
  }
}
