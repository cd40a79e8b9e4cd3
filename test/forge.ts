// Makes whole batch files outside the daemon, for tests of whatever reads them: real keys of every kind, signed
// transactions in real envelopes, both signatures by OpenSSL, a log with the batch in it, a simulated quote. Shares with
// the daemon only the pure digests, so that a batch of the daemon and one of the forge check each other. `repair` makes an
// altered file consistent again in all that takes no key: what an attacker without keys can do.
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { XWing } from '@hpke/hybridkem-x-wing';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { hexToBytes, keccak256 } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { assetsRoot } from '../actors/asset.ts';
import { type BatchFile, byNonce, orderRoot, refusedRoot, txRoot } from '../actors/batch.ts';
import {
  batchDigest,
  envelopeId,
  keysetDigest,
  logId,
  quoteDigest,
  sealDigest,
  ZERO_DIGEST,
} from '../actors/digest.ts';
import { batchHash } from '../actors/eip712.ts';
import { base64, fromBase64, fromHex, hex, timestamp } from '../actors/encoding.ts';
import { claimsAad, type Envelope, identify } from '../actors/envelope.ts';
import type { SignedHead } from '../actors/head.ts';
import type { Keyset } from '../actors/keyset.ts';
import { type Attestation, attest } from '../actors/quote.ts';
import type { Head } from '../actors/seal.ts';
import { decodeTransaction, recoverSender } from '../actors/transaction.ts';
import { inclusionPath, leafHash, logLeaf, readerOf, rootAt, verifyInclusion } from '../actors/tree.ts';
import { verifyEvidence } from '../actors/verification.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { makePki, type Pki } from '../daemon/tee/pki.ts';
import { makeCollateral, makeQuote } from '../daemon/tee/tdx.ts';

/** The one time at which everything here happens. */
export const NOW_MS = Date.UTC(2026, 5, 1, 12, 0, 0, 250);
const DAY_MS = 86_400_000;
/** When the collateral ends; whole seconds, as Intel dates it. */
export const COLLATERAL_END_MS = Date.UTC(2026, 6, 1);
const GWEI = 1_000_000_000n;

/** An enclave: its keys, its log and the platform that it runs on. */
export interface Enclave {
  readonly keyset: Keyset;
  readonly keys: { ml_dsa: KeyObject; slh_dsa: KeyObject; secp256k1: Uint8Array };
  readonly pki: Pki;
}

export async function makeEnclave(settings: Partial<Keyset> = {}): Promise<Enclave> {
  const ml_dsa = generateKeyPairSync('ml-dsa-87');
  const slh_dsa = generateKeyPairSync('slh-dsa-sha2-256s');
  const ecdsa = secp256k1.utils.randomPrivateKey();
  const kem = new XWing();
  const xwing = await kem.generateKeyPair();
  const raw = (key: KeyObject) => base64(new Uint8Array(key.export({ format: 'raw-public' } as never) as never));
  const point = (secret: Uint8Array) => base64(secp256k1.getPublicKey(secret, false));
  const chain_id = settings.chain_id ?? '31337';
  const keyset: Keyset = {
    chain_id,
    log_id: hex(logId(chain_id, randomBytes(32))),
    epoch: 3,
    key_source: 0,
    not_before_ms: NOW_MS - 1_000_000,
    ml_dsa_87: raw(ml_dsa.publicKey),
    slh_dsa_sha2_256s: raw(slh_dsa.publicKey),
    secp256k1: point(ecdsa),
    x_wing: base64(new Uint8Array(await kem.serializePublicKey(xwing.publicKey))),
    ecies: point(secp256k1.utils.randomPrivateKey()),
    names: null,
    receipt: raw(generateKeyPairSync('ed25519').publicKey),
    handover: null,
    tls: null,
    ...settings,
  };
  return { keyset, keys: { ml_dsa: ml_dsa.privateKey, slh_dsa: slh_dsa.privateKey, secp256k1: ecdsa }, pki: makePki() };
}

/** Seven envelopes of three senders: four types, both schemes, one nonce out of order, an asset reference, a label. */
async function makeEnvelopes({ keyset }: Enclave): Promise<{ envelope: Envelope; raw: Uint8Array }[]> {
  const [alice, bob, carol] = [1, 2, 3].map((n) => privateKeyToAccount(keccak256(new Uint8Array([n])))) as [
    ReturnType<typeof privateKeyToAccount>,
    ReturnType<typeof privateKeyToAccount>,
    ReturnType<typeof privateKeyToAccount>,
  ];
  const chainId = Number(keyset.chain_id);
  const base = { chainId, to: bob.address, gas: 60_000n } as const;
  const legacy = { ...base, type: 'legacy', gasPrice: 7n * GWEI } as const;
  const dynamic = { ...base, type: 'eip1559', maxFeePerGas: 90n * GWEI, maxPriorityFeePerGas: 2n * GWEI } as const;
  const authorization = await carol.signAuthorization({ contractAddress: bob.address, chainId, nonce: 9 });
  const signed = await Promise.all([
    alice.signTransaction({ ...dynamic, nonce: 5, value: 1n }),
    bob.signTransaction({ ...legacy, nonce: 0, data: '0xa9059cbb' }),
    carol.signTransaction({ ...base, type: 'eip2930', nonce: 8, gasPrice: 3n * GWEI, accessList: [] }),
    alice.signTransaction({ ...dynamic, nonce: 4, data: `0x${'ab'.repeat(300)}` }),
    carol.signTransaction({ ...dynamic, type: 'eip7702', nonce: 9, authorizationList: [authorization] }),
    bob.signTransaction({ ...legacy, nonce: 1 }),
    bob.signTransaction({ ...legacy, nonce: 2 }),
  ]);
  return Promise.all(
    signed.map(async (text, i) => {
      const raw = hexToBytes(text);
      const envelope = await encryptEnvelope({
        keyset,
        raw,
        scheme: i % 2 === 0 ? 'x-wing' : 'ecies',
        risk_level: i * 100,
        requires_migration: i === 3,
        asset_refs: i === 1 ? ['vault', 'éta', 'beta'] : [],
        ...(i < 2 ? { tx_id: `label ${i}` } : {}),
      });
      return { envelope, raw };
    }),
  );
}

export interface BatchSettings {
  readonly height?: number;
  readonly parent_digest?: string;
  readonly ecdsa?: boolean;
}

/** A batch that is signed and not yet sealed. Envelopes 2 and 6 of the order are refused. */
export async function makeSigned(enclave: Enclave, settings: BatchSettings = {}): Promise<BatchFile> {
  const { keyset } = enclave;
  const { height = 7, ecdsa = true } = settings;
  const parent_digest = settings.parent_digest ?? hex(height === 0 ? ZERO_DIGEST : randomBytes(64));
  const items = (await makeEnvelopes(enclave)).map(({ envelope, raw }, i) => {
    const { envelope_id, ciphertext_sha512 } = identify(envelope, keyset);
    return { envelope, raw, i, id: hex(envelope_id), ciphertext_sha512: hex(ciphertext_sha512) };
  });
  const order = items.map(({ id, i }) => ({ envelope_id: id, admission_sequence: String(1_000 - i) }));
  const refused = [
    { envelope_id: items[2]!.id, code: 1, reason: 'unopenable' },
    { envelope_id: items[6]!.id, code: 12, reason: 'claim_mismatch' },
  ];
  const opened = items
    .filter(({ i }) => i !== 2 && i !== 6)
    .map((item) => {
      const decoded = decodeTransaction(item.raw);
      if (!decoded.ok) throw new Error(decoded.detail);
      const { nonce, tx_hash } = decoded.transaction;
      return { ...item, nonce, tx_hash, sender: recoverSender(decoded.transaction)! };
    });
  const transactions = byNonce(opened).map(({ envelope, raw, i, id, tx_hash, sender, ciphertext_sha512 }) => {
    const { scheme, epoch, asset_refs, priority_fee, risk_level, requires_migration } = envelope;
    return {
      envelope_id: id,
      order_index: i,
      raw: hex(raw),
      tx_hash,
      sender,
      tx_id: envelope.tx_id ?? null,
      ...{ scheme, epoch, asset_refs, priority_fee, risk_level, requires_migration, ciphertext_sha512 },
    };
  });
  const touched = { migration_state: 'Active', policy_digest: hex(randomBytes(64)) } as const;
  const asset_protections: BatchFile['asset_protections'] = [
    { asset_id: 'beta', asset_type: 'CrossChainBridge', ...touched },
    { asset_id: 'vault', asset_type: 'OnChainToken', ...touched },
  ];
  const file: BatchFile = {
    version: 1,
    batch_id: '',
    height,
    block_number: 0,
    timestamp: '',
    header: {
      version: 1,
      chain_id: keyset.chain_id,
      log_id: keyset.log_id,
      height,
      parent_digest,
      block_number: String(height + 100),
      timestamp_ms: NOW_MS - 400,
      epoch: keyset.epoch,
      order_count: order.length,
      order_root: '',
      tx_count: transactions.length,
      tx_root: '',
      refused_root: '',
      assets_root: hex(assetsRoot(asset_protections)),
      risk_score: 1_234,
      ordering_mode: 3,
      algorithms: ecdsa ? 7 : 3,
      checkpoint_digest: hex(ZERO_DIGEST),
    },
    order,
    transactions,
    refused,
    ml_dsa_sig: { algorithm: 'ML-DSA-87', signature: '' },
    ecdsa_sig: ecdsa ? { algorithm: 'ECDSA-secp256k1-EIP712', signature: '' } : null,
    slh_dsa_sig: null,
    attestation: null,
    risk_assessment: {
      score: 1_234,
      recommendation: 'continue',
      category_breakdown: [
        { category: 'digital_signatures', score: 1_000, indicator_count: 2 },
        { category: 'hash_reversal', score: 234, indicator_count: 1 },
      ],
      current_era: 'nisq',
      timestamp: timestamp(NOW_MS - 500),
    },
    asset_protections,
    migration_checkpoint: null,
    keyset,
  };
  return signBatch(enclave, repair(file));
}

/** Signs what the header says now, whatever that is. */
export function signBatch({ keys }: Enclave, file: BatchFile): BatchFile {
  const digest = batchDigest(file.header);
  file.ml_dsa_sig.signature = signMlDsa(keys.ml_dsa, digest, 'aegis/batch/v1');
  if (file.ecdsa_sig === null) return file;
  const { chain_id, height } = file.header;
  const signature = secp256k1.sign(batchHash({ chain_id, height, digest }), keys.secp256k1, { prehash: false });
  file.ecdsa_sig.signature = hex(Uint8Array.of(...signature.toBytes(), 27 + signature.recovery!));
  return file;
}

/** Puts the batch into a log of six entries and seals it. */
export function sealBatch(enclave: Enclave, file: BatchFile, settings: Partial<Head> = {}): BatchFile {
  const { keyset, keys } = enclave;
  const digest = batchDigest(file.header);
  const filler = ['b', 'c', 'd', 'e'].map((text) => logLeaf('batch', createHash('sha512').update(text).digest()));
  const leaves = [logLeaf('epoch', keysetDigest(keyset)), ...filler.slice(0, 2), logLeaf('batch', digest)];
  leaves.push(...filler.slice(2));
  const read = readerOf(leaves);
  const seal = headOver(enclave, leaves, settings);
  file.slh_dsa_sig = {
    algorithm: 'SLH-DSA-SHA2-256s',
    signature: signSlhDsa(keys.slh_dsa, sealDigest(seal), 'aegis/seal/v1'),
    ml_dsa_signature: signMlDsa(keys.ml_dsa, sealDigest(seal), 'aegis/seal/v1'),
    seal,
    leaf_index: 3,
    inclusion_path: inclusionPath(3, leaves.length, read).map(hex),
  };
  return attestBatch(enclave, file);
}

/** Quotes the seal that the file has. */
export function attestBatch(enclave: Enclave, file: BatchFile, not_after_ms = NOW_MS + DAY_MS): BatchFile {
  file.attestation = attestSeal(enclave, file.slh_dsa_sig!.seal, not_after_ms);
  return file;
}

function attestSeal({ pki, keyset }: Enclave, seal: Head, not_after_ms: number): Attestation {
  const subject = sealDigest(seal);
  const report_data = quoteDigest({ purpose: 'seal', subject, keyset_digest: keysetDigest(keyset), not_after_ms });
  const evidence = {
    quote_type: 'TDX' as const,
    quote: makeQuote(pki, { report_data }),
    event_log: null,
    collateral: makeCollateral(pki, COLLATERAL_END_MS),
  };
  const found = verifyEvidence(evidence, {
    roots: [pki.certificates.root],
    now_ms: NOW_MS,
    tcb_statuses: ['UpToDate'],
    report_data,
  });
  if (!found.ok) throw new Error(`${found.code}: ${found.message}`);
  return attest(evidence, found, not_after_ms, timestamp(NOW_MS));
}

/** A head over these leaf hashes, with all that vouches for it. */
export function sealLog(enclave: Enclave, leaves: readonly Uint8Array[], settings: Partial<Head> = {}): SignedHead {
  const { keys, keyset } = enclave;
  const seal = headOver(enclave, leaves, settings);
  const digest = sealDigest(seal);
  return {
    seal,
    digest: hex(digest),
    slh_dsa_sig: { algorithm: 'SLH-DSA-SHA2-256s', signature: signSlhDsa(keys.slh_dsa, digest, 'aegis/seal/v1') },
    ml_dsa_sig: { algorithm: 'ML-DSA-87', signature: signMlDsa(keys.ml_dsa, digest, 'aegis/seal/v1') },
    attestation: attestSeal(enclave, seal, seal.timestamp_ms + DAY_MS),
    keyset,
  };
}

function headOver({ keyset }: Enclave, leaves: readonly Uint8Array[], settings: Partial<Head>): Head {
  return {
    log_id: keyset.log_id,
    size: leaves.length,
    root: hex(rootAt(leaves.length, readerOf(leaves))),
    timestamp_ms: NOW_MS,
    epoch: keyset.epoch,
    keyset_digest: hex(keysetDigest(keyset)),
    config_digest: hex(createHash('sha512').update('configuration').digest()),
    freshness: 0,
    providers: 1,
    ...settings,
  };
}

export async function makeSealed(enclave: Enclave, settings: BatchSettings = {}): Promise<BatchFile> {
  return sealBatch(enclave, await makeSigned(enclave, settings));
}

function signSlhDsa(key: KeyObject, digest: Uint8Array, tag: string): string {
  return base64(new Uint8Array(sign(null, digest, { key, context: Buffer.from(tag) } as never)));
}

function signMlDsa(key: KeyObject, digest: Uint8Array, tag: string): string {
  return base64(new Uint8Array(sign(null, digest, { key, context: Buffer.from(tag) } as never)));
}

/**
 * Recomputes, in place, everything in a file that follows from the rest of it without a key: envelope ids (also where
 * they are repeated), hashes, senders, counts, roots, the header's and the outer fields, the path to the seal's root, the
 * keyset's digest, what the attestation repeats. Whatever can't be computed from what is there stays as it is.
 */
/** The root over the assets too, which `repair` leaves as an enclave that is wrong about them would sign it. */
export function repairAll(file: BatchFile): BatchFile {
  try {
    file.header.assets_root = hex(assetsRoot(file.asset_protections));
  } catch {
    // The altered value can't be read at all.
  }
  return repair(file);
}

export function repair(file: BatchFile): BatchFile {
  for (const step of [repairTransactions, repairRefused, repairHeader, repairSeal, repairAttestation]) {
    try {
      step(file);
    } catch {
      // The altered value can't be read at all, so nothing follows from it.
    }
  }
  return file;
}

function repairTransactions(file: BatchFile): void {
  for (const tx of file.transactions) {
    const id = hex(envelopeId(claimsAad(tx, file.header), fromHex(tx.ciphertext_sha512)));
    for (const entry of [...file.order, ...file.refused]) {
      if (entry.envelope_id === tx.envelope_id) entry.envelope_id = id;
    }
    tx.envelope_id = id;
    const decoded = decodeTransaction(fromHex(tx.raw));
    if (!decoded.ok || decoded.transaction.tx_hash === tx.tx_hash) continue;
    tx.tx_hash = decoded.transaction.tx_hash;
    tx.sender = recoverSender(decoded.transaction) ?? tx.sender;
  }
}

function repairRefused(file: BatchFile): void {
  const place = new Map(file.order.map(({ envelope_id }, i) => [envelope_id, i]));
  file.refused.sort((a, b) => (place.get(a.envelope_id) ?? 0) - (place.get(b.envelope_id) ?? 0));
}

function repairHeader(file: BatchFile): void {
  const { header } = file;
  header.order_count = file.order.length;
  header.tx_count = file.transactions.length;
  header.order_root = hex(orderRoot(file.order));
  header.tx_root = hex(txRoot(file.transactions));
  header.refused_root = hex(refusedRoot(file.refused));
  header.risk_score = file.risk_assessment.score;
  file.height = header.height;
  file.block_number = Number(header.block_number);
  file.timestamp = timestamp(header.timestamp_ms);
  file.batch_id = hex(batchDigest(header));
}

function repairSeal(file: BatchFile): void {
  if (file.slh_dsa_sig === null) return;
  const { seal, leaf_index, inclusion_path } = file.slh_dsa_sig;
  seal.keyset_digest = hex(keysetDigest(file.keyset));
  const leaf = logLeaf('batch', fromHex(file.batch_id));
  if (verifyInclusion(leaf, leaf_index, seal.size, inclusion_path.map(fromHex), fromHex(seal.root))) return;
  // Anyone can make up a log that holds this batch.
  const leaves = Array.from({ length: seal.size }, (_, i) => (i === leaf_index ? leaf : leafHash(new Uint8Array([i]))));
  const read = readerOf(leaves);
  seal.root = hex(rootAt(seal.size, read));
  file.slh_dsa_sig.inclusion_path = inclusionPath(leaf_index, seal.size, read).map(hex);
}

function repairAttestation(file: BatchFile): void {
  if (file.slh_dsa_sig === null || file.attestation === null) return;
  const { not_after_ms, quote } = file.attestation;
  const subject = sealDigest(file.slh_dsa_sig.seal);
  const keyset_digest = keysetDigest(file.keyset);
  file.attestation.report_data = hex(quoteDigest({ purpose: 'seal', subject, keyset_digest, not_after_ms }));
  // Report data stands at byte 568 of a TDX v4 quote; the attestation key's signature over it can't be made.
  const bytes = fromBase64(quote);
  if (bytes.length < 568 + 64) return;
  bytes.set(fromHex(file.attestation.report_data), 568);
  file.attestation.quote = base64(bytes);
}
