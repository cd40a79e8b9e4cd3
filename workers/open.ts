// Opens a chunk of ordered envelopes inside a worker thread: decrypt, decode, check chain and claims, recover the sender.
// The main thread sends bytes and key handles and gets one outcome per envelope, in order, all of it plain data. What a
// client can do wrong is a value with a code of actors/refusal.ts and touches no other envelope; a missing key is ours, so
// it throws and nothing is judged.
import assert from 'node:assert';
import { authorityOf } from '../actors/authorization.ts';
import { equal } from '../actors/bytes.ts';
import type { Scheme } from '../actors/envelope.ts';
import type { Refusal } from '../actors/refusal.ts';
import { decodeTransaction, type Hex, recoverSender, type Transaction } from '../actors/transaction.ts';
import { type EciesHandle, openEcies } from './ecies.ts';
import { NATIVE } from './recovery.ts';
import { openXWing, type XWingHandle } from './xwing.ts';

/** The opening keys of one epoch; null where the epoch takes no such envelopes. */
export interface OpeningKeys {
  readonly epoch: number;
  readonly x_wing: XWingHandle;
  readonly ecies: EciesHandle | null;
}

export interface Sealed {
  readonly envelope_id: Hex;
  readonly scheme: Scheme;
  readonly epoch: number;
  /** `encrypted_data`, decoded. */
  readonly ciphertext: Uint8Array;
  /** 64 bytes, `aegis/envelope-aad/v1`. */
  readonly aad: Uint8Array;
  /** 64 bytes, `aegis/envelope/v1`. */
  readonly info: Uint8Array;
  /** As declared, wei per gas. */
  readonly priority_fee: bigint;
}

export interface OpenTask {
  readonly chain_id: bigint;
  readonly keys: readonly OpeningKeys[];
  readonly envelopes: readonly Sealed[];
}

export type OpenRefusal = Extract<
  Refusal,
  | 'unopenable'
  | 'aad_mismatch'
  | 'malformed_transaction'
  | 'unsupported_type'
  | 'unprotected'
  | 'wrong_chain'
  | 'bad_signature'
  | 'claim_mismatch'
>;

/** What the batch and the policies need of an opened transaction; `raw` has the rest. `data` is a view of `raw`. */
export type Opened = {
  readonly ok: true;
  readonly envelope_id: Hex;
  readonly raw: Uint8Array;
  readonly sender: Hex;
  /** Accounts whose code its EIP-7702 authorizations change, each once. */
  readonly authorities: readonly Hex[];
} & Pick<
  Transaction,
  'type' | 'tx_hash' | 'nonce' | 'to' | 'value' | 'gas_limit' | 'data' | 'max_fee_per_gas' | 'max_priority_fee_per_gas'
>;

export type OpenOutcome = Opened | { readonly ok: false; readonly envelope_id: Hex; readonly code: OpenRefusal };

/** @returns one outcome per envelope, in the order of the task */
export function open(task: OpenTask): OpenOutcome[] {
  const keys = new Map(task.keys.map((key) => [key.epoch, key]));
  for (const { epoch, scheme } of task.envelopes) {
    const key = keys.get(epoch);
    assert(key !== undefined, `no opening keys for epoch ${epoch}`);
    assert(scheme !== 'ecies' || key.ecies !== null, `no ecies key for epoch ${epoch}`);
  }
  return task.envelopes.map((envelope) => judge(envelope, keys.get(envelope.epoch)!, task.chain_id));
}

/**
 * Nothing here throws for what a client sends. Were there an input that does, it must not stop the sequencer, which would try
 * its batch again for ever: the envelope is refused.
 */
function judge(envelope: Sealed, keys: OpeningKeys, chain_id: bigint): OpenOutcome {
  try {
    return openOne(envelope, keys, chain_id);
  } catch {
    return { ok: false, envelope_id: envelope.envelope_id, code: 'unopenable' };
  }
}

function openOne(envelope: Sealed, keys: OpeningKeys, chain_id: bigint): OpenOutcome {
  const { envelope_id } = envelope;
  const refuse = (code: OpenRefusal): OpenOutcome => ({ ok: false, envelope_id, code });

  const plaintext = decrypt(envelope, keys);
  if (plaintext === null) return refuse('unopenable');
  const raw = envelope.scheme === 'ecies' ? withoutAad(plaintext, envelope.aad) : plaintext;
  if (raw === null) return refuse('aad_mismatch');

  const decoded = decodeTransaction(raw, NATIVE);
  if (!decoded.ok) return refuse(decoded.code);
  const { transaction } = decoded;
  if (transaction.chain_id !== chain_id) return refuse('wrong_chain');
  if (transaction.max_priority_fee_per_gas !== envelope.priority_fee) return refuse('claim_mismatch');
  const sender = recoverSender(transaction, NATIVE);
  if (sender === null) return refuse('bad_signature');

  const { type, tx_hash, nonce, to, value, gas_limit, data, max_fee_per_gas, max_priority_fee_per_gas } = transaction;
  const authorities = authoritiesOf(transaction, chain_id);
  const fees = { max_fee_per_gas, max_priority_fee_per_gas };
  return { ok: true, envelope_id, raw, sender, type, tx_hash, nonce, to, value, gas_limit, data, authorities, ...fees };
}

function authoritiesOf({ authorization_list }: Transaction, chain_id: bigint): Hex[] {
  const found = authorization_list.map((each) => authorityOf(each, chain_id, NATIVE));
  return [...new Set(found.filter((each) => each !== null))];
}

function decrypt({ scheme, ciphertext, info, aad }: Sealed, keys: OpeningKeys): Uint8Array | null {
  return scheme === 'x-wing' ? openXWing(keys.x_wing, ciphertext, info, aad) : openEcies(keys.ecies!, ciphertext);
}

/** Under `ecies` the plaintext is aad ‖ transaction (DESIGN §4), because the format authenticates no other data. */
function withoutAad(plaintext: Uint8Array, aad: Uint8Array): Uint8Array | null {
  // Compared before anything else is read, so that the bytes behind a foreign aad are never looked at.
  return equal(plaintext.subarray(0, aad.length), aad) ? plaintext.slice(aad.length) : null;
}
