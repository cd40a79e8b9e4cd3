import { createPrivateKey, createPublicKey, randomBytes, sign } from 'node:crypto';
import { encrypt } from 'eciesjs';
import { createIPNSRecordWithExpiration, marshalIPNSRecord, multihashToIPNSRoutingKey } from 'ipns';
import { ipnsValidator } from 'ipns/validator';
import { base36 } from 'multiformats/bases/base36';
import { CID } from 'multiformats/cid';
import { expect, it } from 'vitest';
import { nameOfKey, validityOf } from '../actors/ipns.ts';
import { eciesKey, openEcies } from './ecies.ts';
import { type ExtendRow, examine, extend } from './name.ts';

const epochs = [1, 2].map((epoch) => ({ epoch, ...eciesKey(Uint8Array.of(1, ...randomBytes(31))) }));
const keys = epochs.map(({ epoch, handle }) => ({ epoch, names: handle }));
const to = { epoch: 2, point: epochs[1]!.publicKey };
const wrap = (seed: Uint8Array, epoch = 2) => new Uint8Array(encrypt(epochs[epoch - 1]!.publicKey, seed));
const keyOf = (seed: Uint8Array) =>
  createPrivateKey({ key: seed, format: 'raw-private', asymmetricKeyType: 'ed25519' });

function owner(n: number) {
  const seed = new Uint8Array(32).fill(n);
  const key = keyOf(seed);
  const name = nameOfKey(new Uint8Array(createPublicKey(key).export({ format: 'raw-public' })));
  return { seed, key, name };
}
const VALIDITY = validityOf(Date.UTC(2091, 1, 2));
const row = (n: number, other: Partial<ExtendRow> = {}): ExtendRow => {
  const { name, seed } = owner(n);
  const entry = { value: `/ipfs/value-${n}`, sequence: BigInt(n), ttl_ns: 60_000_000_000n, validity: VALIDITY };
  return { name, epoch: 2, wrapped: wrap(seed), ...entry, ...other };
};
const routingKey = (name: string) => multihashToIPNSRoutingKey(CID.parse(name, base36).multihash as never);

async function theirs(n: number): Promise<Uint8Array> {
  const { value, sequence, ttl_ns, validity } = row(n);
  const signer = { type: 'Ed25519', sign: (message: Uint8Array) => sign(null, message, owner(n).key) } as never;
  const options = { ttlNs: ttl_ns, v1Compatible: true } as never;
  return marshalIPNSRecord(await createIPNSRecordWithExpiration(signer, value, sequence, validity, options));
}

it('signs the bytes that the ipns package makes with the same key, and its validator takes them', async () => {
  const outcomes = extend({ rows: [1, 2, 3].map((n) => row(n)), keys, to });
  for (const [i, outcome] of outcomes.entries()) {
    if (!outcome.ok) throw new Error(outcome.code);
    expect(outcome.record.toHex()).toBe((await theirs(i + 1)).toHex());
    expect(outcome.rewrapped).toBeNull();
    await ipnsValidator(routingKey(owner(i + 1).name), outcome.record);
  }
});

it('encrypts a key of an older epoch to the active one, and the key is the same', () => {
  const [outcome] = extend({ rows: [row(1, { epoch: 1, wrapped: wrap(owner(1).seed, 1) })], keys, to });
  if (!outcome?.ok) throw new Error('not signed');
  const { epoch, wrapped } = outcome.rewrapped!;
  expect([epoch, wrapped.length]).toEqual([2, 129]);
  expect(openEcies(epochs[1]!.handle, wrapped)).toEqual(owner(1).seed);
  expect(openEcies(epochs[0]!.handle, wrapped)).toBeNull();
});

it('signs nothing with a key that is not the one of its name, does not open, or is retired; and the others all the same', () => {
  const rows = [
    row(1, { wrapped: wrap(owner(2).seed) }),
    row(2, { wrapped: wrap(owner(2).seed, 1) }),
    row(3, { wrapped: wrap(owner(3).seed).map((byte, i) => (i === 100 ? byte ^ 1 : byte)) }),
    row(4, { wrapped: wrap(randomBytes(31)) }),
    row(5, { epoch: 9 }),
    row(6),
  ];
  const codes = extend({ rows, keys, to }).map((outcome) => (outcome.ok ? 'signed' : outcome.code));
  expect(codes).toEqual(['key_foreign', 'key_unopenable', 'key_unopenable', 'key_unopenable', 'key_retired', 'signed']);
});

it('examines what comes from outside: the record, the key, and whether both are of the name', async () => {
  const [mine, other] = [owner(1), owner(2)];
  const record = await theirs(1);
  const key = { epoch: 2, wrapped: wrap(mine.seed) };
  const rows = [
    { name: mine.name, record, key },
    { name: mine.name, record, key: null },
    { name: mine.name, record: null, key },
    { name: other.name, record, key: null },
    { name: mine.name, record: record.subarray(1), key },
    { name: mine.name, record, key: { epoch: 2, wrapped: wrap(other.seed) } },
    { name: mine.name, record, key: { epoch: 1, wrapped: key.wrapped } },
    { name: mine.name, record, key: { ...key, epoch: 3 } },
  ];
  const { value, sequence, ttl_ns, validity } = row(1);
  const entry = { value, sequence, ttl_ns, validity, eol_ms: Date.UTC(2091, 1, 2) };
  expect(examine({ rows, keys })).toEqual([
    { ok: true, entry },
    { ok: true, entry },
    { ok: true, entry: null },
    ...['record_foreign', 'record_invalid', 'key_foreign', 'key_unopenable', 'key_retired'].map((code) => ({
      ok: false,
      code,
    })),
  ]);
});
