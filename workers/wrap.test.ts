import { createSecretKey, randomBytes } from 'node:crypto';
import { decrypt } from 'eciesjs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { eciesKey, openEcies, sealEcies } from './ecies.ts';
import { openWrap, type Place, type RewrapTask, rewrap, sealWrap, unwrap, wrapAad } from './wrap.ts';

const key = (byte: number) => createSecretKey(new Uint8Array(32).fill(byte));
const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
const place: Place = { kind: 'asset', id: 'vault-1', epoch: 1 };

describe('a wrap under an asset key', () => {
  it('is 61 bytes for a key of 32, never the same twice, and opens in its place', () => {
    const wrapped = sealWrap(key(1), place, secret);
    expect(wrapped.length).toBe(61);
    expect(sealWrap(key(1), place, secret)).not.toEqual(wrapped);
    expect(openWrap(key(1), place, wrapped)).toEqual(secret);
  });

  it.each<[string, Partial<Place>]>([
    ['kind', { kind: 'name' }],
    ['id', { id: 'vault-2' }],
    ['epoch', { epoch: 2 }],
  ])('does not open with another %s', (_what, other) => {
    expect(openWrap(key(1), { ...place, ...other }, sealWrap(key(1), place, secret))).toBe(null);
  });

  it('does not open under another key, changed in any byte, or cut short', () => {
    const wrapped = sealWrap(key(1), place, secret);
    expect(openWrap(key(2), place, wrapped)).toBe(null);
    for (let at = 0; at < wrapped.length; at++) {
      const changed = wrapped.slice();
      changed[at] = changed[at]! ^ (1 << (at % 8));
      expect(openWrap(key(1), place, changed), `byte ${at}`).toBe(null);
      expect(openWrap(key(1), place, wrapped.subarray(0, at)), `${at} bytes`).toBe(null);
    }
  });

  it('binds what cannot be taken for something else', () => {
    const kind = fc.stringMatching(/^[a-z]{1,8}$/);
    const id = fc.string({ maxLength: 20, unit: 'binary' });
    const any = fc.record({ kind, id, epoch: fc.nat(2 ** 32 - 1) });
    fc.assert(
      fc.property(any, any, (a, b) => {
        const same = a.kind === b.kind && a.id === b.id && a.epoch === b.epoch;
        expect(Buffer.from(wrapAad(a)).equals(wrapAad(b))).toBe(same);
      }),
    );
    const shifted = [wrapAad({ ...place, kind: 'ab', id: 'c' }), wrapAad({ ...place, kind: 'a', id: 'bc' })] as const;
    expect(shifted[0]).not.toEqual(shifted[1]);
  });
});

describe('sealEcies', () => {
  const scalar = new Uint8Array(32).fill(9);
  const { publicKey, handle } = eciesKey(scalar);

  it('seals what eciesjs and we open, 129 bytes for a key of 32', () => {
    for (let i = 0; i < 40; i++) {
      const plaintext = new Uint8Array(randomBytes(i === 0 ? 32 : i * 3));
      const sealed = sealEcies(publicKey, plaintext);
      expect(sealed.length).toBe(97 + plaintext.length);
      expect(new Uint8Array(decrypt(scalar, sealed))).toEqual(plaintext);
      expect(openEcies(handle, sealed)).toEqual(plaintext);
    }
    expect(sealEcies(publicKey, secret)).not.toEqual(sealEcies(publicKey, secret));
  });

  it('seals to no point that is not on the curve', () => {
    const off = publicKey.slice();
    off[64] = off[64]! ^ 1;
    expect(() => sealEcies(off, secret)).toThrow();
  });
});

describe('rewrap', () => {
  const rows = ['a', 'b', 'c'].map((id) => ({ id, wrapped: sealWrap(key(1), { ...place, id }, secret) }));
  const ends = { from: { epoch: 1, key: key(1) }, to: { epoch: 2, key: key(2) } };

  it('moves each row from one epoch to the other, and a row that does not open touches no other', () => {
    const broken = { id: 'b', wrapped: rows[0]!.wrapped };
    const task: RewrapTask = { scheme: 'aes', kind: 'asset', rows: [rows[0]!, broken, rows[2]!], ...ends };
    const [a, b, c] = rewrap(task);
    expect(openWrap(key(2), { kind: 'asset', id: 'a', epoch: 2 }, a!)).toEqual(secret);
    expect(b).toBe(null);
    expect(openWrap(key(2), { kind: 'asset', id: 'c', epoch: 2 }, c!)).toEqual(secret);
  });

  it('moves names from point to point', () => {
    const [from, to] = [eciesKey(new Uint8Array(32).fill(3)), eciesKey(new Uint8Array(32).fill(4))];
    const sealed = [
      { id: 'k51a', wrapped: sealEcies(from.publicKey, secret) },
      { id: 'k51b', wrapped: new Uint8Array(129) },
    ];
    const [good, bad] = rewrap({ scheme: 'ecies', rows: sealed, from: from.handle, to: to.publicKey });
    expect(good!.length).toBe(129);
    expect(openEcies(to.handle, good!)).toEqual(secret);
    expect(openEcies(from.handle, good!)).toBe(null);
    expect(bad).toBe(null);
  });
});

it('unwrap writes a secret into memory that is shared, and refuses what does not fit', () => {
  const { publicKey, handle } = eciesKey(new Uint8Array(32).fill(5));
  const into = new SharedArrayBuffer(40);
  expect(unwrap({ names: handle, wrapped: sealEcies(publicKey, secret), into })).toBe(32);
  expect(new Uint8Array(into).slice(0, 32)).toEqual(secret);
  expect(unwrap({ names: handle, wrapped: new Uint8Array(129), into })).toBe(null);
  const long = sealEcies(publicKey, new Uint8Array(41));
  expect(unwrap({ names: handle, wrapped: long, into })).toBe(null);
});
