import fc from 'fast-check';
import {
  fromRlp,
  type Hex,
  hexToBytes,
  keccak256,
  parseTransaction,
  recoverTransactionAddress,
  type TransactionSerializable,
  type TransactionSerialized,
  toHex,
  toRlp,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { describe, expect, it } from 'vitest';
import { concat } from './encoding.ts';
import { decodeTransaction, recoverSender, type Transaction } from './transaction.ts';

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const account = privateKeyToAccount('0x4646464646464646464646464646464646464646464646464646464646464646');

type Tree = Uint8Array | Tree[];

const empty = new Uint8Array(0);
const quantity = (value: bigint): Uint8Array => (value === 0n ? empty : hexToBytes(toHex(value)));
const rlp = (tree: Tree): Uint8Array => toRlp(tree, 'bytes');

/** The canonical encoding, by viem: what a decoded transaction must have come from. */
function encode(tx: Transaction): Uint8Array {
  const to = tx.to === null ? empty : hexToBytes(tx.to);
  const fees =
    tx.type < 2
      ? [quantity(tx.max_fee_per_gas)]
      : [quantity(tx.max_priority_fee_per_gas), quantity(tx.max_fee_per_gas)];
  const body = [quantity(tx.nonce), ...fees, quantity(tx.gas_limit), to, quantity(tx.value), tx.data];
  const { r, s, y_parity } = tx.signature;
  const scalars = [quantity(r), quantity(s)];
  if (tx.type === 0) return rlp([...body, quantity(35n + 2n * tx.chain_id + BigInt(y_parity)), ...scalars]);
  const access: Tree[] = tx.access_list.map(({ address, storage_keys }) => [
    hexToBytes(address),
    storage_keys.map((key) => hexToBytes(key)),
  ]);
  const authorizations: Tree[] = tx.authorization_list.map((a) => [
    quantity(a.chain_id),
    hexToBytes(a.address),
    quantity(a.nonce),
    quantity(BigInt(a.y_parity)),
    quantity(a.r),
    quantity(a.s),
  ]);
  const lists = tx.type === 4 ? [access, authorizations] : [access];
  const fields = [quantity(tx.chain_id), ...body, ...lists, quantity(BigInt(y_parity)), ...scalars];
  return concat(Uint8Array.of(tx.type), rlp(fields));
}

const bytesHex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((value) => toHex(value) as Hex);
const accessList = fc.array(
  fc.record({ address: bytesHex(20), storageKeys: fc.array(bytesHex(32), { maxLength: 3 }) }),
  { maxLength: 3 },
);
const uint = (bits: number) => fc.bigInt({ min: 0n, max: 2n ** BigInt(bits) - 1n });
const authorization = fc.record({
  chainId: fc.nat(),
  address: bytesHex(20),
  nonce: fc.nat(),
  yParity: fc.constantFrom(0, 1),
  r: uint(256).map((value) => toHex(value)),
  s: uint(256).map((value) => toHex(value)),
});
const common = {
  chainId: fc.integer({ min: 1, max: 2 ** 31 }),
  nonce: fc.nat(),
  gas: uint(64),
  value: uint(256),
  data: fc.uint8Array({ maxLength: 300 }).map((value) => toHex(value) as Hex),
};
const to = fc.option(bytesHex(20), { nil: undefined });
const fees = fc
  .tuple(uint(128), uint(128))
  .map(([a, b]) =>
    a < b ? { maxPriorityFeePerGas: a, maxFeePerGas: b } : { maxPriorityFeePerGas: b, maxFeePerGas: a },
  );
const legacy = fc.record({ type: fc.constant('legacy'), ...common, to, gasPrice: uint(128) });
const eip2930 = fc.record({ type: fc.constant('eip2930'), ...common, to, gasPrice: uint(128), accessList });
const eip1559 = fc
  .tuple(fc.record({ type: fc.constant('eip1559'), ...common, to, accessList }), fees)
  .map(([tx, fee]) => ({ ...tx, ...fee }));
const eip7702 = fc
  .tuple(
    fc.record({
      type: fc.constant('eip7702'),
      ...common,
      to: bytesHex(20),
      accessList,
      authorizationList: fc.array(authorization, { minLength: 1, maxLength: 3 }),
    }),
    fees,
  )
  .map(([tx, fee]) => ({ ...tx, ...fee }));
const transaction = fc.oneof(legacy, eip2930, eip1559, eip7702) as fc.Arbitrary<TransactionSerializable>;

/** viem's types know a transaction by its literal type; here it is any of them. */
type Parsed = Partial<Omit<ReturnType<typeof parseTransaction<TransactionSerialized<'eip7702'>>>, 'type'>> & {
  type: string;
  gasPrice?: bigint;
};

const sign = async (tx: unknown): Promise<Uint8Array> =>
  hexToBytes(await account.signTransaction(tx as TransactionSerializable));

function decoded(raw: Uint8Array): Transaction {
  const outcome = decodeTransaction(raw);
  if (!outcome.ok) throw new Error(`${outcome.code}: ${outcome.detail}`);
  return outcome.transaction;
}

const verdict = (raw: Uint8Array) => {
  const outcome = decodeTransaction(raw);
  return outcome.ok ? 'ok' : `${outcome.code}: ${outcome.detail}`;
};

describe('decodeTransaction and viem', () => {
  it('agree on every field, hash and sender', async () => {
    await fc.assert(
      fc.asyncProperty(transaction, async (source) => {
        const raw = await sign(source);
        const ours = decoded(raw);
        const theirs = parseTransaction(toHex(raw) as TransactionSerialized<'eip7702'>) as Parsed;
        const price = theirs.gasPrice ?? undefined;
        expect({
          type: { 0: 'legacy', 1: 'eip2930', 2: 'eip1559', 4: 'eip7702' }[ours.type],
          chainId: Number(ours.chain_id),
          nonce: Number(ours.nonce),
          to: ours.to,
          value: ours.value,
          gas: ours.gas_limit,
          data: toHex(ours.data),
          fee: ours.max_fee_per_gas,
          tip: ours.max_priority_fee_per_gas,
          access: ours.access_list.map((entry) => ({ address: entry.address, storageKeys: entry.storage_keys })),
          yParity: ours.signature.y_parity,
          r: ours.signature.r,
          s: ours.signature.s,
        }).toEqual({
          type: theirs.type,
          chainId: theirs.chainId,
          nonce: theirs.nonce ?? 0,
          to: theirs.to ?? null,
          value: theirs.value ?? 0n,
          gas: theirs.gas ?? 0n,
          data: theirs.data ?? '0x',
          fee: price ?? theirs.maxFeePerGas ?? 0n,
          tip: price ?? theirs.maxPriorityFeePerGas ?? 0n,
          access: theirs.accessList ?? [],
          yParity: theirs.yParity,
          r: BigInt(theirs.r!),
          s: BigInt(theirs.s!),
        });
        expect(ours.authorization_list.map(({ chain_id, address, nonce }) => [chain_id, address, nonce])).toEqual(
          (theirs.authorizationList ?? []).map((a) => [BigInt(a.chainId), a.address, BigInt(a.nonce)]),
        );
        expect(ours.tx_hash).toBe(keccak256(raw));
        expect(recoverSender(ours)).toBe(account.address.toLowerCase());
        expect(encode(ours)).toEqual(raw);
      }),
      { numRuns: 200 },
    );
  });

  it('agree on the sender of a signature by nobody in particular', async () => {
    const raw = await sign({ type: 'eip1559', chainId: 1, nonce: 3, gas: 21_000n });
    await fc.assert(
      fc.asyncProperty(uint(255), uint(255), fc.constantFrom(0, 1) as fc.Arbitrary<0 | 1>, async (r, s, y_parity) => {
        const tx = { ...decoded(raw), signature: { r: r + 1n, s: (s % (ORDER / 2n)) + 1n, y_parity } };
        const signed = encode(tx);
        const serializedTransaction = toHex(signed) as TransactionSerialized;
        const theirs = await recoverTransactionAddress({ serializedTransaction }).catch(() => null);
        expect(recoverSender(decoded(signed))).toBe(theirs?.toLowerCase() ?? null);
      }),
      { numRuns: 60 },
    );
  });

  it('decodes the example of EIP-155', () => {
    const raw = hexToBytes(
      '0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83',
    );
    const tx = decoded(raw);
    expect(toHex(tx.signing_hash)).toBe('0xdaf5a779ae972f972197303d7b574746c7ef83eadac0f2791ad23db92e4c8e53');
    expect(tx).toMatchObject({ type: 0, chain_id: 1n, nonce: 9n, gas_limit: 21_000n, value: 10n ** 18n });
    expect(recoverSender(tx)).toBe('0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f');
  });
});

describe('mutations', () => {
  const samples = fc.tuple(transaction, fc.nat(), fc.nat(7));

  /** Whatever happened to the bytes: refused, or they are the one encoding of what was read. */
  const refusedOrCanonical = (raw: Uint8Array) => {
    const outcome = decodeTransaction(raw);
    if (outcome.ok) expect(toHex(encode(outcome.transaction))).toBe(toHex(raw));
  };

  it('one bit flipped', async () => {
    await fc.assert(
      fc.asyncProperty(samples, async ([source, position, bit]) => {
        const raw = await sign(source);
        for (let i = 0; i < Math.min(raw.length, 64); i++) {
          const flipped = raw.slice();
          const at = (position + 7 * i) % raw.length;
          flipped[at] = flipped[at]! ^ (1 << ((bit + i) % 8));
          refusedOrCanonical(flipped);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('bytes removed, repeated, inserted', async () => {
    await fc.assert(
      fc.asyncProperty(samples, fc.nat(255), async ([source, position], byte) => {
        const raw = await sign(source);
        const at = position % raw.length;
        const insert = Uint8Array.of(byte);
        refusedOrCanonical(concat(raw.subarray(0, at), raw.subarray(at + 1)));
        refusedOrCanonical(concat(raw.subarray(0, at), insert, raw.subarray(at)));
        expect(decodeTransaction(raw.subarray(0, at)).ok).toBe(false);
        expect(decodeTransaction(concat(raw, insert)).ok).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  it('an item replaced by another string, a list or nothing', async () => {
    const item: fc.Arbitrary<Tree | null> = fc.oneof(
      fc.uint8Array({ maxLength: 34 }),
      fc.constantFrom(empty, Uint8Array.of(0), Uint8Array.of(0, 1), Uint8Array.of(0x7f), Uint8Array.of(0x80)),
      fc.array(fc.uint8Array({ maxLength: 33 }), { maxLength: 7 }) as fc.Arbitrary<Tree>,
      fc.constant(null),
    );
    await fc.assert(
      fc.asyncProperty(samples, item, async ([source, position], replacement) => {
        const raw = await sign(source);
        const type = raw[0]! < 0x80 ? raw.subarray(0, 1) : empty;
        const fields = fromRlp(raw.subarray(type.length), 'bytes') as Tree[];
        const at = position % fields.length;
        const changed = fields.flatMap((field, i) => (i !== at ? [field] : replacement === null ? [] : [replacement]));
        refusedOrCanonical(concat(type, rlp(changed)));
      }),
      { numRuns: 200 },
    );
  });

  it('noise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(0xf8, 0xc0, 1, 2, 3, 4, 5), (noise, first) => {
        refusedOrCanonical(noise);
        refusedOrCanonical(concat(Uint8Array.of(first), noise));
      }),
      { numRuns: 500 },
    );
  });
});

describe('refusals', () => {
  const R = quantity(ORDER - 1n);
  const S = quantity(1n);
  const address = new Uint8Array(20).fill(0x35);
  const auth = [quantity(1n), address, quantity(0n), quantity(1n), R, R];
  const fields: Record<0 | 1 | 2 | 4, Tree[]> = {
    0: [empty, quantity(9n), quantity(21_000n), address, quantity(1n), empty, quantity(37n), R, S],
    1: [S, empty, quantity(9n), quantity(21_000n), address, empty, empty, [], empty, R, S],
    2: [S, empty, quantity(1n), quantity(9n), quantity(21_000n), address, empty, empty, [], empty, R, S],
    4: [S, empty, quantity(1n), quantity(9n), quantity(21_000n), address, empty, empty, [], [auth], empty, R, S],
  };
  const make = (type: 0 | 1 | 2 | 4, changes: Record<number, Tree> = {}) => {
    const body = rlp(fields[type].map((field, i) => changes[i] ?? field));
    return type === 0 ? body : concat(Uint8Array.of(type), body);
  };
  const last = (type: 0 | 1 | 2 | 4, back: number) => fields[type].length - back;

  it('takes the unchanged ones', () => {
    for (const type of [0, 1, 2, 4] as const) expect(verdict(make(type))).toBe('ok');
  });

  it.each([
    ['nothing', empty, 'malformed_transaction: empty'],
    ['a type byte alone', Uint8Array.of(2), 'malformed_transaction: transaction is missing'],
    ['a string', Uint8Array.of(0x83, 1, 2, 3), 'malformed_transaction: transaction is a string, expected a list'],
    [
      'a typed transaction wrapped in a string',
      rlp(make(2)),
      'malformed_transaction: transaction is a string, expected a list',
    ],
    [
      'type 0 in an envelope',
      concat(Uint8Array.of(0), make(0)),
      'unsupported_type: type 0: expected 0 (legacy), 1, 2 or 4',
    ],
    [
      'a blob transaction',
      concat(Uint8Array.of(3), make(2).subarray(1)),
      'unsupported_type: type 3: expected 0 (legacy), 1, 2 or 4',
    ],
    ['type 5', Uint8Array.of(5, 0xc0), 'unsupported_type: type 5: expected 0 (legacy), 1, 2 or 4'],
    ['type 0x7e (deposit)', Uint8Array.of(0x7e, 0xc0), 'unsupported_type: type 126: expected 0 (legacy), 1, 2 or 4'],
    ['type 0x7f', Uint8Array.of(0x7f), 'unsupported_type: type 127: expected 0 (legacy), 1, 2 or 4'],
    [
      'trailing byte',
      concat(make(2), Uint8Array.of(0)),
      'malformed_transaction: transaction has more than was expected',
    ],
    ['an empty list', Uint8Array.of(0xc0), 'malformed_transaction: nonce is missing'],
    [
      'a list longer than the input',
      Uint8Array.of(0xf8, 0xff, 1),
      'malformed_transaction: transaction is longer than what holds it',
    ],
    [
      'a list of 2^64 - 1 bytes',
      Uint8Array.of(0xff, ...new Uint8Array(8).fill(0xff)),
      'malformed_transaction: transaction is longer than what holds it',
    ],
    ['a length cut off', Uint8Array.of(0xf9, 1), 'malformed_transaction: transaction ends inside its length'],
  ] as const)('%s', (_, raw, expected) => {
    expect(verdict(raw)).toBe(expected);
  });

  it.each([
    [
      'a length with a leading zero',
      Uint8Array.of(0xb9, 0, 56, ...new Uint8Array(56)),
      'the length of value has leading zero bytes',
    ],
    [
      'a long length below 56',
      Uint8Array.of(0xb8, 55, ...new Uint8Array(55).fill(1)),
      'the length of value should be in its prefix',
    ],
    ['a long length of 0', Uint8Array.of(0xb8, 0), 'the length of value has leading zero bytes'],
    [
      'a single byte with a prefix',
      Uint8Array.of(0x81, 0x7f),
      'value is one byte below 0x80 and should stand for itself',
    ],
    ['zero as a byte', Uint8Array.of(0), 'value has leading zero bytes'],
    ['a leading zero', Uint8Array.of(0x82, 0, 0x80), 'value has leading zero bytes'],
    ['257 bits', Uint8Array.of(0xa1, 1, ...new Uint8Array(32)), 'value is wider than 256 bits'],
    ['a list', Uint8Array.of(0xc0), 'value is a list, expected a string'],
    ['a list with a long length below 56', Uint8Array.of(0xf8, 1, 1), 'the length of value should be in its prefix'],
    [
      'longer than its list',
      Uint8Array.of(0xbf, ...new Uint8Array(8).fill(0xff)),
      'value is longer than what holds it',
    ],
  ] as const)('value written as %s', (_, item, detail) => {
    const items = fields[0].map((field, i) => (i === 4 ? item : rlp(field)));
    const payload = concat(...items);
    const prefix = payload.length > 55 ? Uint8Array.of(0xf8, payload.length) : Uint8Array.of(0xc0 + payload.length);
    expect(verdict(concat(prefix, payload))).toBe(`malformed_transaction: ${detail}`);
  });

  it.each([
    ['nonce 2^64 - 1', make(2, { 1: quantity(2n ** 64n - 1n) }), 'nonce is 2^64 - 1 (EIP-2681)'],
    ['nonce 2^64', make(2, { 1: quantity(2n ** 64n) }), 'nonce is wider than 64 bits'],
    ['gas limit 2^64', make(2, { 4: quantity(2n ** 64n) }), 'gas_limit is wider than 64 bits'],
    ['chain id 2^256', make(1, { 0: quantity(2n ** 256n) }), 'chain_id is wider than 256 bits'],
    ['v 2^256', make(0, { 6: quantity(2n ** 256n) }), 'v is wider than 256 bits'],
    ['tip above fee cap', make(2, { 2: quantity(10n) }), 'max_priority_fee_per_gas is above max_fee_per_gas'],
    ['to of 19 bytes', make(2, { 5: address.subarray(1) }), 'to has 19 bytes, expected 0 or 20'],
    ['to of 32 bytes', make(0, { 3: new Uint8Array(32) }), 'to has 32 bytes, expected 0 or 20'],
    ['to as an empty list', make(0, { 3: [] }), 'to is a list, expected a string'],
    ['no to with type 4', make(4, { 5: empty }), 'to has 0 bytes, expected 20'],
    ['data as a list', make(2, { 7: [] }), 'data is a list, expected a string'],
    ['access list as a string', make(1, { 7: empty }), 'access_list is a string, expected a list'],
    ['access list item as a string', make(1, { 7: [empty] }), 'access_list item is a string, expected a list'],
    [
      'access list address of 21 bytes',
      make(1, { 7: [[new Uint8Array(21), []]] }),
      'access_list address has 21 bytes, expected 20',
    ],
    [
      'storage key of 31 bytes',
      make(2, { 8: [[address, [new Uint8Array(31)]]] }),
      'storage key has 31 bytes, expected 32',
    ],
    ['access list item of one', make(2, { 8: [[address]] }), 'storage_keys is missing'],
    ['access list item of three', make(2, { 8: [[address, [], []]] }), 'access_list item has more than was expected'],
    ['no authorization', make(4, { 9: [] }), 'authorization_list is empty (EIP-7702)'],
    ['authorization of five', make(4, { 9: [auth.slice(0, 5)] }), 'authorization s is missing'],
    ['authorization of seven', make(4, { 9: [[...auth, empty]] }), 'authorization has more than was expected'],
    [
      'authorization parity 256',
      make(4, { 9: [auth.with(3, quantity(256n))] }),
      'authorization y_parity is wider than 8 bits',
    ],
    [
      'authorization r of 257 bits',
      make(4, { 9: [auth.with(4, quantity(2n ** 256n))] }),
      'authorization r is wider than 256 bits',
    ],
    ['one field short', concat(Uint8Array.of(2), rlp(fields[2].slice(0, -1))), 's is missing'],
    ['one field more', concat(Uint8Array.of(2), rlp([...fields[2], empty])), 'transaction has more than was expected'],
    ['type 1 fields in type 2', concat(Uint8Array.of(2), rlp(fields[1])), 'gas_limit is wider than 64 bits'],
    ['unsigned legacy', rlp(fields[0].slice(0, 6)), 'v is missing'],
  ] as const)('%s', (_, raw, detail) => {
    expect(verdict(raw)).toBe(`malformed_transaction: ${detail}`);
  });

  it('keeps authorizations that the chain would skip', () => {
    const odd = [quantity(2n ** 256n - 1n), address, quantity(2n ** 64n - 1n), quantity(255n), empty, empty];
    expect(verdict(make(4, { 9: [odd] }))).toBe('ok');
  });

  it.each([
    [27n, 'unprotected: v is 27 or 28: no chain id (EIP-155)'],
    [28n, 'unprotected: v is 27 or 28: no chain id (EIP-155)'],
    [0n, 'bad_signature: v is below 35 (EIP-155)'],
    [1n, 'bad_signature: v is below 35 (EIP-155)'],
    [34n, 'bad_signature: v is below 35 (EIP-155)'],
    [35n, 'ok'],
    [2n ** 256n - 1n, 'ok'],
  ])('v = %d', (v, expected) => {
    expect(verdict(make(0, { 6: quantity(v) }))).toBe(expected);
  });

  it('a real transaction of before EIP-155', async () => {
    expect(verdict(await sign({ type: 'legacy', nonce: 1, gasPrice: 1n, gas: 21_000n }))).toMatch(/^unprotected/);
  });

  for (const type of [0, 1, 2, 4] as const) {
    it.each([
      ['r = 0', 2, 0n, 'r is not between 1 and n - 1'],
      ['r = n', 2, ORDER, 'r is not between 1 and n - 1'],
      ['r = 2^256 - 1', 2, 2n ** 256n - 1n, 'r is not between 1 and n - 1'],
      ['s = 0', 1, 0n, 's is not between 1 and n - 1'],
      ['s = n', 1, ORDER, 's is not between 1 and n - 1'],
      ['s = n / 2 + 1', 1, ORDER / 2n + 1n, 's is above n / 2 (EIP-2)'],
      ['s = n / 2', 1, ORDER / 2n, ''],
      ...(type === 0 ? [] : ([['parity 2', 3, 2n, 'y_parity is neither 0 nor 1']] as const)),
      ...(type === 0 ? [] : ([['parity 27', 3, 27n, 'y_parity is neither 0 nor 1']] as const)),
    ] as const)(`type ${type}, %s`, (_, back, value, detail) => {
      const raw = make(type, { [last(type, back)]: quantity(value) });
      expect(verdict(raw)).toBe(detail === '' ? 'ok' : `bad_signature: ${detail}`);
    });
  }

  it('has no sender where r is no x coordinate', () => {
    // 5 is not the x coordinate of a point: 5³ + 7 = 132 is no square modulo p.
    expect(recoverSender(decoded(make(2, { 10: quantity(5n) })))).toBe(null);
  });

  it('takes deep nesting and long lists in its stride', () => {
    let nested: Tree = [];
    for (let i = 0; i < 2_000; i++) nested = [nested];
    expect(verdict(make(2, { 8: nested }))).toMatch(/^malformed_transaction/);
    const access: Tree[] = Array.from({ length: 2_000 }, () => [address, [new Uint8Array(32)]]);
    expect(verdict(make(2, { 8: access }))).toBe('ok');
  });
});
