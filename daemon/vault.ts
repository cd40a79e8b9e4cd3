/**
 * Seals records before LMDB sees them: AES-256-GCM, bound to table and key, so that a record can be neither read nor moved by the host.
 * The store calls `seal` and `open` for every record; the watermark and the store's digest take keys from `derive`.
 *
 * No (key, nonce) pair ever repeats, not even when a host restores an old disk and runs from it: every process run draws a random salt,
 * derives a record key of its own from it, and counts nonces in memory.
 *
 *   record = 0x01 ‖ salt (16) ‖ nonce counter (8, big-endian) ‖ ciphertext ‖ tag (16)
 *   record key = HKDF-SHA-512(ikm = store key, salt, info = "aegis/store/record/v1"), 32 bytes
 *   nonce = 00000000 ‖ counter;  AAD = table ‖ 0x00 ‖ encoded key ‖ 0x01
 */
import assert from 'node:assert';
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { Fault } from './fault.ts';

/** Version of the record format: the first byte of each record and the last of its AAD. */
export const RECORD_VERSION = 1;
const SALT_BYTES = 16;
const COUNTER_BYTES = 8;
/** NIST SP 800-38D: the full 128-bit tag. */
export const TAG_BYTES = 16;
const HEAD_BYTES = 1 + SALT_BYTES + COUNTER_BYTES;
/** What sealing adds to a plaintext. */
export const OVERHEAD_BYTES = HEAD_BYTES + TAG_BYTES;
/** Record keys of earlier runs that are kept; deriving one again costs some 20 µs. */
const KEYS_MAX = 256;
/** NIST SP 800-38D §8.3 bounds one key's records at 2^32 for random nonces; ours count, so this only guards the encoding. */
const COUNTER_MAX = Number.MAX_SAFE_INTEGER;

export type Vault = {
  /** Seals `plaintext` for this place; about 5 µs for 1 KB. */
  seal(table: string, key: Uint8Array, plaintext: Uint8Array): Uint8Array;
  /** @throws Fault `store_corrupt` naming table and key when the record was not sealed for this place under this store key */
  open(table: string, key: Uint8Array, record: Uint8Array): Uint8Array;
  /** 32 bytes for another purpose of the store: HKDF-SHA-512, empty salt, info = `aegis/store/<purpose>/v1`. */
  derive(purpose: string): Uint8Array;
};

/** @param key the epoch-independent key of role `store`, 32 bytes */
export function createVault(key: KeyObject | Uint8Array): Vault {
  const root = key instanceof Uint8Array ? createSecretKey(key) : key;
  assert(root.type === 'secret' && root.symmetricKeySize === 32, 'the store key has 32 bytes');
  const salt = randomBytes(SALT_BYTES);
  const own = recordKey(root, salt);
  const others = new Map<string, KeyObject>([[salt.toString('latin1'), own]]);
  let counter = 0;

  function keyFor(otherSalt: Buffer): KeyObject {
    const name = otherSalt.toString('latin1');
    let found = others.get(name);
    if (found === undefined) {
      found = recordKey(root, otherSalt);
      if (others.size >= KEYS_MAX) others.delete(others.keys().next().value as string);
    } else {
      others.delete(name);
    }
    others.set(name, found); // the newest is last: the first to go is the one used longest ago
    return found;
  }

  return {
    seal(table, recordName, plaintext) {
      assert(counter < COUNTER_MAX, 'the nonce counter never wraps');
      const record = Buffer.allocUnsafe(HEAD_BYTES + plaintext.length + TAG_BYTES);
      record[0] = RECORD_VERSION;
      salt.copy(record, 1);
      record.writeBigUInt64BE(BigInt(counter), 1 + SALT_BYTES);
      counter += 1;
      const cipher = createCipheriv('aes-256-gcm', own, nonceOf(record));
      cipher.setAAD(aadOf(table, recordName));
      record.set(cipher.update(plaintext), HEAD_BYTES);
      cipher.final(); // GCM is a stream: nothing is left
      record.set(cipher.getAuthTag(), HEAD_BYTES + plaintext.length);
      return record;
    },
    open(table, recordName, record) {
      const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
      if (bytes.length < OVERHEAD_BYTES || bytes[0] !== RECORD_VERSION) throw refusal(table, recordName);
      const opener = createDecipheriv('aes-256-gcm', keyFor(bytes.subarray(1, 1 + SALT_BYTES)), nonceOf(bytes), {
        authTagLength: TAG_BYTES,
      });
      opener.setAAD(aadOf(table, recordName));
      opener.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
      const plaintext = opener.update(bytes.subarray(HEAD_BYTES, bytes.length - TAG_BYTES));
      try {
        opener.final();
      } catch {
        throw refusal(table, recordName); // no cause: OpenSSL's says nothing more, and the plaintext must not travel
      }
      return new Uint8Array(plaintext.buffer, plaintext.byteOffset, plaintext.byteLength);
    },
    derive(purpose) {
      return new Uint8Array(hkdfSync('sha512', root, new Uint8Array(0), `aegis/store/${purpose}/v1`, 32));
    },
  };
}

/** The last 16 bytes of a record: they stand for its whole content wherever one record is told from another. */
export function tagOf(record: Uint8Array): Uint8Array {
  return record.subarray(record.length - TAG_BYTES);
}

function recordKey(root: KeyObject, salt: Uint8Array): KeyObject {
  return createSecretKey(new Uint8Array(hkdfSync('sha512', root, salt, 'aegis/store/record/v1', 32)));
}

function nonceOf(record: Buffer): Buffer {
  const nonce = Buffer.alloc(12);
  record.copy(nonce, 12 - COUNTER_BYTES, 1 + SALT_BYTES, HEAD_BYTES);
  return nonce;
}

function aadOf(table: string, key: Uint8Array): Buffer {
  const aad = Buffer.allocUnsafe(table.length + key.length + 2);
  aad.write(table, 0, 'latin1'); // names of tables are ASCII and hold no zero byte, so the AAD is injective
  aad[table.length] = 0;
  aad.set(key, table.length + 1);
  aad[aad.length - 1] = RECORD_VERSION;
  return aad;
}

function refusal(table: string, key: Uint8Array): Fault {
  return new Fault({
    code: 'store_corrupt',
    reason: 'a record does not open',
    table,
    key: Buffer.from(key).toString('hex'),
  });
}
