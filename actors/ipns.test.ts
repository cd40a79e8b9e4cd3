// Held against the `ipns` package both ways: what we write is byte for byte what it writes, what we read it reads alike, and
// what we take its validator takes.
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { createIPNSRecordWithExpiration, marshalIPNSRecord, multihashToIPNSRoutingKey } from 'ipns';
import { ipnsValidator } from 'ipns/validator';
import { base36 } from 'multiformats/bases/base36';
import { CID } from 'multiformats/cid';
import { describe, expect, it } from 'vitest';
import { concat, utf8 } from './encoding.ts';
import {
  dataOf,
  endOfLife,
  type IpnsEntry,
  IpnsName,
  keyOfName,
  nameOfKey,
  RECORD_BYTES_MAX,
  readRecord,
  signedV1,
  signedV2,
  validityOf,
  writeRecord,
} from './ipns.ts';

const privateKey = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 7)]),
  format: 'der',
  type: 'pkcs8',
});
const rawPublic = (key: KeyObject) => new Uint8Array(createPublicKey(key).export({ format: 'raw-public' }));
const publicKey = rawPublic(privateKey);
const name = nameOfKey(publicKey);
const routingKey = multihashToIPNSRoutingKey(CID.parse(name, base36).multihash as never);
const FUTURE = validityOf(Date.UTC(2090, 0, 1, 2, 3, 4, 5));

const entryOf = (other: Partial<IpnsEntry> = {}): IpnsEntry => ({
  value: '/ipfs/bafkreiem4twkqzsq2aj4shbycd4yvoj2cx72vezicletlhi7dijjciqpui',
  sequence: 7n,
  ttl_ns: 300_000_000_000n,
  validity: FUTURE,
  ...other,
});
const ours = (entry: IpnsEntry) =>
  writeRecord(entry, sign(null, signedV1(entry), privateKey), sign(null, signedV2(dataOf(entry)), privateKey));
const theirs = async ({ value, sequence, ttl_ns, validity }: IpnsEntry, v1Compatible = true) => {
  const key = { type: 'Ed25519', sign: (message: Uint8Array) => sign(null, message, privateKey) } as never;
  const options = { ttlNs: ttl_ns, v1Compatible } as never;
  return marshalIPNSRecord(await createIPNSRecordWithExpiration(key, value, sequence, validity, options));
};
/** protons-runtime 6.0.2 takes them for negative and writes no varint at all; what we write there its reader takes. */
const isMiswritten = (value: bigint) => value >= 2n ** 31n && value < 2n ** 32n;
const isValid = (bytes: Uint8Array) =>
  ipnsValidator(routingKey, bytes).then(
    () => true,
    () => false,
  );

const uint64 = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.constantFrom(0n, 23n, 24n, 255n, 256n, 65_535n, 65_536n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n, 2n ** 64n - 1n),
);
const entries = fc.record({
  value: fc.stringMatching(/^\/ip[fn]s\/[a-z0-9/é-]{1,300}$/),
  sequence: uint64,
  ttl_ns: uint64,
  validity: fc.integer({ min: Date.UTC(2089), max: Date.UTC(2999) }).map(validityOf),
});

describe('a record', () => {
  it('is written byte for byte as the ipns package writes it, and is valid', async () => {
    await fc.assert(
      fc.asyncProperty(entries, async (entry) => {
        const record = ours(entry);
        if (!isMiswritten(entry.sequence) && !isMiswritten(entry.ttl_ns)) {
          expect(record.toHex()).toBe((await theirs(entry)).toHex());
        }
        expect(await isValid(record)).toBe(true);
        expect(readRecord(record, publicKey)).toMatchObject(entry);
      }),
      { numRuns: 200 },
    );
  });

  it('is read without its V1 part, and with any number of decimals, as Kubo writes them', async () => {
    expect(readRecord(await theirs(entryOf(), false), publicKey)).toMatchObject(entryOf());
    for (const validity of ['2090-01-01T00:00:00Z', '2090-01-01T00:00:00.5Z', '2090-01-01T00:00:00.123456789Z']) {
      const record = ours(entryOf({ validity }));
      expect(await isValid(record)).toBe(true);
      expect(readRecord(record, publicKey)).toMatchObject({ validity, eol_ms: endOfLife(validity) });
    }
  });

  it('that is altered anywhere is never taken for another one: what is read is what is signed', async () => {
    const record = ours(entryOf());
    const { data } = readRecord(record, publicKey)!;
    for (let at = 0; at < record.length; at++) {
      for (const flip of [0x01, 0x80]) {
        const altered = record.slice();
        altered[at]! ^= flip;
        const read = readRecord(altered, publicKey);
        if (read === undefined) continue;
        // Only signatures may differ in what can still be read; or what is signed does, and then its signature is wrong.
        const same = Buffer.from(read.data).equals(Buffer.from(data));
        expect([at, same ? dataOf(read) : 'signature']).toEqual([at, same ? dataOf(entryOf()) : 'signature']);
        if (!same) expect(await isValid(altered)).toBe(false);
      }
    }
  });

  it('is refused when it is too long, cut short, doubled, or says more than its five fields', async () => {
    const record = ours(entryOf());
    for (let length = 0; length < record.length; length++) {
      expect([length, readRecord(record.subarray(0, length), publicKey)]).toEqual([length, undefined]);
    }
    const field = (number: number, content: Uint8Array) =>
      concat(Uint8Array.of((number << 3) | 2, content.length), content);
    for (const more of [field(10, utf8('x')), field(7, publicKey), record, Uint8Array.of(0), Uint8Array.of(0x80)]) {
      expect(readRecord(concat(record, more), publicKey)).toBeUndefined();
    }
    expect(readRecord(new Uint8Array(RECORD_BYTES_MAX + 1), publicKey)).toBeUndefined();
    for (const value of ['bafkreiem4', '', '/', '/ipfs/a b ', '/ipfs/a\nb', '/ipfs/\u0007']) {
      expect([value, readRecord(ours(entryOf({ value })), publicKey)]).toEqual([value, undefined]);
    }
    for (const validity of [
      '',
      '2090-13-01T00:00:00Z',
      '2090-02-30T00:00:00Z',
      '2090-01-01',
      '2090-01-01T00:00:00+01:00',
    ]) {
      expect([validity, readRecord(ours(entryOf({ validity })), publicKey)]).toEqual([validity, undefined]);
    }
  });

  it('may bring along the key of its name and no other', () => {
    const embedded = (key: Uint8Array) => concat(ours(entryOf()), Uint8Array.of(0x3a, 36, 8, 1, 0x12, 32), key);
    expect(readRecord(embedded(publicKey), publicKey)).toMatchObject(entryOf());
    expect(readRecord(embedded(new Uint8Array(32)), publicKey)).toBeUndefined();
  });

  it('whose unsigned part says something else is refused, although its signature is right', async () => {
    const signature = sign(null, signedV2(dataOf(entryOf())), privateKey);
    for (const other of [{ value: '/ipfs/other' }, { sequence: 8n }, { ttl_ns: 1n }, { validity: validityOf(9) }]) {
      const record = writeRecord(entryOf(other), new Uint8Array(64), signature);
      const data = dataOf(entryOf());
      const mixed = concat(record.subarray(0, record.length - dataOf(entryOf(other)).length), data);
      expect(readRecord(mixed, publicKey)).toBeUndefined();
      expect(await isValid(mixed)).toBe(false);
    }
  });
});

describe('a name', () => {
  it('is the canonical base 36 of its key, as libp2p spells it', () => {
    expect(name).toMatch(/^k51qzi5uqu5d/);
    expect(keyOfName(name)).toEqual(publicKey);
    expect(CID.parse(name, base36).toString(base36)).toBe(name);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
        expect(keyOfName(nameOfKey(key))).toEqual(key);
      }),
    );
  });

  it.each([
    '',
    name.slice(0, -1),
    `${name}0`,
    name.toUpperCase(),
    name.replace('k', 'b'),
    `k${'z'.repeat(61)}`,
    `k${'0'.repeat(61)}`,
    'k2k4r8jl0yz8qjgqbmc2cdu5hkqek5rj6flgnlkyywynci20j0iuyfuj',
  ])('is refused as %s', (text) => {
    expect(IpnsName.safeParse(text).success).toBe(false);
  });
});
