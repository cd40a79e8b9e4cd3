// Makes the worked example of docs/format.md: `node docs/example/make.ts` writes envelopes.json, receipt.json and batch.json
// beside it, and `npm run docs` the page from them. Keys, transactions and times are fixed, so a new run changes only what is
// random by nature: ciphertexts (and what follows from them), ML-DSA and SLH-DSA signatures, the simulated platform. The
// root is printed on the page: whoever uses it has no secrets.
import { type KeyObject, randomBytes, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { hexToBytes, keccak256 } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { type BatchFile, orderRoot, refusedRoot, txRoot } from '../../actors/batch.ts';
import {
  batchDigest,
  keysetDigest,
  logId,
  quoteDigest,
  receiptDigest,
  sealDigest,
  ZERO_DIGEST,
} from '../../actors/digest.ts';
import { batchHash } from '../../actors/eip712.ts';
import { base64, hex, timestamp } from '../../actors/encoding.ts';
import { type Envelope, identify } from '../../actors/envelope.ts';
import { attest } from '../../actors/quote.ts';
import type { Receipt } from '../../actors/receipt.ts';
import { refusalCode } from '../../actors/refusal.ts';
import { unthreatened } from '../../actors/risk.ts';
import type { Head } from '../../actors/seal.ts';
import { decodeTransaction, recoverSender } from '../../actors/transaction.ts';
import { EMPTY_ROOT, logLeaf, nodeHash } from '../../actors/tree.ts';
import { verifyEvidence } from '../../actors/verification.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { deriveEpoch, keysetOf } from '../../daemon/keys/keyring.ts';
import { makePki } from '../../daemon/tee/pki.ts';
import { makeCollateral, makeQuote } from '../../daemon/tee/tdx.ts';
import { slhDsaKey } from '../../workers/slhdsa.ts';
import { CHAIN_ID, LOG_RANDOM, ROOT } from './seed.ts';

const TIME_MS = Date.UTC(2026, 5, 1, 12);
const DAY_MS = 86_400_000;
const GWEI = 10n ** 9n;

const log = { chain_id: CHAIN_ID, log_id: hex(logId(CHAIN_ID, LOG_RANDOM)) };
const keys = await deriveEpoch({ name: 'simulator', material: async () => ROOT.slice() }, 1, true, slhDsaKey, false);
const { keyset } = keysetOf(keys, 'simulator', log, TIME_MS - 60_000);
const keyset_digest = keysetDigest(keyset);

const alice = privateKeyToAccount(keccak256(new TextEncoder().encode('alice')));
const bob = privateKeyToAccount(keccak256(new TextEncoder().encode('bob')));
const raws = [
  await alice.signTransaction({
    ...{ type: 'eip1559', chainId: Number(CHAIN_ID), nonce: 0, to: bob.address, value: 10n ** 15n, gas: 21_000n },
    ...{ maxFeePerGas: 30n * GWEI, maxPriorityFeePerGas: 2n * GWEI },
  }),
  await bob.signTransaction({
    ...{ type: 'legacy', chainId: Number(CHAIN_ID), nonce: 7, to: alice.address, value: 1n, gas: 21_000n },
    gasPrice: 9n * GWEI,
  }),
].map((raw) => hexToBytes(raw));

const envelopes: Envelope[] = [
  await encryptEnvelope({ keyset, raw: raws[0]!, risk_level: 250, asset_refs: ['vault', 'éta'], tx_id: 'first' }),
  await encryptEnvelope({ keyset, raw: raws[1]!, scheme: 'ecies' }),
  // Nothing that any key opens.
  {
    ...{ scheme: 'x-wing', epoch: 1, encrypted_data: base64(randomBytes(48)), asset_refs: [] },
    ...{ priority_fee: '1', risk_level: 0, requires_migration: false },
  },
];

const ids = envelopes.map((envelope) => {
  const { envelope_id, ciphertext_sha512 } = identify(envelope, log);
  return { envelope_id: hex(envelope_id), ciphertext_sha512: hex(ciphertext_sha512) };
});
const promise = {
  ...{ log_id: log.log_id, envelope_id: ids[0]!.envelope_id, admission_sequence: '0', timestamp_ms: TIME_MS },
  ...{ epoch: 1, order_by_height: '20' },
};
const receipt: Receipt = {
  ...promise,
  algorithm: 'Ed25519',
  signature: base64(sign(null, receiptDigest(promise), keys.receipt)),
};

// The ecies envelope pays more, so it was ordered first.
const order = [1, 0, 2].map((i) => ({ envelope_id: ids[i]!.envelope_id, admission_sequence: String(i) }));
const transactions = [1, 0].map((i, order_index) => {
  const decoded = decodeTransaction(raws[i]!);
  if (!decoded.ok) throw new Error(decoded.detail);
  const { tx_id = null, scheme, epoch, asset_refs, priority_fee, risk_level, requires_migration } = envelopes[i]!;
  return {
    ...{ envelope_id: ids[i]!.envelope_id, order_index, raw: hex(raws[i]!), tx_hash: decoded.transaction.tx_hash },
    ...{ sender: recoverSender(decoded.transaction)!, tx_id, scheme, epoch, asset_refs, priority_fee, risk_level },
    ...{ requires_migration, ciphertext_sha512: ids[i]!.ciphertext_sha512 },
  };
});
const refused = [{ envelope_id: ids[2]!.envelope_id, code: refusalCode('unopenable'), reason: 'unopenable' as const }];

const timestamp_ms = TIME_MS + 250;
const header: BatchFile['header'] = {
  ...{ version: 1, ...log, height: 0, parent_digest: hex(ZERO_DIGEST), block_number: '0', timestamp_ms, epoch: 1 },
  ...{ order_count: order.length, order_root: hex(orderRoot(order)) },
  ...{ tx_count: transactions.length, tx_root: hex(txRoot(transactions)), refused_root: hex(refusedRoot(refused)) },
  ...{ assets_root: hex(EMPTY_ROOT), risk_score: 0, ordering_mode: 3, algorithms: 7 },
  checkpoint_digest: hex(ZERO_DIGEST),
};
const digest = batchDigest(header);
const signed = (key: KeyObject, message: Uint8Array, tag: string) =>
  base64(sign(null, message, { key, context: Buffer.from(tag) } as never));
const hash = batchHash({ chain_id: CHAIN_ID, height: 0, digest });
const ecdsa = secp256k1.sign(hash, keys.secp256k1!.export(), { prehash: false });

const leaves = [logLeaf('epoch', keyset_digest), logLeaf('batch', digest)] as const;
const seal: Head = {
  ...{ log_id: log.log_id, size: 2, root: hex(nodeHash(...leaves)), timestamp_ms: TIME_MS + 500, epoch: 1 },
  ...{ keyset_digest: hex(keyset_digest), config_digest: hex(ZERO_DIGEST), freshness: 0, providers: 1 },
};
const head = sealDigest(seal);
const pki = makePki();
const not_after_ms = seal.timestamp_ms + DAY_MS;
const report_data = quoteDigest({ purpose: 'seal', subject: head, keyset_digest, not_after_ms });
const evidence = {
  ...{ quote_type: 'TDX' as const, quote: makeQuote(pki, { report_data }), event_log: null },
  // Long, so that the example verifies for as long as anyone reads it.
  collateral: makeCollateral(pki, Date.UTC(2049, 0, 1)),
};
const found = verifyEvidence(evidence, {
  ...{ roots: [pki.certificates.root], now_ms: seal.timestamp_ms, tcb_statuses: ['UpToDate'], report_data },
});
if (!found.ok) throw new Error(found.message);

const batch: BatchFile = {
  ...{ version: 1, batch_id: hex(digest), height: 0, block_number: 0, timestamp: timestamp(timestamp_ms), header },
  ...{ order, transactions, refused },
  ml_dsa_sig: { algorithm: 'ML-DSA-87', signature: signed(keys.ml_dsa_87, digest, 'aegis/batch/v1') },
  ecdsa_sig: {
    algorithm: 'ECDSA-secp256k1-EIP712',
    signature: hex(Uint8Array.of(...ecdsa.toBytes(), 27 + ecdsa.recovery!)),
  },
  slh_dsa_sig: {
    algorithm: 'SLH-DSA-SHA2-256s',
    signature: signed(keys.slh_dsa_sha2_256s, head, 'aegis/seal/v1'),
    ml_dsa_signature: signed(keys.ml_dsa_87, head, 'aegis/seal/v1'),
    ...{ seal, leaf_index: 1, inclusion_path: [hex(leaves[0])] },
  },
  attestation: attest(evidence, found, not_after_ms, timestamp(seal.timestamp_ms)),
  risk_assessment: unthreatened(timestamp_ms),
  ...{ asset_protections: [], migration_checkpoint: null, keyset },
};

for (const [name, value] of Object.entries({ envelopes, receipt, batch })) {
  writeFileSync(new URL(`${name}.json`, import.meta.url), `${JSON.stringify(value, null, 2)}\n`);
}
