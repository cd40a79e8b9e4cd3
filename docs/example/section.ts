// Writes §13 of docs/format.md from the files of the worked example. Each block is named by its fence, so that
// test/format.test.ts can read the values back and recompute them on a path of its own.
import { hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { BatchFile } from '../../actors/batch.ts';
import { canonicalJson } from '../../actors/canonical.ts';
import { Checkpoint, digestOfCheckpoint, Snapshot, snapshotEntry } from '../../actors/checkpoint.ts';
import {
  adminsDigest,
  assetDigest,
  batchDigest,
  type Destination,
  envelopeInfo,
  KEYSET_KEYS,
  keysetDigest,
  logId,
  quoteDigest,
  receiptDigest,
  sealDigest,
  sha512,
  type Tag,
} from '../../actors/digest.ts';
import { batchHash } from '../../actors/eip712.ts';
import { concat, fromBase64, fromHex, hex, uintBytes, utf8 } from '../../actors/encoding.ts';
import { Envelope, identify, refsRoot, schemeNumber } from '../../actors/envelope.ts';
import { digestOf, Order } from '../../actors/order.ts';
import { Receipt } from '../../actors/receipt.ts';
import { leafHash, rootOf } from '../../actors/tree.ts';
import { ASSET_STATES, ASSET_TYPES } from '../../actors/words.ts';
import { ADMIN_SEED, CHAIN_ID, LOG_RANDOM, ROOT } from './seed.ts';

const CheckpointExample = Checkpoint.extend({ asset_snapshots: Snapshot.array() });

type Row = readonly [type: string, name: string, value: string | number | boolean | Uint8Array];

const read = (name: string): unknown => JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), 'utf8'));

/** Paths and lengths of §9, and where their public keys stand in the keyset. */
export const PATHS = [
  ['aegis/batch/ml-dsa-87/epoch/1', 32],
  ['aegis/batch/slh-dsa-sha2-256s/epoch/1', 96],
  ['aegis/batch/secp256k1/epoch/1', 48],
  ['aegis/envelope/x-wing/epoch/1', 32],
  ['aegis/envelope/secp256k1/epoch/1', 48],
  ['aegis/names/secp256k1/epoch/1', 48],
  ['aegis/receipt/ed25519/epoch/1', 32],
  ['aegis/handover/x-wing/epoch/1', 32],
] as const;

const text = (value: Row[2]): string =>
  value instanceof Uint8Array ? hex(value) : typeof value === 'boolean' ? String(Number(value)) : String(value);

const fence = (name: string, lines: readonly string[]): string => `\`\`\`text ${name}\n${lines.join('\n')}\n\`\`\`\n`;

/** A preimage with its prefix, its fields and what they come to. */
function preimage(tag: Tag, name: string, rows: readonly Row[], digest: Uint8Array): string {
  const domain = sha512(utf8(tag));
  const fields = rows.map(([type, field, value]) => `${type} ${field} = ${text(value)}`);
  return fence(`preimage ${tag} ${name}`, [
    `T ‖ T = ${hex(concat(domain, domain))}`,
    ...fields,
    `SHA-512 = ${hex(digest)}`,
  ]);
}

function tree(name: string, entries: readonly Uint8Array[]): string {
  const lines = entries.flatMap((entry, i) => [`entry ${i} = ${hex(entry)}`, `leaf ${i} = ${hex(leafHash(entry))}`]);
  return fence(`tree ${name}`, [...lines, `root = ${hex(rootOf(entries))}`]);
}

/** @returns Markdown */
export function exampleSection(): string {
  const batch = BatchFile.parse(read('batch'));
  const envelopes = Envelope.array().parse(read('envelopes'));
  return [
    keys(batch),
    ...envelopes.map((envelope, i) => envelopeText(envelope, i, batch)),
    receiptText(Receipt.parse(read('receipt'))),
    batchText(batch),
    sealText(batch),
    orderText(Order.parse(read('order'))),
    checkpointText(CheckpointExample.parse(read('checkpoint'))),
  ].join('\n');
}

function keys({ keyset }: BatchFile): string {
  const secrets = PATHS.map(([path, length]) => {
    const bytes = new Uint8Array(hkdfSync('sha512', ROOT, new Uint8Array(0), path, length));
    return `${path} = ${hex(bytes)}`;
  });
  const hashes = KEYSET_KEYS.map((name): Row => {
    const key = keyset[name];
    return ['bytes32[2]', name, key === null ? new Uint8Array(64) : sha512(fromBase64(key))];
  });
  return `An enclave on the simulator, chain ${CHAIN_ID}, in its first epoch. Its root is no secret. The files are
[\`envelopes.json\`](example/envelopes.json), [\`receipt.json\`](example/receipt.json) and [\`batch.json\`](example/batch.json):

\`\`\`sh
node docs/verify.mjs --allow-simulated docs/example/batch.json
npx aegisd verify --allow-simulated docs/example/batch.json
\`\`\`

### Keys

${fence('secrets', [`root = ${hex(ROOT)}`, ...secrets])}
${preimage(
  'aegis/log/v1',
  'log_id',
  [
    ['uint256', 'chain_id', CHAIN_ID],
    ['bytes32', 'random', LOG_RANDOM],
  ],
  logId(CHAIN_ID, LOG_RANDOM),
)}
${preimage(
  'aegis/keyset/v1',
  'keyset_digest',
  [
    ['uint256', 'chain_id', keyset.chain_id],
    ['bytes32[2]', 'log_id', keyset.log_id],
    ['uint32', 'epoch', keyset.epoch],
    ['uint8', 'key_source', keyset.key_source],
    ['uint64', 'not_before_ms', keyset.not_before_ms],
    ...hashes,
  ],
  keysetDigest(keyset),
)}`;
}

const TITLES = [
  'An envelope under `x-wing`, with two assets declared.',
  'An envelope under `ecies`.',
  'An envelope that no key opens.',
];

function envelopeText(envelope: Envelope, i: number, { header, transactions }: BatchFile): string {
  const to: Destination = { chain_id: header.chain_id, log_id: header.log_id, epoch: envelope.epoch };
  const { aad, ciphertext_sha512, envelope_id } = identify(envelope, header);
  const raw = transactions.find((tx) => tx.envelope_id === hex(envelope_id))?.raw;
  const destination: Row[] = [
    ['uint256', 'chain_id', to.chain_id],
    ['bytes32[2]', 'log_id', to.log_id],
    ['uint32', 'epoch', to.epoch],
  ];
  const parts = [
    `### Envelope ${i}\n\n${TITLES[i]}\n`,
    fence(`envelope ${i}`, [
      `encrypted_data = ${envelope.encrypted_data}`,
      ...(raw === undefined ? [] : [`transaction = ${raw}`]),
    ]),
    tree(`refs_root of envelope ${i}`, envelope.asset_refs.map(utf8)),
    ...(envelope.scheme === 'x-wing'
      ? [preimage('aegis/envelope/v1', `info of envelope ${i}`, destination, envelopeInfo(to))]
      : []),
    preimage(
      'aegis/envelope-aad/v1',
      `aad of envelope ${i}`,
      [
        ...destination,
        ['uint8', 'scheme', schemeNumber(envelope.scheme)],
        ['bytes32[2]', 'refs_root', refsRoot(envelope.asset_refs)],
        ['uint256', 'priority_fee', envelope.priority_fee],
        ['uint16', 'risk_level', envelope.risk_level],
        ['uint8', 'requires_migration', envelope.requires_migration],
      ],
      aad,
    ),
    preimage(
      'aegis/envelope-id/v1',
      `id of envelope ${i}`,
      [
        ['bytes32[2]', 'aad', aad],
        ['bytes32[2]', 'ciphertext_sha512', ciphertext_sha512],
      ],
      sha512(sha512(utf8('aegis/envelope-id/v1')), sha512(utf8('aegis/envelope-id/v1')), aad, ciphertext_sha512),
    ),
    `So its id is \`${hex(envelope_id)}\`.\n`,
  ];
  return parts.join('\n');
}

function receiptText(receipt: Receipt): string {
  return `### Receipt\n\nOf envelope 0.\n\n${preimage(
    'aegis/receipt/v1',
    'receipt',
    [
      ['bytes32[2]', 'log_id', receipt.log_id],
      ['bytes32', 'envelope_id', receipt.envelope_id],
      ['uint64', 'admission_sequence', receipt.admission_sequence],
      ['uint64', 'timestamp_ms', receipt.timestamp_ms],
      ['uint32', 'epoch', receipt.epoch],
      ['uint64', 'order_by_height', receipt.order_by_height],
    ],
    receiptDigest(receipt),
  )}\n${fence('ed25519', [`signature = ${hex(fromBase64(receipt.signature))}`])}`;
}

function batchText({ header, order, transactions, refused, ecdsa_sig }: BatchFile): string {
  const digest = batchDigest(header);
  const types = ['uint16', 'uint256', 'bytes32[2]', 'uint64', 'bytes32[2]', 'uint64', 'uint64', 'uint32', 'uint32'];
  types.push(
    'bytes32[2]',
    'uint32',
    'bytes32[2]',
    'bytes32[2]',
    'bytes32[2]',
    'uint16',
    'uint8',
    'uint8',
    'bytes32[2]',
  );
  const rows = Object.entries(header).map(([name, value], i): Row => [types[i]!, name, value]);
  const hash = batchHash({ chain_id: header.chain_id, height: header.height, digest });
  return `### Batch

Envelope 1 was ordered first, then 0 and 2; 2 is refused.

${tree(
  'order_root',
  order.map((entry) => concat(uintBytes(BigInt(entry.admission_sequence), 8), fromHex(entry.envelope_id))),
)}
${tree(
  'tx_root',
  transactions.map((tx) => concat(fromHex(tx.envelope_id), uintBytes(tx.order_index, 4), fromHex(tx.raw))),
)}
${tree(
  'refused_root',
  refused.map((entry) => concat(fromHex(entry.envelope_id), uintBytes(entry.code, 2))),
)}
${tree('assets_root', [])}
${preimage('aegis/batch/v1', 'batch_id', rows, digest)}
${fence('eip712', [
  `chainId = ${header.chain_id}`,
  `height = ${header.height}`,
  `digestHi = ${hex(digest.slice(0, 32))}`,
  `digestLo = ${hex(digest.slice(32))}`,
  `hash = ${hex(hash)}`,
  `signature = ${ecdsa_sig!.signature}`,
])}`;
}

function sealText({ keyset, header, slh_dsa_sig, attestation }: BatchFile): string {
  const { seal } = slh_dsa_sig!;
  const subject = sealDigest(seal);
  const { not_after_ms } = attestation!;
  const keyset_digest = keysetDigest(keyset);
  const entry = (kind: number, digest: Uint8Array) => concat(new Uint8Array([kind]), digest);
  return `### Seal

The log has two entries: the first keyset (kind 2) and this batch (kind 0), so \`leaf_index\` is 1 and \`inclusion_path\` holds leaf 0.

${tree('log', [entry(2, keyset_digest), entry(0, batchDigest(header))])}
${preimage(
  'aegis/seal/v1',
  'head',
  [
    ['bytes32[2]', 'log_id', seal.log_id],
    ['uint64', 'size', seal.size],
    ['bytes32[2]', 'root', seal.root],
    ['uint64', 'timestamp_ms', seal.timestamp_ms],
    ['uint32', 'epoch', seal.epoch],
    ['bytes32[2]', 'keyset_digest', seal.keyset_digest],
    ['bytes32[2]', 'config_digest', seal.config_digest],
    ['uint8', 'freshness', seal.freshness],
    ['uint8', 'providers', seal.providers],
  ],
  subject,
)}
${preimage(
  'aegis/quote/v1',
  'report data',
  [
    ['uint8', 'purpose', 1],
    ['bytes32[2]', 'subject', subject],
    ['bytes32[2]', 'keyset_digest', keyset_digest],
    ['uint64', 'not_after_ms', not_after_ms],
    ['bytes32[2]', 'nonce', new Uint8Array(64)],
  ],
  quoteDigest({ purpose: 'seal', subject, keyset_digest, not_after_ms }),
)}`;
}

function orderText(order: Order): string {
  const { log_id, admin, nonce, not_after_ms, act } = order;
  const canonical = canonicalJson(act);
  const admins_root = rootOf([fromHex(admin)]);
  return `### Order

[\`order.json\`](example/order.json), by the only admin of a log; the example above has none. The seed of its key is no secret either.

${fence('admin', [`seed = ${hex(ADMIN_SEED)}`, `id = ${admin}`])}
${tree('admins_root', [fromHex(admin)])}
${preimage(
  'aegis/admins/v1',
  'admins',
  [
    ['bytes32[2]', 'log_id', fromHex(log_id)],
    ['uint32', 'admin_count', 1],
    ['bytes32[2]', 'admins_root', admins_root],
  ],
  adminsDigest({ log_id, admin_count: 1, admins_root }),
)}
${fence('act', [`act = ${canonical}`])}
${preimage(
  'aegis/order/v1',
  'order',
  [
    ['bytes32[2]', 'log_id', fromHex(log_id)],
    ['bytes32', 'nonce', fromHex(nonce)],
    ['uint64', 'not_after_ms', not_after_ms],
    ['bytes32[2]', 'act_sha512', sha512(utf8(canonical))],
  ],
  digestOf(order),
)}`;
}

function checkpointText(checkpoint: ReturnType<typeof CheckpointExample.parse>): string {
  const { asset_snapshots, log_id, checkpoint_id, block_number, state_hash, asset_count, timestamp, epoch } =
    checkpoint;
  const assets = asset_snapshots.map(({ asset_id, state, metadata: { asset_type, policy_digest } }) => {
    const [type, number] = [ASSET_TYPES.indexOf(asset_type), ASSET_STATES.indexOf(state)];
    return preimage(
      'aegis/asset/v1',
      `asset ${asset_id}`,
      [
        ['bytes32[2]', 'asset_id', sha512(utf8(asset_id))],
        ['uint8', 'type', type],
        ['uint8', 'state', number],
        ['bytes32[2]', 'policy_digest', fromHex(policy_digest)],
      ],
      assetDigest({ asset_id, type, state: number, policy_digest }),
    );
  });
  return `### Checkpoint

[\`checkpoint.json\`](example/checkpoint.json), signed by the keyset above. The first asset is on no chain, so 32 zero bytes stand behind its digest.

${assets.join('\n')}
${tree('state_hash', asset_snapshots.map(snapshotEntry))}
${preimage(
  'aegis/checkpoint/v1',
  'checkpoint',
  [
    ['bytes32[2]', 'log_id', fromHex(log_id)],
    ['bytes32[2]', 'checkpoint_id', sha512(utf8(checkpoint_id))],
    ['uint64', 'block_number', block_number],
    ['bytes32[2]', 'state_hash', fromHex(state_hash)],
    ['uint64', 'asset_count', asset_count],
    ['uint64', 'timestamp_ms', Date.parse(timestamp)],
    ['uint32', 'epoch', epoch],
  ],
  digestOfCheckpoint(checkpoint),
)}`;
}
