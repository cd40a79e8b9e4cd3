// Checks of what a batch file says about itself: header, order, refusals and transactions (DESIGN §3 "The batch file", §4).
// verify.ts runs them, most before any signature: each recomputes what it can and compares. Together with the ML-DSA
// signature over the header's digest they bind every value here but the ones that DESIGN lists as unsigned.
import { assetsRoot, byId } from '../actors/asset.ts';
import { ALGORITHM_BIT, byNonce, orderRoot, refusedRoot, txRoot } from '../actors/batch.ts';
import { digestOfCheckpoint } from '../actors/checkpoint.ts';
import { envelopeId, ZERO_DIGEST } from '../actors/digest.ts';
import { fromHex, hex, timestamp } from '../actors/encoding.ts';
import { claimsAad } from '../actors/envelope.ts';
import { KEY_SOURCES } from '../actors/keyset.ts';
import { refusalOf } from '../actors/refusal.ts';
import { decodeTransaction, recoverSender, type Transaction } from '../actors/transaction.ts';
import { type Check, type Failure, fail } from './verdict.ts';

const NO_DIGEST = hex(ZERO_DIGEST);
const POST_QUANTUM = ALGORITHM_BIT['ML-DSA-87'] | ALGORITHM_BIT['SLH-DSA-SHA2-256s'];

/** Outer fields repeat the header, and the header makes sense in itself. */
export const checkHeader: Check = ({ file, digest }) => {
  const { header } = file;
  if (file.batch_id !== hex(digest)) {
    return fail('batch_id_mismatch', 'batch_id', `the header's digest is ${hex(digest)}`);
  }
  if (file.height !== header.height) return fail('height_mismatch', 'height', `the header says ${header.height}`);
  if (String(file.block_number) !== header.block_number) {
    return fail('block_number_mismatch', 'block_number', `the header says ${header.block_number}`);
  }
  const time = timestampOf(header.timestamp_ms);
  if (file.timestamp !== time) return fail('timestamp_mismatch', 'timestamp', `header.timestamp_ms is ${time}`);
  if ((header.height === 0) !== (header.parent_digest === NO_DIGEST)) {
    return fail('parent_digest_invalid', 'header.parent_digest', 'zero at height 0 and nowhere else');
  }
  if ((header.algorithms & POST_QUANTUM) !== POST_QUANTUM) {
    return fail('algorithms_missing', 'header.algorithms', 'expected the bits of ML-DSA-87 (1) and SLH-DSA (2)');
  }
  const listed = (header.algorithms & ALGORITHM_BIT.ECDSA) !== 0;
  if (listed !== (file.ecdsa_sig !== null)) {
    return listed
      ? fail('ecdsa_missing', 'ecdsa_sig', 'header.algorithms lists ECDSA (4)')
      : fail('ecdsa_unexpected', 'ecdsa_sig', 'header.algorithms does not list ECDSA (4)');
  }
  if (file.risk_assessment.score !== header.risk_score) {
    return fail('risk_score_mismatch', 'risk_assessment.score', `the header says ${header.risk_score}`);
  }
  return checkCheckpoint(file) ?? checkAssets(file);
};

/** Of the migration that ran when the batch was cut, as the header has its digest. */
function checkCheckpoint({ header, migration_checkpoint: checkpoint }: File): Failure | null {
  const digest = checkpoint === null ? NO_DIGEST : hex(digestOfCheckpoint(checkpoint));
  if (header.checkpoint_digest !== digest) {
    const said =
      checkpoint === null ? 'migration_checkpoint is null, so expected zero' : `the checkpoint's is ${digest}`;
    return fail('checkpoint_mismatch', 'header.checkpoint_digest', said);
  }
  if (checkpoint === null) return null;
  const at = 'migration_checkpoint';
  if (checkpoint.log_id !== header.log_id) {
    return fail('checkpoint_invalid', `${at}.log_id`, `the batch is of log ${header.log_id}`);
  }
  if (checkpoint.block_number > header.height) {
    return fail('checkpoint_invalid', `${at}.block_number`, `taken after the batch of height ${header.height} was cut`);
  }
  if (checkpoint.epoch > header.epoch) {
    return fail('checkpoint_invalid', `${at}.epoch`, `the batch is of epoch ${header.epoch}`);
  }
  if ((checkpoint.epoch === header.epoch) !== (checkpoint.pqc_signature !== null)) {
    return fail(
      'checkpoint_invalid',
      `${at}.pqc_signature`,
      'expected one exactly where its epoch is that of the batch',
    );
  }
  return null;
}

/** Sorted, each once and declared, and what `assets_root` is over. */
function checkAssets({ header, asset_protections, transactions }: File): Failure | null {
  const declared = new Set(transactions.flatMap(({ asset_refs }) => asset_refs));
  for (const [i, asset] of asset_protections.entries()) {
    const at = `asset_protections[${i}]`;
    if (i > 0 && byId(asset_protections[i - 1]!, asset) >= 0) {
      return fail('assets_order_invalid', `${at}.asset_id`, 'not sorted by id, or there twice');
    }
    if (!declared.has(asset.asset_id)) {
      return fail('asset_not_declared', `${at}.asset_id`, 'no transaction of the batch declares it');
    }
  }
  const root = hex(assetsRoot(asset_protections));
  return header.assets_root === root
    ? null
    : fail('assets_root_mismatch', 'header.assets_root', `asset_protections has ${root}`);
}

/** What the policy names, the batch must be. */
export const checkPolicy: Check = ({ file, policy }) => {
  const { header, keyset } = file;
  if (policy.chain_id !== undefined && header.chain_id !== policy.chain_id) {
    return fail('wrong_chain', 'header.chain_id', `the policy wants chain ${policy.chain_id}`);
  }
  if (policy.log_id !== undefined && header.log_id !== policy.log_id) {
    return fail('wrong_log', 'header.log_id', `the policy wants log ${policy.log_id}`);
  }
  const source = KEY_SOURCES[keyset.key_source]!;
  if (policy.key_sources !== undefined && !policy.key_sources.includes(source)) {
    return fail(
      'key_source_refused',
      'keyset.key_source',
      `${source}: the policy wants ${policy.key_sources.join(', ')}`,
    );
  }
  return null;
};

export const checkOrder: Check = ({ file: { header, order } }) => {
  if (header.order_count !== order.length) {
    return fail('order_count_mismatch', 'header.order_count', `order has ${order.length} entries`);
  }
  const seen = new Set<string>();
  for (const [i, { envelope_id, admission_sequence }] of order.entries()) {
    if (seen.has(envelope_id))
      return fail('order_duplicate', `order[${i}].envelope_id`, 'the envelope is ordered twice');
    if (seen.has(admission_sequence)) {
      return fail('order_duplicate', `order[${i}].admission_sequence`, 'the sequence is there twice');
    }
    seen.add(envelope_id).add(admission_sequence);
  }
  const root = hex(orderRoot(order));
  return header.order_root === root ? null : fail('order_root_mismatch', 'order', `its root is ${root}`);
};

export const checkRefused: Check = ({ file: { header, order, refused } }) => {
  const places = placesOf(order);
  let last = -1;
  for (const [i, { envelope_id, code, reason }] of refused.entries()) {
    const name = refusalOf(code);
    if (name === undefined) return fail('refusal_unknown', `refused[${i}].code`, `the table has no code ${code}`);
    if (name !== reason) return fail('refusal_reason_mismatch', `refused[${i}].reason`, `code ${code} is ${name}`);
    const place = places.get(envelope_id);
    if (place === undefined) return fail('envelope_unknown', `refused[${i}].envelope_id`, 'it was not ordered');
    if (place <= last) return fail('refused_order_invalid', `refused[${i}]`, 'not in committed order');
    last = place;
  }
  const root = hex(refusedRoot(refused));
  return header.refused_root === root ? null : fail('refused_root_mismatch', 'refused', `its root is ${root}`);
};

/** Everything about the transactions but their senders, whose recovery costs a millisecond each. */
export const checkTransactions: Check = (subject) => {
  const { header, order, transactions, refused } = subject.file;
  if (header.tx_count !== transactions.length) {
    return fail('tx_count_mismatch', 'header.tx_count', `transactions has ${transactions.length} entries`);
  }
  const settled = new Map(refused.map(({ envelope_id }) => [envelope_id, 'refused']));
  const hashes = new Set<string>();
  for (let i = 0; i < transactions.length; i++) {
    const failure = checkPlace(subject.file, i, settled) ?? checkTransaction(subject.file, i, hashes);
    if (failure !== null) return failure;
  }
  const missing = order.findIndex(({ envelope_id }) => !settled.has(envelope_id));
  if (missing !== -1) {
    return fail('envelope_missing', `order[${missing}]`, 'neither among the transactions nor refused');
  }
  const root = hex(txRoot(transactions));
  return header.tx_root === root ? null : fail('tx_root_mismatch', 'transactions', `its root is ${root}`);
};

type File = Parameters<Check>[0]['file'];

/** @param settled  envelopes met so far and where; the transaction's own is added */
function checkPlace({ order, transactions }: File, i: number, settled: Map<string, string>): Failure | null {
  const { envelope_id, order_index } = transactions[i]!;
  const at = `transactions[${i}]`;
  const elsewhere = settled.get(envelope_id);
  if (elsewhere !== undefined) return fail('envelope_duplicate', `${at}.envelope_id`, `also ${elsewhere}`);
  if (order[order_index]?.envelope_id !== envelope_id) {
    const place = order.findIndex((entry) => entry.envelope_id === envelope_id);
    return place === -1
      ? fail('envelope_unknown', `${at}.envelope_id`, 'it was not ordered')
      : fail('order_index_mismatch', `${at}.order_index`, `the envelope is at ${place} of the order`);
  }
  settled.set(envelope_id, `at ${at}`);
  return null;
}

/** @param hashes  of the transactions before; the transaction's own is added */
function checkTransaction({ header, transactions }: File, i: number, hashes: Set<string>): Failure | null {
  const tx = transactions[i]!;
  const at = `transactions[${i}]`;
  if (tx.epoch > header.epoch) {
    return fail('envelope_epoch_invalid', `${at}.epoch`, `the batch was made in epoch ${header.epoch}`);
  }
  const id = hex(envelopeId(claimsAad(tx, header), fromHex(tx.ciphertext_sha512)));
  if (tx.envelope_id !== id) {
    return fail('envelope_id_mismatch', `${at}.envelope_id`, `its claims and ciphertext give ${id}`);
  }
  const decoded = decodeTransaction(fromHex(tx.raw));
  if (!decoded.ok) return fail('transaction_invalid', `${at}.raw`, `${decoded.code}: ${decoded.detail}`);
  const { chain_id, tx_hash, max_priority_fee_per_gas } = decoded.transaction;
  if (String(chain_id) !== header.chain_id) {
    return fail('transaction_chain_mismatch', `${at}.raw`, `signed for chain ${chain_id}, not ${header.chain_id}`);
  }
  if (tx.tx_hash !== tx_hash) return fail('tx_hash_mismatch', `${at}.tx_hash`, `raw hashes to ${tx_hash}`);
  if (hashes.has(tx_hash)) return fail('transaction_duplicate', `${at}.raw`, 'the transaction is there twice');
  hashes.add(tx_hash);
  if (tx.priority_fee !== String(max_priority_fee_per_gas)) {
    return fail('priority_fee_mismatch', `${at}.priority_fee`, `the transaction pays ${max_priority_fee_per_gas}`);
  }
  return null;
}

/** Needs what checkTransactions has found to be well-formed. Senders are as the file says, and checked by checkSenders. */
export const checkExecution: Check = ({ file: { transactions } }) => {
  const opened = transactions.map((tx, at) => ({ ...tx, at, nonce: decoded(tx.raw).nonce }));
  const committed = opened.toSorted((a, b) => a.order_index - b.order_index);
  const wrong = byNonce(committed).findIndex((tx, at) => tx.at !== at);
  return wrong === -1
    ? null
    : fail('execution_order_invalid', `transactions[${wrong}]`, 'not what the committed order and the nonces give');
};

export const checkSenders: Check = ({ file: { transactions } }) => {
  for (const [i, { raw, sender }] of transactions.entries()) {
    const recovered = recoverSender(decoded(raw));
    if (recovered === null) return fail('transaction_invalid', `transactions[${i}].raw`, 'no key could have signed it');
    if (recovered !== sender) return fail('sender_mismatch', `transactions[${i}].sender`, `${recovered} signed it`);
  }
  return null;
};

/** Of bytes that decoded before. */
function decoded(raw: string): Transaction {
  const result = decodeTransaction(fromHex(raw));
  if (!result.ok) throw new Error(`transaction no longer decodes: ${result.code}`);
  return result.transaction;
}

function placesOf(order: File['order']): Map<string, number> {
  return new Map(order.map(({ envelope_id }, i) => [envelope_id, i]));
}

/** Times beyond the year 9999 have no RFC 3339 form. */
function timestampOf(time_ms: number): string {
  return time_ms <= 253_402_300_799_999 ? timestamp(time_ms) : `beyond RFC 3339 (${time_ms} ms)`;
}
