/**
 * The registry of every table of the store: what its keys and values are, how they are encoded, and their TypeScript types. The store,
 * its check and its migrations know tables through this file alone. A new table is one line in `Rows` and one in `tables` (and a
 * migration where old stores must be filled).
 *
 * Encoded keys sort as bytes, so every codec keeps the order of its keys. Table and key are bound into each record's seal.
 */
import assert from 'node:assert';

/** Values that other rooms own: they validate with their own schema; the store keeps JSON as it is. */
// biome-ignore lint/complexity/noBannedTypes: any JSON object, also an interface without an index signature
export type Json = {};

/** What `tx.effect` owes; the id is the key. */
export type OwedEffect = { kind: string; subject: string | number; data?: unknown };

/** A journal entry as stored; `prev` is the base64 SHA-512 chain hash before it (journal.ts). */
export type JournalRecord = { type: string; at_ms: number; data: unknown; prev: string };

/** What may be signed once: a batch at a height, a head at a size. */
export type Mark = `batch/${number}` | `head/${number}`;

/** Key and value of every table. */
export type Rows = {
  meta: [name: string, value: Json];
  pending: [admission_sequence: number, value: Json];
  envelopes: [envelope_id: string, value: Json];
  ciphertexts: [envelope_id: string, value: Uint8Array];
  ordered: [envelope_id: string, value: { height: number }];
  hashes: [tx_hash: string, value: { height: number; index: number; envelope_id: string }];
  batches: [height: number, value: Json];
  batch_ids: [batch_id: string, value: { height: number }];
  machines: [id: string, value: { version: number; value: unknown; context: unknown }];
  log: [leaf_index: number, value: { kind: number; digest: string }];
  nodes: [place: readonly [level: number, index: number], value: Uint8Array];
  seals: [size: number, value: Json];
  keysets: [epoch: number, value: Json];
  orders: [leaf_index: number, value: Json];
  order_nonces: [nonce: string, value: { leaf_index: number }];
  rotations: [to_epoch: number, value: Json];
  indicators: [id: string, value: Json];
  risk_history: [at_ms: number, value: Json];
  assets: [asset_id: string, value: Json];
  asset_contracts: [contract: string, value: { ids: readonly string[] }];
  asset_places: [place: string, value: Json];
  asset_tallies: [state_and_threshold: string, value: { readonly count: number }];
  checkpoints: [number: number, value: Json];
  checkpoint_ids: [checkpoint_id: string, value: { number: number }];
  checkpoint_parts: [place: readonly [number: number, part: number], value: Json];
  journal: [cursor: number, value: JournalRecord];
  outbox: [effect_id: number, value: OwedEffect];
  watermarks: [mark: Mark, value: { digest: string }];
  wraps: [name: string, value: Uint8Array];
  wrap_epochs: [place: readonly [epoch: number, name: string], value: Uint8Array];
  names: [ipns_name: string, value: Json];
  name_due: [place: readonly [due_ms: number, ipns_name: string], value: Uint8Array];
  name_expiry: [place: readonly [eol_ms: number, ipns_name: string], value: Uint8Array];
  handovers: [leaf_index: number, value: Json];
  inherited: [epoch: number, value: Uint8Array];
};

export type Table = keyof Rows;
export type Key<T extends Table> = Rows[T][0];
export type Value<T extends Table> = Rows[T][1];

/** Keeps the order of keys; throws on a key that it could not give back unchanged. */
export type KeyCodec<K> = { encode(key: K): Uint8Array; decode(bytes: Uint8Array): K };
export type Layout<K> = { readonly key: KeyCodec<K>; readonly value: 'json' | 'bytes' };

/** LMDB allows more, but an unbounded key is a mistake. */
const KEY_BYTES_MAX = 511;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** UTF-8 text of 1 to 511 bytes. */
const text: KeyCodec<string> = {
  encode(key) {
    const bytes = encoder.encode(key);
    assert(bytes.length > 0 && bytes.length <= KEY_BYTES_MAX, 'a text key has 1 to 511 bytes');
    return bytes;
  },
  decode: (bytes) => decoder.decode(bytes),
};

/** uint64, big-endian; JavaScript's safe integers are all that ever occur. */
const uint: KeyCodec<number> = {
  encode(key) {
    const bytes = new Uint8Array(8);
    writeUint(bytes, 0, key);
    return bytes;
  },
  decode: (bytes) => readUint(bytes, 0, 8),
};

/** [uint64, uint64], big-endian. */
const pair: KeyCodec<readonly [number, number]> = {
  encode([first, second]) {
    const bytes = new Uint8Array(16);
    writeUint(bytes, 0, first);
    writeUint(bytes, 8, second);
    return bytes;
  },
  decode: (bytes) => [readUint(bytes, 0, 16), readUint(bytes, 8, 16)],
};

/** uint64 ‖ UTF-8 text, which may be empty as the start of a range. */
const numbered: KeyCodec<readonly [number, string]> = {
  encode([number, name]) {
    assert(name.isWellFormed(), 'a name is well-formed text');
    const tail = encoder.encode(name);
    assert(8 + tail.length <= KEY_BYTES_MAX, `a numbered name has at most ${KEY_BYTES_MAX - 8} bytes`);
    const bytes = new Uint8Array(8 + tail.length);
    writeUint(bytes, 0, number);
    bytes.set(tail, 8);
    return bytes;
  },
  decode: (bytes) => [readUint(bytes.subarray(0, 8), 0, 8), decoder.decode(bytes.subarray(8))],
};

/** Lowercase 0x-hex of exactly `size` bytes. */
function hexOf(size: number): KeyCodec<string> {
  const canonical = new RegExp(`^0x[0-9a-f]{${size * 2}}$`);
  return {
    encode(key) {
      assert(canonical.test(key), `the key is 0x and ${size * 2} lowercase hex digits`);
      return Uint8Array.from(Buffer.from(key.slice(2), 'hex'));
    },
    decode(bytes) {
      assert(bytes.length === size, `the key has ${size} bytes`);
      return `0x${Buffer.from(bytes).toString('hex')}`;
    },
  };
}

/** `kind/` ‖ uint64: the highest number of a kind is the last of its range, which decimal text would not give. */
const mark: KeyCodec<Mark> = {
  encode(key) {
    const [kind, digits] = key.split('/');
    assert(kind === 'batch' || kind === 'head', 'a watermark is of a batch or a head');
    assert(digits !== undefined && String(Number(digits)) === digits, 'a watermark has a decimal number');
    const bytes = new Uint8Array(kind.length + 9);
    bytes.set(encoder.encode(`${kind}/`));
    writeUint(bytes, kind.length + 1, Number(digits));
    return bytes;
  },
  decode(bytes) {
    const kind = decoder.decode(bytes.subarray(0, bytes.length - 9));
    assert(kind === 'batch' || kind === 'head', 'a watermark is of a batch or a head');
    return `${kind}/${readUint(bytes, bytes.length - 8, bytes.length)}`;
  },
};

/** The name in LMDB is the name here. */
export const tables: { readonly [T in Table]: Layout<Key<T>> } = {
  // name → JSON; names under `store/` are the store's own (schema, counters, digests)
  meta: { key: text, value: 'json' },
  // admission_sequence → the envelope's metadata, while it waits to be ordered
  pending: { key: uint, value: 'json' },
  // envelope_id → what was admitted, and its receipt
  envelopes: { key: hexOf(32), value: 'json' },
  // envelope_id → encrypted_data as admitted
  ciphertexts: { key: hexOf(32), value: 'bytes' },
  // envelope_id → the batch in whose order it is
  ordered: { key: hexOf(32), value: 'json' },
  // transaction hash → where it was sequenced; kept for ever
  hashes: { key: hexOf(32), value: 'json' },
  // height → batch record
  batches: { key: uint, value: 'json' },
  // batch digest → height
  batch_ids: { key: hexOf(64), value: 'json' },
  // `kind/id` → {version, value, context} of an XState machine
  machines: { key: text, value: 'json' },
  // leaf_index → {kind, digest} of a log entry
  log: { key: uint, value: 'json' },
  // [level, index] → 64-byte hash of a complete subtree of the log
  nodes: { key: pair, value: 'bytes' },
  // size → seal over the log's head of that size
  seals: { key: uint, value: 'json' },
  // epoch → public keyset
  keysets: { key: uint, value: 'json' },
  // leaf_index → an admin's order that was executed; kept for ever
  orders: { key: uint, value: 'json' },
  // nonce → where the order that has used it is in the log; kept for ever
  order_nonces: { key: hexOf(32), value: 'json' },
  // epoch → why and when it came after the one before
  rotations: { key: uint, value: 'json' },
  // `origin/id` → an indicator of threat
  indicators: { key: text, value: 'json' },
  // time → the score and recommendation from then on
  risk_history: { key: uint, value: 'json' },
  // asset_id → the asset with its policy, and the log entry of the last act on it
  assets: { key: text, value: 'json' },
  // `chain_id/address` → ids of the assets at that contract
  asset_contracts: { key: text, value: 'json' },
  // `type/state/threshold/id` → nothing: for pages by type and state
  asset_places: { key: text, value: 'json' },
  // `state/threshold` → how many assets are kept so
  asset_tallies: { key: text, value: 'json' },
  // number, from 0 → a checkpoint of all assets, without its snapshots; kept for ever
  checkpoints: { key: uint, value: 'json' },
  // checkpoint_id → its number
  checkpoint_ids: { key: text, value: 'json' },
  // [number, part] → some of its snapshots, by id
  checkpoint_parts: { key: pair, value: 'json' },
  // cursor, from 1 → {type, at_ms, data, prev}
  journal: { key: uint, value: 'json' },
  // effect id, from 1 → the effect still owed
  outbox: { key: uint, value: 'json' },
  // `batch/<height>` | `head/<size>` → {digest}: what may be signed; written once, never changed
  watermarks: { key: mark, value: 'json' },
  // `kind/id` → uint32 epoch ‖ secret wrapped under a key of that epoch (wraps.ts)
  wraps: { key: text, value: 'bytes' },
  // [epoch, `kind/id`] → nothing: which wraps an epoch still has
  wrap_epochs: { key: numbered, value: 'bytes' },
  // name → the newest record that its owner signed, extended, and where its machine stands
  names: { key: text, value: 'json' },
  // [due_ms, name] → uint64 end of life: the schedule of names
  name_due: { key: numbered, value: 'bytes' },
  // [eol_ms, name] → uint64 due_ms: whose record ends first
  name_expiry: { key: numbered, value: 'bytes' },
  // leaf_index → a handover of this log, its own or by which it came; kept for ever
  handovers: { key: uint, value: 'json' },
  // epoch → what a predecessor handed over of it, wrapped under the role `inherited`; gone when it retires
  inherited: { key: uint, value: 'bytes' },
};

export const tableNames = Object.keys(tables) as readonly Table[];

function writeUint(bytes: Uint8Array, offset: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'the key is a safe unsigned integer');
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(offset, BigInt(value));
}

function readUint(bytes: Uint8Array, offset: number, length: number): number {
  assert(bytes.length === length, `the key has ${length} bytes`);
  const value = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(offset));
  assert(Number.isSafeInteger(value), 'the key is a safe unsigned integer');
  return value;
}
