import { p256 as curve } from '@noble/curves/nist.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { utf8 } from './encoding.ts';
import * as openssl from './p256.node.ts';
import * as noble from './p256.ts';

const ORDER = curve.Point.Fn.ORDER;
const secret = new Uint8Array(32).fill(7);
const publicKey = curve.getPublicKey(secret, false);
const message = utf8('what is signed');
const signed = curve.sign(sha256(message), secret, { prehash: false, lowS: false });
const { r, s } = signed;
const signature = signed.toBytes();
const raw = (r: bigint, s: bigint) =>
  Uint8Array.fromHex(r.toString(16).padStart(64, '0') + s.toString(16).padStart(64, '0'));
const flipped = (bytes: Uint8Array, at: number) => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

describe('the twins of P-256 agree', () => {
  it.each([
    ['a signature', true, signature, message, publicKey],
    ['its other s', true, raw(r, ORDER - s), message, publicKey],
    ['another message', false, signature, utf8('another'), publicKey],
    ['r = 0', false, raw(0n, s), message, publicKey],
    ['s = 0', false, raw(r, 0n), message, publicKey],
    ['s beyond the order', false, raw(r, ORDER), message, publicKey],
    [
      'r beyond the order',
      false,
      raw(r + ORDER > 2n ** 256n - 1n ? 2n ** 256n - 1n : r + ORDER, s),
      message,
      publicKey,
    ],
    ['an empty signature', false, new Uint8Array(0), message, publicKey],
    ['a short signature', false, signature.subarray(1), message, publicKey],
    ['a long signature', false, new Uint8Array(65).fill(1), message, publicKey],
    ['a point beside the curve', false, signature, message, flipped(publicKey, 64)],
    ['a key without its form', false, signature, message, publicKey.subarray(1)],
    ['an empty key', false, signature, message, new Uint8Array(0)],
  ])('%s: %s', (_what, expected, given, about, key) => {
    expect(noble.verifyP256(given, about, key)).toBe(expected);
    expect(openssl.verifyP256(given, about, key)).toBe(expected);
  });

  it('on a signature with any byte changed', () => {
    for (let at = 0; at < signature.length; at++) {
      expect(openssl.verifyP256(flipped(signature, at), message, publicKey), `byte ${at}`).toBe(false);
      expect(noble.verifyP256(flipped(signature, at), message, publicKey), `byte ${at}`).toBe(false);
    }
  });
});
