// Public key recovery on secp256k1 (SEC 1 §4.1.6). OpenSSL doesn't offer it, and it costs more than all else that is done
// to a transaction: 1.1 ms by noble, a third of that here. transaction.ts is the only caller. Everything that enters is
// public, so nothing is constant-time: never use this with a secret. Q = u1·G + u2·R is one pass over four half-length
// scalars, in Jacobian coordinates whose sums are not checked for exceptional cases: those leave Z = 0 for good, and
// then noble decides. The tests hold it against noble, exceptional cases included.
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { toUint } from './rlp.ts';

/** SEC 2 §2.4.1. */
const PRIME = 2n ** 256n - 2n ** 32n - 977n;
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const GX = 0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n;
const GY = 0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n;

/**
 * @param hash      32 bytes, what was signed
 * @param r         from 1 to n - 1, as is s
 * @param y_parity  of the point R whose x is r
 * @returns         the public key, 64 bytes x ‖ y, or null where there is none
 */
export function recoverKey(hash: Uint8Array, r: bigint, s: bigint, y_parity: 0 | 1): Uint8Array | null {
  const y = liftX(r, y_parity);
  if (y === null) return null;
  const inverse = invert(r, ORDER);
  const u1 = modulo(-toUint(hash) * inverse, ORDER);
  const u2 = (s * inverse) % ORDER;
  const sum = multiply(u1, u2, r, y);
  const z = modulo(sum.z, PRIME);
  if (z === 0n) return fallback(hash, r, s, y_parity);
  const inv = invert(z, PRIME);
  const inv2 = (inv * inv) % PRIME;
  return encode(modulo(sum.x * inv2, PRIME), modulo(sum.y * inv2 * inv, PRIME));
}

/** Complete formulas, for the point at infinity and for sums that the fast path can't do. */
function fallback(hash: Uint8Array, r: bigint, s: bigint, y_parity: 0 | 1): Uint8Array | null {
  try {
    return new secp256k1.Signature(r, s, y_parity).recoverPublicKey(hash).toBytes(false).subarray(1);
  } catch {
    return null;
  }
}

function encode(x: bigint, y: bigint): Uint8Array {
  return Uint8Array.fromHex(x.toString(16).padStart(64, '0') + y.toString(16).padStart(64, '0'));
}

function modulo(value: bigint, modulus: bigint): bigint {
  const rest = value % modulus;
  return rest < 0n ? rest + modulus : rest;
}

/** Extended Euclid; `value` is neither 0 nor a multiple of the prime modulus. */
function invert(value: bigint, modulus: bigint): bigint {
  let [a, b, x, y] = [value, modulus, 1n, 0n];
  while (a !== 0n) {
    const quotient = b / a;
    [b, a] = [a, b - quotient * a];
    [y, x] = [x, y - quotient * x];
  }
  return y < 0n ? y + modulus : y;
}

// Field elements are any integers of the right residue, a few bits beyond 256 and of either sign: sums aren't reduced,
// and products fold their upper half down twice, which is exact because 2^256 ≡ 2^32 + 977.
const MASK = 2n ** 256n - 1n;
const FOLD = 2n ** 32n + 977n;

function times(a: bigint, b: bigint): bigint {
  const wide = a * b;
  const once = (wide & MASK) + (wide >> 256n) * FOLD;
  return (once & MASK) + (once >> 256n) * FOLD;
}

function square(a: bigint, count = 1): bigint {
  let value = a;
  for (let i = 0; i < count; i++) value = times(value, value);
  return value;
}

/** The y of the curve point with this x, by the square root a^((p + 1) / 4); null where x³ + 7 is no square. */
function liftX(x: bigint, parity: 0 | 1): bigint | null {
  const a = times(square(x), x) + 7n;
  // (p + 1) / 4 in binary is runs of 223, 22 and 2 ones and two zeros in between and after; x_n is a^(2^n - 1).
  const x2 = times(square(a), a);
  const x3 = times(square(x2), a);
  const x6 = times(square(x3, 3), x3);
  const x9 = times(square(x6, 3), x3);
  const x11 = times(square(x9, 2), x2);
  const x22 = times(square(x11, 11), x11);
  const x44 = times(square(x22, 22), x22);
  const x88 = times(square(x44, 44), x44);
  const x176 = times(square(x88, 88), x88);
  const x220 = times(square(x176, 44), x44);
  const x223 = times(square(x220, 3), x3);
  const root = modulo(square(times(square(times(square(x223, 23), x22), 6), x2), 2), PRIME);
  if (modulo(root * root - a, PRIME) !== 0n) return null;
  return (root & 1n) === BigInt(parity) ? root : PRIME - root;
}

/** Jacobian: x = X / Z², y = Y / Z³. */
interface Point {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
}

/** hyperelliptic.org EFD, a = 0: 7 products. */
function double({ x, y, z }: Point): Point {
  const b = times(y, y);
  const d = times(x, b) << 2n;
  const e = 3n * times(x, x);
  const x3 = times(e, e) - (d << 1n);
  return { x: x3, y: times(e, d - x3) - (times(b, b) << 3n), z: times(y, z) << 1n };
}

/** With an affine point: 11 products. Z becomes 0 when the points are equal or opposite. */
function addAffine(p: Point, x2: bigint, y2: bigint): Point {
  const zz = times(p.z, p.z);
  const h = times(x2, zz) - p.x;
  const r = times(y2, times(p.z, zz)) - p.y;
  const hh = times(h, h);
  const hhh = times(h, hh);
  const v = times(p.x, hh);
  const x = times(r, r) - hhh - (v << 1n);
  return { x, y: times(r, v - x) - times(p.y, hhh), z: times(p.z, h) };
}

/** A point with the powers of its Z that every addition of it needs. */
interface Entry extends Point {
  readonly zz: bigint;
  readonly zzz: bigint;
}

/** With any point: 14 products. Scaling p by q's Z makes q affine; Z becomes 0 when the points are equal or opposite. */
function add(p: Point, q: Entry, negative: boolean): Point {
  const scaled = { x: times(p.x, q.zz), y: times(p.y, q.zzz), z: p.z };
  const sum = addAffine(scaled, q.x, negative ? -q.y : q.y);
  return { x: sum.x, y: sum.y, z: times(sum.z, q.z) };
}

const entry = ({ x, y, z }: Point): Entry => {
  const zz = times(z, z);
  return { x, y, z, zz, zzz: times(z, zz) };
};

/** P, 3P, 5P … (2 · count - 1)P. */
function oddMultiples(x: bigint, y: bigint, count: number): Entry[] {
  const first = { x, y, z: 1n };
  const twice = entry(double(first));
  const entries = [entry(first)];
  for (let i = 1; i < count; i++) entries.push(entry(add(entries[i - 1]!, twice, false)));
  return entries;
}

// The endomorphism (x, y) → (β·x, y) multiplies by λ (Gallant, Lambert, Vanstone 2001), β³ = 1 mod p and λ³ = 1 mod n; the
// lattice of all (a, b) with a + b·λ = 0 mod n has this short basis.
const BETA = 0x7ae96a2b657c07106e64479eac3434e99cf0497512f58995c1396c28719501een;
const A1 = 0x3086d221a7d46bcde86c90e49284eb15n;
const B1 = -0xe4437ed6010e88286f547fa90abfe4c3n;
const A2 = 0x114ca50f7a8e2f3f657c1108d9d44cfd8n;
const B2 = A1;

/** k = k1 + k2·λ mod n with |k1|, |k2| below 2^129. */
function split(k: bigint): [bigint, bigint] {
  const c1 = (B2 * k + ORDER / 2n) / ORDER;
  const c2 = (-B1 * k + ORDER / 2n) / ORDER;
  return [k - c1 * A1 - c2 * A2, -c1 * B1 - c2 * B2];
}

const DIGITS = 132;

/** Width-w non-adjacent form: odd digits below 2^(w-1) in absolute value, lowest first, at least w - 1 zeros after each. */
function digitsOf(k: bigint, width: number): Int16Array {
  const digits = new Int16Array(DIGITS);
  const [size, sign] = [2 ** width, k < 0n ? -1 : 1];
  let rest = k < 0n ? -k : k;
  for (let i = 0; rest !== 0n; ) {
    const low = Number(BigInt.asUintN(32, rest));
    if (low === 0) {
      rest >>= 32n;
      i += 32;
      continue;
    }
    const zeros = 31 - Math.clz32(low & -low);
    rest >>= BigInt(zeros);
    i += zeros;
    let digit = Number(BigInt.asUintN(width, rest));
    if (digit >= size / 2) digit -= size;
    digits[i] = sign * digit;
    rest = (rest - BigInt(digit)) >> BigInt(width);
    i += width;
  }
  return digits;
}

const WIDTH = 5;
const BASE_WIDTH = 8;

/** Affine, with β·x. */
interface Base {
  readonly x: bigint;
  readonly y: bigint;
  readonly bx: bigint;
}
let base: readonly Base[] | undefined;

/** Odd multiples of G; made at first use, in some milliseconds. */
function baseTable(): readonly Base[] {
  base ??= oddMultiples(GX, GY, 2 ** (BASE_WIDTH - 2)).map((point) => {
    const inverse = invert(modulo(point.z, PRIME), PRIME);
    const inverse2 = times(inverse, inverse);
    const x = modulo(point.x * inverse2, PRIME);
    return { x, y: modulo(point.y * times(inverse2, inverse), PRIME), bx: (BETA * x) % PRIME };
  });
  return base;
}

/** u1·G + u2·(x, y): all four halves in one pass, a doubling per bit (Strauss). Z is 0 where the result isn't known. */
function multiply(u1: bigint, u2: bigint, x: bigint, y: bigint): Point {
  const table = oddMultiples(x, y, 2 ** (WIDTH - 2));
  const endomorphic = table.map((point) => ({ ...point, x: times(point.x, BETA) }));
  const fixed = baseTable();
  const [g1, g2] = split(u1);
  const [r1, r2] = split(u2);
  const [g1Digits, g2Digits] = [digitsOf(g1, BASE_WIDTH), digitsOf(g2, BASE_WIDTH)];
  const [r1Digits, r2Digits] = [digitsOf(r1, WIDTH), digitsOf(r2, WIDTH)];
  let sum: Point | null = null;
  for (let i = DIGITS - 1; i >= 0; i--) {
    if (sum !== null) sum = double(sum);
    sum = addDigit(sum, r1Digits[i]!, table);
    sum = addDigit(sum, r2Digits[i]!, endomorphic);
    sum = addBase(sum, g1Digits[i]!, fixed, false);
    sum = addBase(sum, g2Digits[i]!, fixed, true);
  }
  return sum ?? { x: 0n, y: 0n, z: 0n };
}

function addDigit(sum: Point | null, digit: number, table: readonly Entry[]): Point | null {
  if (digit === 0) return sum;
  const point = table[Math.abs(digit) >> 1]!;
  if (sum !== null) return add(sum, point, digit < 0);
  return digit < 0 ? { x: point.x, y: -point.y, z: point.z } : point;
}

function addBase(sum: Point | null, digit: number, table: readonly Base[], endomorphic: boolean): Point | null {
  if (digit === 0) return sum;
  const point = table[Math.abs(digit) >> 1]!;
  const x = endomorphic ? point.bx : point.x;
  const y = digit < 0 ? -point.y : point.y;
  return sum === null ? { x, y, z: 1n } : addAffine(sum, x, y);
}
