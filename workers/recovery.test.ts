import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hex, uintBytes } from '../actors/encoding.ts';
import { nativeKeccak, recoverKey } from './recovery.ts';

const { Point } = secp256k1;
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const mod = (value: bigint) => ((value % ORDER) + ORDER) % ORDER;

function noble(hash: Uint8Array, r: bigint, s: bigint, y_parity: 0 | 1): Uint8Array | null {
  try {
    return new secp256k1.Signature(r, s, y_parity).recoverPublicKey(hash).toBytes(false).subarray(1);
  } catch {
    return null;
  }
}

const scalar = fc.oneof(
  fc.bigInt({ min: 1n, max: ORDER - 1n }),
  fc.bigInt({ min: 1n, max: 40n }),
  fc.bigInt({ min: 1n, max: 40n }).map((value) => ORDER - value),
  fc.nat(255).map((bit) => mod(2n ** BigInt(bit)) || 1n),
);
const parity = fc.constantFrom(0, 1) as fc.Arbitrary<0 | 1>;

describe('nativeKeccak', () => {
  // 136 bytes are a block: the padding of one that is full, or lacks one byte, is another.
  it('agrees with noble on every length of three blocks', () => {
    const bytes = Uint8Array.from({ length: 3 * 136 + 1 }, (_, i) => (i * 31) % 256);
    for (let length = 0; length <= bytes.length; length++) {
      const message = bytes.subarray(0, length);
      expect(hex(nativeKeccak(message)), `${length} bytes`).toBe(hex(keccak_256(message)));
    }
  });
});

describe('recoverKey', () => {
  it('gives the key that signed', () => {
    fc.assert(
      fc.property(scalar, fc.uint8Array({ minLength: 32, maxLength: 32 }), (key, hash) => {
        const secret = uintBytes(key, 32);
        const { r, s, recovery } = secp256k1.sign(hash, secret, { prehash: false });
        expect(recoverKey(hash, { r, s, y_parity: recovery as 0 | 1 })).toEqual(
          secp256k1.getPublicKey(secret, false).subarray(1),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('agrees with noble on any r, s and hash', () => {
    const hash = fc.oneof(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.constantFrom(new Uint8Array(32), new Uint8Array(32).fill(0xff), uintBytes(ORDER, 32), uintBytes(1n, 32)),
    );
    fc.assert(
      fc.property(hash, scalar, scalar, parity, (message, r, s, y_parity) => {
        expect(recoverKey(message, { r, s, y_parity })).toEqual(noble(message, r, s, y_parity));
      }),
      { numRuns: 300 },
    );
  });

  // R = k·G with a small k makes the sums meet equal and opposite points on the way, which random input never does.
  it('agrees with noble where sums are exceptional', () => {
    const small = fc.bigInt({ min: -70n, max: 70n });
    fc.assert(
      fc.property(small, small, small, (k, u1, u2) => {
        fc.pre(k !== 0n && u2 !== 0n);
        const { x: r, y } = Point.BASE.multiplyUnsafe(mod(k)).toAffine();
        const s = mod(u2 * r);
        const hash = uintBytes(mod(-u1 * r), 32);
        const y_parity = (y & 1n) === 1n ? 1 : 0;
        const sum = mod(u1 + u2 * k);
        const expected = sum === 0n ? null : Point.BASE.multiplyUnsafe(sum).toBytes(false).subarray(1);
        expect(recoverKey(hash, { r, s, y_parity })).toEqual(expected);
        expect(noble(hash, r, s, y_parity)).toEqual(expected);
      }),
      { numRuns: 400 },
    );
  });

  it('has no key where r is no x coordinate or the sum is the point at infinity', () => {
    expect(recoverKey(new Uint8Array(32).fill(1), { r: 5n, s: 1n, y_parity: 0 })).toBe(null);
    const { x, y } = Point.BASE.toAffine();
    expect(recoverKey(uintBytes(1n, 32), { r: x, s: 1n, y_parity: (y & 1n) === 1n ? 1 : 0 })).toBe(null);
  });
});
