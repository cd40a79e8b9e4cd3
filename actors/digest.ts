// Every preimage that Aegis signs, attests or binds is made in this file and nowhere else (DESIGN §4). The enclave, the
// verifier, the client library and a contract compute the same bytes: `SHA-512(T ‖ T ‖ abi.encode(fields))` with
// `T = SHA-512(tag)`. T ‖ T fills one SHA-512 block, so no two tags share a prefix state. What is signed is always the
// 64-byte digest, with its tag as the context string for ML-DSA and SLH-DSA. A change of a golden digest in
// digest.test.ts is a change of the protocol.
import { sha512 as hash } from '#sha512';
import type { Header } from './batch.ts';
import { concat, fromHex, uintBytes, utf8 } from './bytes.ts';
import type { Keyset } from './keyset.ts';
import type { Head } from './seal.ts';

export const TAGS = [
  'aegis/log/v1',
  'aegis/batch/v1',
  'aegis/seal/v1',
  'aegis/keyset/v1',
  'aegis/quote/v1',
  'aegis/envelope/v1',
  'aegis/envelope-aad/v1',
  'aegis/envelope-id/v1',
  'aegis/receipt/v1',
  'aegis/agent/v1',
  'aegis/asset/v1',
  'aegis/policy/v1',
  'aegis/asset-act/v1',
  'aegis/admins/v1',
  'aegis/order/v1',
  'aegis/witness/v1',
  'aegis/channel/v1',
  'aegis/checkpoint/v1',
  'aegis/migration/v1',
  'aegis/handover/v1',
  'aegis/succession/v1',
] as const;
export type Tag = (typeof TAGS)[number];

/** A static ABI value. `bytes32[2]` is a 64-byte digest. */
export type Field =
  | readonly ['uint8' | 'uint16' | 'uint32' | 'uint64' | 'uint256', bigint | number]
  | readonly ['bytes32', Uint8Array]
  | readonly ['bytes32[2]', Uint8Array];

export const ZERO_DIGEST: Uint8Array = new Uint8Array(64);

export function sha512(...parts: readonly Uint8Array[]): Uint8Array {
  return hash(parts.length === 1 ? parts[0]! : concat(...parts));
}

/**
 * `SHA-512(T ‖ T ‖ abi.encode(fields))`.
 *
 * @returns 64 bytes
 * @throws {RangeError} when an integer doesn't fit its type or bytes have another length
 */
export function digest(tag: Tag, fields: readonly Field[]): Uint8Array {
  const domain = TAG_HASH[tag];
  return sha512(domain, domain, ...fields.map(encode));
}

/** Static ABI encoding: each value fills whole 32-byte words, integers to the right, bytes as they are. */
function encode([type, value]: Field): Uint8Array {
  switch (type) {
    case 'bytes32':
    case 'bytes32[2]': {
      const bytes = type === 'bytes32' ? 32 : 64;
      if (value.length !== bytes) throw new RangeError(`${type} takes ${bytes} bytes, not ${value.length}`);
      return value;
    }
    default: {
      const bits = Number(type.slice(4));
      uintBytes(value, bits / 8);
      return uintBytes(value, 32);
    }
  }
}

const TAG_HASH = Object.fromEntries(TAGS.map((tag) => [tag, hash(utf8(tag))])) as Record<Tag, Uint8Array>;

export function logId(chain_id: string, random: Uint8Array): Uint8Array {
  return digest('aegis/log/v1', [
    ['uint256', BigInt(chain_id)],
    ['bytes32', random],
  ]);
}

export function batchDigest(header: Header): Uint8Array {
  return digest('aegis/batch/v1', [
    ['uint16', header.version],
    ['uint256', BigInt(header.chain_id)],
    ['bytes32[2]', fromHex(header.log_id)],
    ['uint64', header.height],
    ['bytes32[2]', fromHex(header.parent_digest)],
    ['uint64', BigInt(header.block_number)],
    ['uint64', header.timestamp_ms],
    ['uint32', header.epoch],
    ['uint32', header.order_count],
    ['bytes32[2]', fromHex(header.order_root)],
    ['uint32', header.tx_count],
    ['bytes32[2]', fromHex(header.tx_root)],
    ['bytes32[2]', fromHex(header.refused_root)],
    ['bytes32[2]', fromHex(header.assets_root)],
    ['uint16', header.risk_score],
    ['uint8', header.ordering_mode],
    ['uint8', header.algorithms],
    ['bytes32[2]', fromHex(header.checkpoint_digest)],
  ]);
}

export function sealDigest(head: Head): Uint8Array {
  return digest('aegis/seal/v1', [
    ['bytes32[2]', fromHex(head.log_id)],
    ['uint64', head.size],
    ['bytes32[2]', fromHex(head.root)],
    ['uint64', head.timestamp_ms],
    ['uint32', head.epoch],
    ['bytes32[2]', fromHex(head.keyset_digest)],
    ['bytes32[2]', fromHex(head.config_digest)],
    ['uint8', head.freshness],
    ['uint8', head.providers],
  ]);
}

/** The order of the public keys in `aegis/keyset/v1`. */
export const KEYSET_KEYS = [
  'ml_dsa_87',
  'slh_dsa_sha2_256s',
  'secp256k1',
  'x_wing',
  'ecies',
  'names',
  'receipt',
  'handover',
  'tls',
] as const;

export function keysetDigest(keyset: Keyset): Uint8Array {
  return digest('aegis/keyset/v1', [
    ['uint256', BigInt(keyset.chain_id)],
    ['bytes32[2]', fromHex(keyset.log_id)],
    ['uint32', keyset.epoch],
    ['uint8', keyset.key_source],
    ['uint64', keyset.not_before_ms],
    ...KEYSET_KEYS.map((name): Field => {
      const key = keyset[name];
      return ['bytes32[2]', key === null ? ZERO_DIGEST : sha512(Uint8Array.fromBase64(key))];
    }),
  ]);
}

/** `redundancy` is a seal's quote by the second platform: neither passes for the other. `agent` is over an agent's key. */
export const QUOTE_PURPOSE = { seal: 1, keyset: 2, handover: 3, witness: 4, redundancy: 5, agent: 6 } as const;

/** What a quote says. */
export interface Statement {
  readonly purpose: keyof typeof QUOTE_PURPOSE;
  readonly subject: Uint8Array;
  readonly keyset_digest: Uint8Array;
  readonly not_after_ms: number;
  readonly nonce?: Uint8Array;
}

/** The 64 bytes of report data that tie a quote to what it attests. `nonce` is empty where there is none. */
export function quoteDigest(quote: Statement): Uint8Array {
  return digest('aegis/quote/v1', [
    ['uint8', QUOTE_PURPOSE[quote.purpose]],
    ['bytes32[2]', quote.subject],
    ['bytes32[2]', quote.keyset_digest],
    ['uint64', quote.not_after_ms],
    ['bytes32[2]', quote.nonce === undefined ? ZERO_DIGEST : sha512(quote.nonce)],
  ]);
}

/** What an agent's key signs and its quotes are over: the key, and the message where there is one. */
export function agentDigest(agent: { public_key: Uint8Array; message?: Uint8Array }): Uint8Array {
  return digest('aegis/agent/v1', [
    ['bytes32[2]', sha512(agent.public_key)],
    ['bytes32[2]', agent.message === undefined ? ZERO_DIGEST : sha512(agent.message)],
  ]);
}

/** Where an envelope is going: chain, log and epoch. All that encrypts to one keyset shares it. */
export interface Destination {
  readonly chain_id: string;
  readonly log_id: string;
  readonly epoch: number;
}

/** HPKE `info` of an envelope. */
export function envelopeInfo(to: Destination): Uint8Array {
  return digest('aegis/envelope/v1', [
    ['uint256', BigInt(to.chain_id)],
    ['bytes32[2]', fromHex(to.log_id)],
    ['uint32', to.epoch],
  ]);
}

/** The AEAD's additional data: what the client declares in the clear can't be changed on the way. */
export function envelopeAad(
  claims: Destination & {
    scheme: number;
    refs_root: Uint8Array;
    priority_fee: string;
    risk_level: number;
    requires_migration: boolean;
  },
): Uint8Array {
  return digest('aegis/envelope-aad/v1', [
    ['uint256', BigInt(claims.chain_id)],
    ['bytes32[2]', fromHex(claims.log_id)],
    ['uint32', claims.epoch],
    ['uint8', claims.scheme],
    ['bytes32[2]', claims.refs_root],
    ['uint256', BigInt(claims.priority_fee)],
    ['uint16', claims.risk_level],
    ['uint8', claims.requires_migration ? 1 : 0],
  ]);
}

/** @returns 32 bytes: the identity of an envelope, over everything in it that is authenticated */
export function envelopeId(aad: Uint8Array, ciphertext_sha512: Uint8Array): Uint8Array {
  return digest('aegis/envelope-id/v1', [
    ['bytes32[2]', aad],
    ['bytes32[2]', ciphertext_sha512],
  ]).slice(0, 32);
}

export function receiptDigest(receipt: {
  log_id: string;
  envelope_id: string;
  admission_sequence: string;
  timestamp_ms: number;
  epoch: number;
  order_by_height: string;
}): Uint8Array {
  return digest('aegis/receipt/v1', [
    ['bytes32[2]', fromHex(receipt.log_id)],
    ['bytes32', fromHex(receipt.envelope_id)],
    ['uint64', BigInt(receipt.admission_sequence)],
    ['uint64', receipt.timestamp_ms],
    ['uint32', receipt.epoch],
    ['uint64', BigInt(receipt.order_by_height)],
  ]);
}

/** Who may give orders. `admins_root` is over the SHA-512 of each public key, sorted (order.ts). */
export function adminsDigest(admins: { log_id: string; admin_count: number; admins_root: Uint8Array }): Uint8Array {
  return digest('aegis/admins/v1', [
    ['bytes32[2]', fromHex(admins.log_id)],
    ['uint32', admins.admin_count],
    ['bytes32[2]', admins.admins_root],
  ]);
}

/** What an admin signs. `act` is its canonical JSON in UTF-8. */
export function orderDigest(order: {
  log_id: string;
  nonce: string;
  not_after_ms: number;
  act: Uint8Array;
}): Uint8Array {
  return digest('aegis/order/v1', [
    ['bytes32[2]', fromHex(order.log_id)],
    ['bytes32', fromHex(order.nonce)],
    ['uint64', order.not_after_ms],
    ['bytes32[2]', sha512(order.act)],
  ]);
}

/** What a witness acknowledges; numbers are part of the protocol. */
export const WITNESSED = { order: 1, head: 2 } as const;

/** What a witness signs. `number` is a height or a size; `count` is of an order's envelopes, of a head it is the size. */
export function witnessDigest(seen: {
  kind: keyof typeof WITNESSED;
  log_id: string;
  number: number;
  count: number;
  root: string;
  witness_key: Uint8Array;
}): Uint8Array {
  return digest('aegis/witness/v1', [
    ['uint8', WITNESSED[seen.kind]],
    ['bytes32[2]', fromHex(seen.log_id)],
    ['uint64', seen.number],
    ['uint32', seen.kind === 'order' ? seen.count : 0],
    ['bytes32[2]', fromHex(seen.root)],
    ['bytes32[2]', sha512(seen.witness_key)],
  ]);
}

/** The two ends of a channel between a sequencer and its witness. */
export const CHANNEL_SIDE = { witness: 1, primary: 2 } as const;

/** What each end's quote is over, and what the channel's secret is bound to; `sealed` is that secret under `x_wing`. */
export function channelDigest(channel: {
  side: keyof typeof CHANNEL_SIDE;
  log_id: string;
  witness_key: Uint8Array;
  x_wing: Uint8Array;
  nonces: Readonly<Record<keyof typeof CHANNEL_SIDE, Uint8Array>>;
  sealed?: Uint8Array;
}): Uint8Array {
  return digest('aegis/channel/v1', [
    ['uint8', CHANNEL_SIDE[channel.side]],
    ['bytes32[2]', fromHex(channel.log_id)],
    ['bytes32[2]', sha512(channel.witness_key)],
    ['bytes32[2]', sha512(channel.x_wing)],
    ['bytes32[2]', sha512(channel.nonces.primary)],
    ['bytes32[2]', sha512(channel.nonces.witness)],
    ['bytes32[2]', channel.sealed === undefined ? ZERO_DIGEST : sha512(channel.sealed)],
  ]);
}

/** An asset as it stands: a leaf of `assets_root`. */
export function assetDigest(asset: {
  asset_id: string;
  type: number;
  state: number;
  policy_digest: string;
}): Uint8Array {
  return digest('aegis/asset/v1', [
    ['bytes32[2]', sha512(utf8(asset.asset_id))],
    ['uint8', asset.type],
    ['uint8', asset.state],
    ['bytes32[2]', fromHex(asset.policy_digest)],
  ]);
}

/** Everything that decides what is let through to an asset. No chain is chain 0, no contract the address zero. */
export function policyDigest(policy: {
  chain_id: string | null;
  contract_address: string | null;
  requires_pqc: boolean;
  requires_tee: boolean;
  risk_threshold: number;
  allowed_root: Uint8Array;
  emergency_root: Uint8Array;
  abi_root: Uint8Array;
  grants_root: Uint8Array;
}): Uint8Array {
  return digest('aegis/policy/v1', [
    ['uint256', BigInt(policy.chain_id ?? 0)],
    ['uint256', BigInt(policy.contract_address ?? 0)],
    ['uint8', policy.requires_pqc ? 1 : 0],
    ['uint8', policy.requires_tee ? 1 : 0],
    ['uint16', policy.risk_threshold],
    ['bytes32[2]', policy.allowed_root],
    ['bytes32[2]', policy.emergency_root],
    ['bytes32[2]', policy.abi_root],
    ['bytes32[2]', policy.grants_root],
  ]);
}

/** A privileged act on an asset, as the log holds it; `asset_digest` is undefined once the asset is gone. */
export function assetActDigest(act: {
  act: number;
  asset_id: string;
  asset_digest: Uint8Array | undefined;
  timestamp_ms: number;
}): Uint8Array {
  return digest('aegis/asset-act/v1', [
    ['uint8', act.act],
    ['bytes32[2]', sha512(utf8(act.asset_id))],
    ['bytes32[2]', act.asset_digest ?? ZERO_DIGEST],
    ['uint64', act.timestamp_ms],
  ]);
}

/** A checkpoint of all assets: what is signed, and what the log holds. */
export function checkpointDigest(checkpoint: {
  log_id: string;
  checkpoint_id: string;
  block_number: number;
  state_hash: string;
  asset_count: number;
  timestamp_ms: number;
  epoch: number;
}): Uint8Array {
  return digest('aegis/checkpoint/v1', [
    ['bytes32[2]', fromHex(checkpoint.log_id)],
    ['bytes32[2]', sha512(utf8(checkpoint.checkpoint_id))],
    ['uint64', checkpoint.block_number],
    ['bytes32[2]', fromHex(checkpoint.state_hash)],
    ['uint64', checkpoint.asset_count],
    ['uint64', checkpoint.timestamp_ms],
    ['uint32', checkpoint.epoch],
  ]);
}

/** Numbered in `aegis/migration/v1`. */
export const MIGRATION_ACTS = { started: 1, completed: 2, rolled_back: 3 } as const;

/** That a migration has begun or ended, as the log holds it. `checkpoint_digest` is null until the checkpoint is whole. */
export function migrationDigest(migration: {
  act: number;
  log_id: string;
  checkpoint_id: string;
  checkpoint_digest: string | null;
  senders_root: Uint8Array;
  timestamp_ms: number;
}): Uint8Array {
  return digest('aegis/migration/v1', [
    ['uint8', migration.act],
    ['bytes32[2]', fromHex(migration.log_id)],
    ['bytes32[2]', sha512(utf8(migration.checkpoint_id))],
    ['bytes32[2]', migration.checkpoint_digest === null ? ZERO_DIGEST : fromHex(migration.checkpoint_digest)],
    ['bytes32[2]', migration.senders_root],
    ['uint64', migration.timestamp_ms],
  ]);
}

/** The end of one enclave and the beginning of the next, as the log holds it, directly behind the successor's keyset. */
export function handoverDigest(handover: {
  log_id: string;
  leaf_index: number;
  from_epoch: number;
  from_keyset_digest: string;
  to_epoch: number;
  to_keyset_digest: string;
  head_digest: string;
  state_hash: string;
  asset_count: number;
  timestamp_ms: number;
}): Uint8Array {
  return digest('aegis/handover/v1', [
    ['bytes32[2]', fromHex(handover.log_id)],
    ['uint64', handover.leaf_index],
    ['uint32', handover.from_epoch],
    ['bytes32[2]', fromHex(handover.from_keyset_digest)],
    ['uint32', handover.to_epoch],
    ['bytes32[2]', fromHex(handover.to_keyset_digest)],
    ['bytes32[2]', fromHex(handover.head_digest)],
    ['bytes32[2]', fromHex(handover.state_hash)],
    ['uint64', handover.asset_count],
    ['uint64', handover.timestamp_ms],
  ]);
}

/** What is said in the channel of a handover: two greetings that quotes are over, what the secret is bound to, and the offer. */
export const SUCCESSION_PART = { predecessor: 1, successor: 2, secret: 3, offer: 4 } as const;

/** The parts are told apart by what is not there yet: it is zero. `offer` is what the predecessor signs. */
export function successionDigest(channel: {
  part: keyof typeof SUCCESSION_PART;
  log_id: string;
  from_keyset_digest: string;
  nonces: { readonly predecessor: Uint8Array; readonly successor: Uint8Array };
  to_keyset_digest?: string;
  head_digest?: string;
  sealed?: Uint8Array;
}): Uint8Array {
  const { to_keyset_digest, head_digest, sealed, nonces } = channel;
  return digest('aegis/succession/v1', [
    ['uint8', SUCCESSION_PART[channel.part]],
    ['bytes32[2]', fromHex(channel.log_id)],
    ['bytes32[2]', fromHex(channel.from_keyset_digest)],
    ['bytes32[2]', to_keyset_digest === undefined ? ZERO_DIGEST : fromHex(to_keyset_digest)],
    ['bytes32[2]', head_digest === undefined ? ZERO_DIGEST : fromHex(head_digest)],
    ['bytes32[2]', sha512(nonces.predecessor)],
    ['bytes32[2]', sha512(nonces.successor)],
    ['bytes32[2]', sealed === undefined ? ZERO_DIGEST : sha512(sealed)],
  ]);
}
