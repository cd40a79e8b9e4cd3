import { secp256k1 } from '@noble/curves/secp256k1.js';
import { decrypt, encrypt, PrivateKey } from 'eciesjs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concat, uintBytes } from '../actors/encoding.ts';
import { eciesKey, openEcies } from './ecies.ts';

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const PRIME = 2n ** 256n - 2n ** 32n - 977n;
const secret = new Uint8Array(32).fill(7);
const { publicKey, handle } = eciesKey(secret);

/** What eciesjs makes of it: the plaintext, or null where it throws. */
function theirs(sealed: Uint8Array): Uint8Array | null {
  try {
    return decrypt(secret, sealed);
  } catch {
    return null;
  }
}

describe('openEcies', () => {
  it('makes the public key that eciesjs makes', () => {
    expect(publicKey).toEqual(new PrivateKey(secret).publicKey.toBytes(false));
  });

  it('opens what eciesjs seals, and equals its decrypt, at every length class', () => {
    const lengths = [...Array.from({ length: 70 }, (_, i) => i), 127, 128, 129, 255, 256, 1_000, 4_096, 70_000];
    for (const bytes of lengths) {
      const plaintext = new Uint8Array(bytes).map((_, i) => i * 7);
      const sealed = encrypt(publicKey, plaintext);
      expect(sealed.length).toBe(97 + bytes);
      expect(openEcies(handle, sealed)).toEqual(plaintext);
    }
    const sealed = encrypt(publicKey, new Uint8Array(0));
    expect(openEcies(handle, sealed)).toEqual(theirs(sealed));
  });

  it('agrees with eciesjs for random keys and messages', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: ORDER - 1n }), fc.uint8Array({ maxLength: 300 }), (scalar, plaintext) => {
        const key = eciesKey(uintBytes(scalar, 32));
        const sealed = encrypt(key.publicKey, plaintext);
        expect(openEcies(key.handle, sealed)).toEqual(plaintext);
        expect(decrypt(uintBytes(scalar, 32), sealed)).toEqual(plaintext);
      }),
      { numRuns: 60 },
    );
  });

  it('agrees with eciesjs on changed ciphertexts', () => {
    const sealed = encrypt(publicKey, new Uint8Array(40));
    for (let at = 0; at < sealed.length; at += at < 65 ? 5 : 1) {
      const flipped = sealed.slice();
      flipped[at] = flipped[at]! ^ (1 << (at % 8));
      expect(openEcies(handle, flipped), `byte ${at}`).toBe(null);
      if (at % 5 === 0) expect(theirs(flipped)).toBe(null);
    }
  });

  it('opens nothing that was cut short or lengthened', () => {
    const sealed = encrypt(publicKey, new Uint8Array(40));
    for (const length of [0, 1, 33, 64, 65, 66, 80, 81, 82, 96, 97, 98, sealed.length - 1]) {
      expect(openEcies(handle, sealed.subarray(0, length))).toBe(null);
    }
    expect(openEcies(handle, concat(sealed, new Uint8Array(1)))).toBe(null);
    expect(openEcies(eciesKey(secret.with(0, 8)).handle, sealed)).toBe(null);
  });

  it('refuses what is no point, or is spelled otherwise', () => {
    const sealed = encrypt(publicKey, new Uint8Array(40));
    const withPoint = (point: Uint8Array) => concat(point, sealed.subarray(65));
    const [x, y] = [sealed.slice(1, 33), sealed.slice(33, 65)];
    const parity = y[31]! & 1;
    const points = [
      new Uint8Array(65),
      concat(Uint8Array.of(4), new Uint8Array(64)),
      concat(Uint8Array.of(4), x, y.with(31, y[31]! ^ 1)),
      concat(Uint8Array.of(6 + parity), x, y), // hybrid form
      concat(Uint8Array.of(4), uintBytes(PRIME, 32), y), // a coordinate of p or more
      concat(Uint8Array.of(4), new Uint8Array(64).fill(0xff)),
      // a point of the twist y² = x³ + 2, with small subgroups
      concat(Uint8Array.of(4), uintBytes(PRIME - 1n, 32), uintBytes(1n, 32)),
    ];
    for (const point of points) expect(openEcies(handle, withPoint(point))).toBe(null);
    const compressed = concat(Uint8Array.of(2 + parity), x, sealed.subarray(65));
    expect(openEcies(handle, compressed)).toBe(null);
    expect(openEcies(handle, concat(compressed, new Uint8Array(64)))).toBe(null);
  });

  it('opens with either parity of the shared point', () => {
    const parities = new Set<number>();
    for (let i = 0; i < 16; i++) {
      const sealed = encrypt(publicKey, Uint8Array.of(i));
      parities.add(secp256k1.getSharedSecret(secret, sealed.subarray(0, 65), false)[64]! & 1);
      expect(openEcies(handle, sealed)).toEqual(Uint8Array.of(i));
    }
    expect(parities.size).toBe(2);
  });

  it.each([
    ['0', uintBytes(0, 32)],
    ['n', uintBytes(ORDER, 32)],
    ['2^256 - 1', new Uint8Array(32).fill(0xff)],
    ['31 bytes', new Uint8Array(31).fill(1)],
    ['33 bytes', new Uint8Array(33).fill(1)],
  ])('takes no scalar of %s', (_, scalar) => {
    expect(() => eciesKey(scalar)).toThrow(RangeError);
  });

  it('takes the smallest and the largest scalar', () => {
    expect(eciesKey(uintBytes(1, 32)).publicKey).toEqual(secp256k1.Point.BASE.toBytes(false));
    expect(eciesKey(uintBytes(ORDER - 1n, 32)).publicKey).toEqual(secp256k1.Point.BASE.negate().toBytes(false));
  });
});
