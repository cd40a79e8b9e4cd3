// The preimages, recomputed by an independent path (viem's ABI encoder and OpenSSL) with types and order copied from the
// table of DESIGN §4, and fixed as goldens: a change of digest.golden.json is a change of the protocol.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { encodeAbiParameters, hexToBytes } from 'viem';
import { describe, expect, it } from 'vitest';
import type { Header } from './batch.ts';
import golden from './digest.golden.json' with { type: 'json' };
import {
  adminsDigest,
  agentDigest,
  assetActDigest,
  batchDigest,
  channelDigest,
  checkpointDigest,
  digest,
  envelopeAad,
  envelopeId,
  envelopeInfo,
  type Field,
  handoverDigest,
  KEYSET_KEYS,
  keysetDigest,
  logId,
  migrationDigest,
  orderDigest,
  policyDigest,
  quoteDigest,
  receiptDigest,
  sealDigest,
  sha512,
  successionDigest,
  TAGS,
  type Tag,
  witnessDigest,
  ZERO_DIGEST,
} from './digest.ts';
import { base64, hex, utf8 } from './encoding.ts';
import type { Keyset } from './keyset.ts';
import type { Head } from './seal.ts';

/** Deterministic bytes that differ everywhere, so that two fields swapped don't pass. */
function bytes(seed: string, length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let at = 0; at < length; at += 64) {
    out.set(
      createHash('sha512')
        .update(`${seed} ${at}`)
        .digest()
        .subarray(0, Math.min(64, length - at)),
      at,
    );
  }
  return out;
}
const id64 = (seed: string) => hex(bytes(seed, 64));
const id32 = (seed: string) => hex(bytes(seed, 32));

const chain_id = (2n ** 255n + 12_345n).toString();

const header: Header = {
  version: 1,
  chain_id,
  log_id: id64('log'),
  height: 7,
  parent_digest: id64('parent'),
  block_number: (2n ** 63n + 9n).toString(),
  timestamp_ms: 1_771_419_531_123,
  epoch: 3,
  order_count: 5,
  order_root: id64('order'),
  tx_count: 4,
  tx_root: id64('tx'),
  refused_root: id64('refused'),
  assets_root: id64('assets'),
  risk_score: 9_999,
  ordering_mode: 2,
  algorithms: 7,
  checkpoint_digest: id64('checkpoint'),
};

const head: Head = {
  log_id: id64('log'),
  size: 2 ** 40 + 1,
  root: id64('root'),
  timestamp_ms: 1_771_419_531_124,
  epoch: 3,
  keyset_digest: id64('keyset'),
  config_digest: id64('config'),
  freshness: 1,
  providers: 3,
};

const keyset: Keyset = {
  chain_id,
  log_id: id64('log'),
  epoch: 3,
  key_source: 2,
  not_before_ms: 1_771_419_531_125,
  ml_dsa_87: base64(bytes('ml_dsa_87', 2592)),
  slh_dsa_sha2_256s: base64(bytes('slh', 64)),
  secp256k1: base64(bytes('secp256k1', 65)),
  x_wing: base64(bytes('x_wing', 1216)),
  ecies: base64(bytes('ecies', 65)),
  names: base64(bytes('names', 65)),
  receipt: base64(bytes('receipt', 32)),
  handover: base64(bytes('handover', 1216)),
  tls: null,
};

const receipt = {
  log_id: id64('log'),
  envelope_id: id32('envelope'),
  admission_sequence: (2n ** 64n - 1n).toString(),
  timestamp_ms: 1_771_419_531_126,
  epoch: 4,
  order_by_height: '8',
};

const claims = {
  chain_id,
  log_id: id64('log'),
  epoch: 3,
  scheme: 1,
  refs_root: bytes('refs', 64),
  priority_fee: (2n ** 256n - 1n).toString(),
  risk_level: 10_000,
  requires_migration: true,
};

const quote = { subject: bytes('subject', 64), keyset_digest: bytes('keyset', 64), not_after_ms: 1_771_505_931_124 };

/** What the table of DESIGN §4 says of each tag, types as it writes them, and the digest that ours gives. */
const TABLE: Record<Tag, { types: string; values: readonly unknown[]; ours: Uint8Array }> = {
  'aegis/log/v1': {
    types: 'uint256, bytes32',
    values: [BigInt(chain_id), id32('random')],
    ours: logId(chain_id, bytes('random', 32)),
  },
  'aegis/batch/v1': {
    types:
      'uint16, uint256, bytes32[2], uint64, bytes32[2], uint64, uint64, uint32, uint32, bytes32[2], uint32, bytes32[2], ' +
      'bytes32[2], bytes32[2], uint16, uint8, uint8, bytes32[2]',
    values: [
      1,
      BigInt(chain_id),
      header.log_id,
      7n,
      header.parent_digest,
      2n ** 63n + 9n,
      1_771_419_531_123n,
      3,
      5,
      header.order_root,
      4,
      header.tx_root,
      header.refused_root,
      header.assets_root,
      9_999,
      2,
      7,
      header.checkpoint_digest,
    ],
    ours: batchDigest(header),
  },
  'aegis/seal/v1': {
    types: 'bytes32[2], uint64, bytes32[2], uint64, uint32, bytes32[2], bytes32[2], uint8, uint8',
    values: [
      head.log_id,
      2n ** 40n + 1n,
      head.root,
      1_771_419_531_124n,
      3,
      head.keyset_digest,
      head.config_digest,
      1,
      3,
    ],
    ours: sealDigest(head),
  },
  'aegis/keyset/v1': {
    types: `uint256, bytes32[2], uint32, uint8, uint64${', bytes32[2]'.repeat(9)}`,
    values: [
      BigInt(chain_id),
      keyset.log_id,
      3,
      2,
      1_771_419_531_125n,
      ...[
        bytes('ml_dsa_87', 2592),
        bytes('slh', 64),
        bytes('secp256k1', 65),
        bytes('x_wing', 1216),
        bytes('ecies', 65),
        bytes('names', 65),
        bytes('receipt', 32),
        bytes('handover', 1216),
      ].map((key) => `0x${createHash('sha512').update(key).digest('hex')}`),
      `0x${'00'.repeat(64)}`,
    ],
    ours: keysetDigest(keyset),
  },
  'aegis/quote/v1': {
    types: 'uint8, bytes32[2], bytes32[2], uint64, bytes32[2]',
    values: [
      3,
      id64('subject'),
      id64('keyset'),
      1_771_505_931_124n,
      `0x${createHash('sha512').update('nonce').digest('hex')}`,
    ],
    ours: quoteDigest({ ...quote, purpose: 'handover', nonce: new TextEncoder().encode('nonce') }),
  },
  'aegis/agent/v1': {
    types: 'bytes32[2], bytes32[2]',
    values: ['public key', 'message'].map((text) => `0x${createHash('sha512').update(text).digest('hex')}`),
    ours: agentDigest({ public_key: utf8('public key'), message: utf8('message') }),
  },
  'aegis/envelope/v1': {
    types: 'uint256, bytes32[2], uint32',
    values: [BigInt(chain_id), id64('log'), 3],
    ours: envelopeInfo({ chain_id, log_id: id64('log'), epoch: 3 }),
  },
  'aegis/envelope-aad/v1': {
    types: 'uint256, bytes32[2], uint32, uint8, bytes32[2], uint256, uint16, uint8',
    values: [BigInt(chain_id), id64('log'), 3, 1, id64('refs'), 2n ** 256n - 1n, 10_000, 1],
    ours: envelopeAad(claims),
  },
  'aegis/envelope-id/v1': {
    types: 'bytes32[2], bytes32[2]',
    values: [id64('aad'), id64('ciphertext')],
    ours: digest('aegis/envelope-id/v1', [
      ['bytes32[2]', bytes('aad', 64)],
      ['bytes32[2]', bytes('ciphertext', 64)],
    ]),
  },
  'aegis/receipt/v1': {
    types: 'bytes32[2], bytes32, uint64, uint64, uint32, uint64',
    values: [receipt.log_id, receipt.envelope_id, 2n ** 64n - 1n, 1_771_419_531_126n, 4, 8n],
    ours: receiptDigest(receipt),
  },
  'aegis/asset/v1': {
    types: 'bytes32[2], uint8, uint8, bytes32[2]',
    values: [id64('asset'), 7, 4, id64('policy')],
    ours: digest('aegis/asset/v1', [
      ['bytes32[2]', bytes('asset', 64)],
      ['uint8', 7],
      ['uint8', 4],
      ['bytes32[2]', bytes('policy', 64)],
    ]),
  },
  'aegis/admins/v1': {
    types: 'bytes32[2], uint32, bytes32[2]',
    values: [id64('log'), 3, id64('admins')],
    ours: adminsDigest({ log_id: id64('log'), admin_count: 3, admins_root: bytes('admins', 64) }),
  },
  'aegis/order/v1': {
    types: 'bytes32[2], bytes32, uint64, bytes32[2]',
    values: [
      id64('log'),
      id32('nonce'),
      1_771_419_531_127n,
      `0x${createHash('sha512').update('{"epoch":3,"type":"retire_epoch"}').digest('hex')}`,
    ],
    ours: orderDigest({
      log_id: id64('log'),
      nonce: id32('nonce'),
      not_after_ms: 1_771_419_531_127,
      act: new TextEncoder().encode('{"epoch":3,"type":"retire_epoch"}'),
    }),
  },
  'aegis/policy/v1': {
    types: 'uint256, uint256, uint8, uint8, uint16, bytes32[2], bytes32[2], bytes32[2], bytes32[2]',
    values: [
      ...[BigInt(chain_id), 2n ** 160n - 7n, 1, 0, 5_000],
      ...[id64('allowed'), id64('emergency'), id64('abi'), id64('grants')],
    ],
    ours: policyDigest({
      ...{ chain_id, contract_address: `0x${(2n ** 160n - 7n).toString(16)}`, requires_pqc: true, requires_tee: false },
      ...{ risk_threshold: 5_000, allowed_root: bytes('allowed', 64), emergency_root: bytes('emergency', 64) },
      ...{ abi_root: bytes('abi', 64), grants_root: bytes('grants', 64) },
    }),
  },
  'aegis/asset-act/v1': {
    types: 'uint8, bytes32[2], bytes32[2], uint64',
    values: [2, hex(sha512(utf8('token_001'))), id64('asset'), 1_771_419_531_127n],
    ours: assetActDigest({
      ...{ act: 2, asset_id: 'token_001', asset_digest: bytes('asset', 64), timestamp_ms: 1_771_419_531_127 },
    }),
  },
  'aegis/witness/v1': {
    types: 'uint8, bytes32[2], uint64, uint32, bytes32[2], bytes32[2]',
    values: [1, id64('log'), 7n, 50, id64('root'), hex(sha512(bytes('witness', 2592)))],
    ours: witnessDigest({
      ...{ kind: 'order', log_id: id64('log'), number: 7, count: 50, root: id64('root') },
      witness_key: bytes('witness', 2592),
    }),
  },
  'aegis/channel/v1': {
    types: 'uint8, bytes32[2], bytes32[2], bytes32[2], bytes32[2], bytes32[2], bytes32[2]',
    values: [
      ...[2, id64('log'), hex(sha512(bytes('witness', 2592))), hex(sha512(bytes('x_wing', 1216)))],
      ...[hex(sha512(bytes('primary', 32))), hex(sha512(bytes('nonce', 32))), hex(sha512(bytes('sealed', 1200)))],
    ],
    ours: channelDigest({
      ...{ side: 'primary', log_id: id64('log'), witness_key: bytes('witness', 2592), x_wing: bytes('x_wing', 1216) },
      ...{ nonces: { primary: bytes('primary', 32), witness: bytes('nonce', 32) }, sealed: bytes('sealed', 1200) },
    }),
  },
  'aegis/checkpoint/v1': {
    types: 'bytes32[2], bytes32[2], uint64, bytes32[2], uint64, uint64, uint32',
    values: [
      ...[id64('log'), hex(sha512(utf8('checkpoint_12345'))), 12_345n, id64('state'), 100_000n, 1_771_419_531_129n, 3],
    ],
    ours: checkpointDigest({
      ...{ log_id: id64('log'), checkpoint_id: 'checkpoint_12345', block_number: 12_345, state_hash: id64('state') },
      ...{ asset_count: 100_000, timestamp_ms: 1_771_419_531_129, epoch: 3 },
    }),
  },
  'aegis/migration/v1': {
    types: 'uint8, bytes32[2], bytes32[2], bytes32[2], bytes32[2], uint64',
    values: [
      ...[2, id64('log'), hex(sha512(utf8('checkpoint_12345'))), id64('checkpoint'), id64('senders')],
      1_771_419_531_130n,
    ],
    ours: migrationDigest({
      ...{ act: 2, log_id: id64('log'), checkpoint_id: 'checkpoint_12345', checkpoint_digest: id64('checkpoint') },
      ...{ senders_root: bytes('senders', 64), timestamp_ms: 1_771_419_531_130 },
    }),
  },
  'aegis/handover/v1': {
    types: 'bytes32[2], uint64, uint32, bytes32[2], uint32, bytes32[2], bytes32[2], bytes32[2], uint64, uint64',
    values: [
      ...[id64('log'), 4_711n, 3, id64('from'), 4, id64('to'), id64('head'), id64('state'), 10_000n],
      1_771_419_531_131n,
    ],
    ours: handoverDigest({
      ...{ log_id: id64('log'), leaf_index: 4_711, from_epoch: 3, from_keyset_digest: id64('from') },
      ...{ to_epoch: 4, to_keyset_digest: id64('to'), head_digest: id64('head'), state_hash: id64('state') },
      ...{ asset_count: 10_000, timestamp_ms: 1_771_419_531_131 },
    }),
  },
  'aegis/succession/v1': {
    types: 'uint8, bytes32[2], bytes32[2], bytes32[2], bytes32[2], bytes32[2], bytes32[2], bytes32[2]',
    values: [
      ...[4, id64('log'), id64('from'), id64('to'), id64('head'), hex(sha512(bytes('predecessor', 32)))],
      ...[hex(sha512(bytes('successor', 32))), hex(sha512(bytes('sealed', 1168)))],
    ],
    ours: successionDigest({
      ...{ part: 'offer', log_id: id64('log'), from_keyset_digest: id64('from'), to_keyset_digest: id64('to') },
      ...{ head_digest: id64('head'), sealed: bytes('sealed', 1168) },
      nonces: { predecessor: bytes('predecessor', 32), successor: bytes('successor', 32) },
    }),
  },
};

/** By viem and OpenSSL alone. A digest is given as 64 bytes in hex and split into its `bytes32[2]`. */
function independent(tag: string, types: readonly string[], values: readonly unknown[]): string {
  const domain = createHash('sha512').update(tag).digest();
  const parameters = types.map((type) => ({ type }));
  const split = values.map((value, i) =>
    types[i] === 'bytes32[2]' ? [(value as string).slice(0, 66), `0x${(value as string).slice(66)}`] : value,
  );
  const encoded = encodeAbiParameters(parameters, split as never);
  return `0x${createHash('sha512').update(domain).update(domain).update(hexToBytes(encoded)).digest('hex')}`;
}

describe('digests', () => {
  it.each(TAGS)('%s is what the table says, by an independent path and as fixed', (tag) => {
    const { types, values, ours } = TABLE[tag];
    expect(hex(ours)).toBe(independent(tag, types.split(', '), values));
    expect(hex(ours)).toBe(golden[tag]);
  });

  it('of absent keys and an absent nonce are zero words', () => {
    const none = { ...keyset, secp256k1: null, ecies: null, names: null, handover: null };
    const { types, values } = TABLE['aegis/keyset/v1'];
    const absent = new Set(KEYSET_KEYS.flatMap((key, i) => (none[key] === null ? [5 + i] : [])));
    const zeroed = values.map((value, i) => (absent.has(i) ? hex(ZERO_DIGEST) : value));
    expect(hex(keysetDigest(none))).toBe(independent('aegis/keyset/v1', types.split(', '), zeroed));
    expect(hex(quoteDigest({ ...quote, purpose: 'seal' }))).toBe(
      independent('aegis/quote/v1', TABLE['aegis/quote/v1'].types.split(', '), [
        1,
        id64('subject'),
        id64('keyset'),
        1_771_505_931_124n,
        hex(ZERO_DIGEST),
      ]),
    );
  });

  it('identify an envelope by the first half', () => {
    const whole = TABLE['aegis/envelope-id/v1'].ours;
    expect(envelopeId(bytes('aad', 64), bytes('ciphertext', 64))).toEqual(whole.slice(0, 32));
  });
});

const BITS = { uint8: 8n, uint16: 16n, uint32: 32n, uint64: 64n, uint256: 256n } as const;
const integer = (type: keyof typeof BITS) => fc.bigInt({ min: 0n, max: 2n ** BITS[type] - 1n });

/** Random fields of random types. */
const fields = fc.array(
  fc.oneof(
    ...(Object.keys(BITS) as (keyof typeof BITS)[]).map((type) =>
      integer(type).map((value): Field => [type, value] as const),
    ),
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((value): Field => ['bytes32', value] as const),
    fc.uint8Array({ minLength: 64, maxLength: 64 }).map((value): Field => ['bytes32[2]', value] as const),
  ),
  { minLength: 1, maxLength: 6 },
);

describe('the encoding', () => {
  it('is the ABI encoding, whatever the fields', () => {
    fc.assert(
      fc.property(fc.constantFrom(...TAGS), fields, (tag, given) => {
        const values = given.map(([type, value]) =>
          value instanceof Uint8Array
            ? hex(value)
            : type === 'uint64' || type === 'uint256'
              ? BigInt(value)
              : Number(value),
        );
        const types = given.map(([type]) => type);
        expect(hex(digest(tag, given))).toBe(independent(tag, types, values));
      }),
    );
  });

  it('is injective: another value of the same types, or another tag, gives another digest', () => {
    const word = (value: readonly [bigint, Uint8Array, Uint8Array, number]): Field[] => [
      ['uint64', value[0]],
      ['bytes32', value[1]],
      ['bytes32[2]', value[2]],
      ['uint8', value[3]],
    ];
    const value = fc.tuple(
      fc.bigInt({ min: 0n, max: 3n }),
      fc.constantFrom(new Uint8Array(32), new Uint8Array(32).fill(1)),
      fc.constantFrom(new Uint8Array(64), new Uint8Array(64).fill(1)),
      fc.integer({ min: 0, max: 3 }),
    );
    fc.assert(
      fc.property(value, value, fc.constantFrom(...TAGS), fc.constantFrom(...TAGS), (a, b, tagA, tagB) => {
        const same = JSON.stringify(word(a), plain) === JSON.stringify(word(b), plain) && tagA === tagB;
        expect(hex(digest(tagA, word(a))) === hex(digest(tagB, word(b)))).toBe(same);
      }),
    );
  });

  it('gives every value of a structure its own digest', () => {
    const other = { ...header };
    const seen = new Set([hex(batchDigest(header))]);
    for (const key of Object.keys(header) as (keyof Header)[]) {
      const value = header[key];
      const changed =
        typeof value === 'number'
          ? value + 1
          : value.startsWith('0x')
            ? id64(`other ${key}`)
            : (BigInt(value) + 1n).toString();
      seen.add(hex(batchDigest({ ...other, [key]: changed })));
    }
    expect(seen.size).toBe(1 + Object.keys(header).length);
  });

  it.each([
    ['uint8', 256],
    ['uint16', 65_536],
    ['uint32', 2 ** 32],
    ['uint64', 2n ** 64n],
    ['uint256', 2n ** 256n],
    ['uint8', -1],
  ] as const)('refuses %s = %s', (type, value) => {
    expect(() => digest('aegis/log/v1', [[type, value]])).toThrow(RangeError);
  });

  it('refuses integers that are none', () => {
    expect(() => digest('aegis/log/v1', [['uint64', 1.5]])).toThrow(RangeError);
    expect(() => digest('aegis/log/v1', [['uint64', Number.NaN]])).toThrow(RangeError);
  });

  it.each([
    ['bytes32', 31],
    ['bytes32', 33],
    ['bytes32[2]', 32],
    ['bytes32[2]', 65],
  ] as const)('refuses %s of %i bytes', (type, length) => {
    expect(() => digest('aegis/log/v1', [[type, new Uint8Array(length)]])).toThrow(RangeError);
  });
});

const plain = (_: string, value: unknown) => (typeof value === 'bigint' ? value.toString() : value);
