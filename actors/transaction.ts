// Reads a raw signed transaction (EIP-2718) as go-ethereum would: what its decoder, signer or pool refuses whatever the
// state of the chain, is refused here with a code. What the pool refuses by fork, gas price or balance is the chain's
// matter. The opening workers call it on what they decrypted, the verifier on what a batch file holds, the client before
// it encrypts: all must agree, so the decoder is pure and a decoded transaction encodes to the very bytes it came from.
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { concat, hex } from './bytes.ts';
import { encodeUint, listPrefix, Reader } from './rlp.ts';

export type Hex = `0x${string}`;

/** 0 legacy with EIP-155, 1 EIP-2930, 2 EIP-1559, 4 EIP-7702. */
export type TransactionType = 0 | 1 | 2 | 4;

export interface Signature {
  readonly r: bigint;
  /** At most n / 2 (EIP-2). */
  readonly s: bigint;
  readonly y_parity: 0 | 1;
}

/**
 * EIP-7702: lets an account's code be that of `address`. Well-formed and no more: whether the signature is valid, and for
 * this chain, is *not* checked here, because an invalid one doesn't invalidate the transaction (the chain skips it).
 */
export interface Authorization {
  readonly chain_id: bigint;
  readonly address: Hex;
  readonly nonce: bigint;
  readonly y_parity: number;
  readonly r: bigint;
  readonly s: bigint;
}

/** Amounts in wei, addresses and hashes in lower-case hex. `data` is a view of the raw bytes. */
export interface Transaction {
  readonly type: TransactionType;
  readonly chain_id: bigint;
  readonly nonce: bigint;
  /** null creates a contract. */
  readonly to: Hex | null;
  readonly value: bigint;
  readonly gas_limit: bigint;
  readonly data: Uint8Array;
  /** `gasPrice` for types 0 and 1, as is the priority fee. */
  readonly max_fee_per_gas: bigint;
  readonly max_priority_fee_per_gas: bigint;
  readonly access_list: readonly { readonly address: Hex; readonly storage_keys: readonly Hex[] }[];
  readonly authorization_list: readonly Authorization[];
  readonly signature: Signature;
  readonly tx_hash: Hex;
  /** 32 bytes: what the sender signed. */
  readonly signing_hash: Uint8Array;
}

export type TransactionCode = 'malformed_transaction' | 'unsupported_type' | 'unprotected' | 'bad_signature';

export type Decoded =
  | { readonly ok: true; readonly transaction: Transaction }
  | { readonly ok: false; readonly code: TransactionCode; readonly detail: string };

/** SEC 2 §2.4.1: the order of secp256k1. */
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** EIP-2681: a nonce of 2^64 - 1 can't be followed by another. */
const NONCE_MAX = 2n ** 64n - 2n;

const ADDRESS_BYTES = 20;
const STORAGE_KEY_BYTES = 32;

/**
 * @param raw  the EIP-2718 bytes as they go on the wire: a list (legacy), or a type byte and a list
 * @returns    the transaction, its sender not yet recovered; or why it is refused. `detail` names a field and never
 *             quotes a value, so it may be logged
 */
export function decodeTransaction(raw: Uint8Array, { keccak }: TransactionCrypto = NOBLE): Decoded {
  const first = raw[0];
  if (first === undefined) return refuse('malformed_transaction', 'empty');
  // EIP-2718: a first byte of 0x80 and above isn't a type. Blob transactions (3) carry no blobs here, so nobody could
  // include them; type 0 is no envelope, legacy transactions come bare.
  if (first < 0x80 && first !== 1 && first !== 2 && first !== 4) {
    return refuse('unsupported_type', `type ${first}: expected 0 (legacy), 1, 2 or 4`);
  }
  const type: TransactionType = first === 1 || first === 2 || first === 4 ? first : 0;
  return type === 0 ? decodeLegacy(raw, keccak) : decodeTyped(raw, type, keccak);
}

/** EIP-155: the chain id rides in v = 35 + 2 · chain_id + parity, and is signed in the place of the signature. */
function decodeLegacy(raw: Uint8Array, keccak: TransactionCrypto['keccak']): Decoded {
  const list = Reader.open(raw, 'transaction');
  const start = list.at;
  const body = readBody(list, 0);
  const end = list.at;
  const v = list.uint('v', 256);
  const scalars = readScalars(list);

  const failure = list.failure ?? limits(body);
  if (failure !== null) return refuse('malformed_transaction', failure);
  // `types.isProtectedV`: 27 and 28 are signatures of before EIP-155, valid on every chain, so anyone could replay them.
  if (v === 27n || v === 28n) return refuse('unprotected', 'v is 27 or 28: no chain id (EIP-155)');
  if (v < 35n) return refuse('bad_signature', 'v is below 35 (EIP-155)');
  const chain_id = (v - 35n) / 2n;
  const signature = toSignature(scalars, (v - 35n) % 2n);
  if (typeof signature === 'string') return refuse('bad_signature', signature);

  const replay = Uint8Array.of(...encodeUint(chain_id), 0x80, 0x80);
  const signing_hash = keccak(concat(listPrefix(end - start + replay.length), raw.subarray(start, end), replay));
  return { ok: true, transaction: { ...body, chain_id, signature, tx_hash: hex(keccak(raw)), signing_hash } };
}

/** EIP-2930, EIP-1559 and EIP-7702: type ‖ list, the signature its last three items. */
function decodeTyped(raw: Uint8Array, type: 1 | 2 | 4, keccak: TransactionCrypto['keccak']): Decoded {
  const list = Reader.open(raw.subarray(1), 'transaction');
  const start = list.at + 1;
  const chain_id = list.uint('chain_id', 256);
  const body = readBody(list, type);
  const end = list.at + 1;
  const parity = list.uint('y_parity', 256);
  const scalars = readScalars(list);

  const failure = list.failure ?? limits(body);
  if (failure !== null) return refuse('malformed_transaction', failure);
  const signature = toSignature(scalars, parity);
  if (typeof signature === 'string') return refuse('bad_signature', signature);

  // The input was canonical, so what was signed is the input's own items under the prefix of a shorter list.
  const signing_hash = keccak(concat(raw.subarray(0, 1), listPrefix(end - start), raw.subarray(start, end)));
  return { ok: true, transaction: { ...body, chain_id, signature, tx_hash: hex(keccak(raw)), signing_hash } };
}

type Body = Omit<Transaction, 'chain_id' | 'signature' | 'tx_hash' | 'signing_hash'>;

/** The items between chain id and signature. Widths are those of `types.LegacyTx` … `types.SetCodeTx`, and 256 bits for
 * amounts, which is as far as the pool goes (`core.ErrFeeCapVeryHigh`) and the state (`uint256.FromBig`). */
function readBody(list: Reader, type: TransactionType): Body {
  const nonce = list.uint('nonce', 64);
  const max_priority_fee_per_gas = list.uint(type >= 2 ? 'max_priority_fee_per_gas' : 'gas_price', 256);
  const max_fee_per_gas = type >= 2 ? list.uint('max_fee_per_gas', 256) : max_priority_fee_per_gas;
  const gas_limit = list.uint('gas_limit', 64);
  const to = readTo(list, type);
  const value = list.uint('value', 256);
  const data = list.string('data');
  const access_list = type >= 1 ? readAccessList(list) : [];
  const authorization_list = type === 4 ? readAuthorizations(list) : [];
  return {
    type,
    nonce,
    to,
    value,
    gas_limit,
    data,
    max_fee_per_gas,
    max_priority_fee_per_gas,
    access_list,
    authorization_list,
  };
}

/** Empty creates a contract, which EIP-7702 doesn't allow (`types.SetCodeTx.To` is no pointer). */
function readTo(list: Reader, type: TransactionType): Hex | null {
  if (type === 4) return hex(list.string('to', ADDRESS_BYTES));
  const to = list.optional('to', ADDRESS_BYTES);
  return to === null ? null : hex(to);
}

function readAccessList(list: Reader): Transaction['access_list'] {
  const entries = list.list('access_list');
  const access: { address: Hex; storage_keys: Hex[] }[] = [];
  while (entries.more) {
    const entry = entries.list('access_list item');
    const address = hex(entry.string('access_list address', ADDRESS_BYTES));
    const keys = entry.list('storage_keys');
    entry.close('access_list item');
    const storage_keys: Hex[] = [];
    while (keys.more) storage_keys.push(hex(keys.string('storage key', STORAGE_KEY_BYTES)));
    access.push({ address, storage_keys });
  }
  return access;
}

/** Widths are those of `types.SetCodeAuthorization`; nothing else is asked of an authorization (see `Authorization`). */
function readAuthorizations(list: Reader): Authorization[] {
  const entries = list.list('authorization_list');
  const authorizations: Authorization[] = [];
  while (entries.more) {
    const entry = entries.list('authorization');
    authorizations.push({
      chain_id: entry.uint('authorization chain_id', 256),
      address: hex(entry.string('authorization address', ADDRESS_BYTES)),
      nonce: entry.uint('authorization nonce', 64),
      y_parity: Number(entry.uint('authorization y_parity', 8)),
      r: entry.uint('authorization r', 256),
      s: entry.uint('authorization s', 256),
    });
    entry.close('authorization');
  }
  return authorizations;
}

function readScalars(list: Reader): { r: bigint; s: bigint } {
  const r = list.uint('r', 256);
  const s = list.uint('s', 256);
  list.close('transaction');
  return { r, s };
}

/** Rules of `txpool.ValidateTransaction` and `stateTransition.preCheck` that no state or fork can change. */
function limits(body: Body): string | null {
  if (body.nonce > NONCE_MAX) return 'nonce is 2^64 - 1 (EIP-2681)';
  if (body.max_fee_per_gas < body.max_priority_fee_per_gas) return 'max_priority_fee_per_gas is above max_fee_per_gas';
  if (body.type === 4 && body.authorization_list.length === 0) return 'authorization_list is empty (EIP-7702)';
  return null;
}

/** `crypto.ValidateSignatureValues` with the rules of Homestead (EIP-2). */
function toSignature({ r, s }: { r: bigint; s: bigint }, parity: bigint): Signature | string {
  if (parity !== 0n && parity !== 1n) return 'y_parity is neither 0 nor 1';
  if (r === 0n || r >= ORDER) return 'r is not between 1 and n - 1';
  if (s === 0n || s >= ORDER) return 's is not between 1 and n - 1';
  if (s > ORDER / 2n) return 's is above n / 2 (EIP-2)';
  return { r, s, y_parity: parity === 1n ? 1 : 0 };
}

/**
 * The address whose key signed, or null where no key could have (r is no point's x coordinate, or the key would be the
 * point at infinity): such a transaction is a `bad_signature`. Says nothing of EIP-7702 authorizations.
 */
export function recoverSender(
  transaction: Pick<Transaction, 'signature' | 'signing_hash'>,
  { keccak, recover }: TransactionCrypto = NOBLE,
): Hex | null {
  const key = recover(transaction.signing_hash, transaction.signature);
  return key === null ? null : hex(keccak(key).subarray(12));
}

/** Both must be whole: what one of them got wrong would look like a client's mistake. */
export interface TransactionCrypto {
  readonly keccak: (bytes: Uint8Array) => Uint8Array;
  /** @returns the public key, 64 bytes x ‖ y, or null where none could have signed */
  readonly recover: (hash: Uint8Array, signature: Signature) => Uint8Array | null;
}

/** Where nothing else is said, and in every verifier; the opening workers bring faster ones. */
export const NOBLE: TransactionCrypto = {
  keccak: keccak_256,
  recover(hash, { r, s, y_parity }) {
    try {
      return new secp256k1.Signature(r, s, y_parity).recoverPublicKey(hash).toBytes(false).subarray(1);
    } catch {
      return null;
    }
  },
};

function refuse(code: TransactionCode, detail: string): Decoded {
  return { ok: false, code, detail };
}
