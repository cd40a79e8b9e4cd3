// What docs/verify.mjs needs of bytes and of Ethereum, none of it particular to Aegis: canonical RLP, the hash and the sender
// of a signed transaction (EIP-155, 2930, 1559, 7702), and whose secp256k1 key signed. Only node:crypto.
import { createECDH, createHash, ECDH } from 'node:crypto';

export function need(condition, what) {
  if (!condition) throw new TypeError(what);
}

export const hash = (name, ...parts) => parts.reduce((state, part) => state.update(part), createHash(name)).digest();
export const keccak = (...parts) => hash('keccak-256', ...parts);
export const bytes = (text) => Buffer.from(text.slice(2), 'hex');
export const hex = (buffer) => `0x${buffer.toString('hex')}`;
export const number = (buffer) => (buffer.length === 0 ? 0n : BigInt(hex(buffer)));

/** Big-endian. */
export function uint(value, length) {
  const digits = BigInt(value).toString(16);
  need(digits.length <= 2 * length && digits[0] !== '-', `${value} as uint${8 * length}`);
  return Buffer.from(digits.padStart(2 * length, '0'), 'hex');
}

// ---- secp256k1 (SEC 2 §2.4.1): whose key signed. OpenSSL multiplies points but tells only x, so y is found by adding

const P = 2n ** 256n - 2n ** 32n - 977n;
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const mod = (a, m) => ((a % m) + m) % m;
const lift = (x, odd) => ECDH.convertKey(Buffer.concat([Buffer.of(2 + odd), uint(x, 32)]), 'secp256k1');
const point = (key) => [number(key.subarray(1, 33)), number(key.subarray(33))];

/** Fermat: a to the power of m - 2. */
function inverse(a, m) {
  let result = 1n;
  for (let b = mod(a, m), e = m - 2n; e > 0n; e >>= 1n, b = (b * b) % m) if (e & 1n) result = (result * b) % m;
  return result;
}

function add([x1, y1], [x2, y2]) {
  const slope = (y2 - y1) * inverse(x2 - x1, P);
  const x = mod(slope * slope - x1 - x2, P);
  return [x, mod(slope * (x1 - x) - y1, P)];
}

/** SEC 1 §4.1.6: (s R - z G) / r, for low s. @returns x ‖ y. @throws where no key could have signed */
export function recover(signed, r, s, odd) {
  need(r > 0n && r < N && s > 0n && s <= N / 2n, 'signature out of range');
  const [R, ecdh] = [lift(r, odd), createECDH('secp256k1')];
  const use = (k) => ecdh.setPrivateKey(uint(mod(k, N), 32)) ?? ecdh;
  const [u1, u2] = [-number(signed) * inverse(r, N), s * inverse(r, N)];
  const [x, y] = point(lift(number(use(u2).computeSecret(R)), 0));
  const isEven = add([x, y], point(R))[0] === number(use(u2 + 1n).computeSecret(R));
  return Buffer.concat(add(point(use(u1).getPublicKey()), [x, isEven ? y : P - y]).map((value) => uint(value, 32)));
}

// ---- Transactions: canonical RLP (EIP-155, 2930, 1559, 7702)

const COUNTS = { legacy: 9, 1: 11, 2: 12, 4: 13 };
const minimal = (value) => (value === 0n ? Buffer.alloc(0) : uint(value, Math.ceil(value.toString(16).length / 2)));

/** Strings as bytes, lists as arrays. Takes any spelling: whoever decodes must encode again and compare. */
function fromRlp(raw) {
  const found = [];
  for (let at = 0; at < raw.length; ) {
    const list = raw[at] >= 0xc0;
    const short = raw[at] < 0x80 ? 0 : raw[at] - (list ? 0xc0 : 0x80);
    const start = raw[at] < 0x80 ? at : at + 1 + Math.max(short - 55, 0);
    const length = short > 55 ? Number(number(raw.subarray(at + 1, start))) : raw[at] < 0x80 ? 1 : short;
    const content = raw.subarray(start, start + length);
    found.push(list ? fromRlp(content) : content);
    at = start + length;
  }
  return found;
}

function toRlp(item) {
  const content = Array.isArray(item) ? Buffer.concat(item.map(toRlp)) : item;
  if (content === item && content.length === 1 && content[0] < 0x80) return content;
  const size = content.length > 55 ? minimal(BigInt(content.length)) : Buffer.alloc(0);
  const prefix = (content === item ? 0x80 : 0xc0) + (size.length === 0 ? content.length : 55 + size.length);
  return Buffer.concat([Buffer.of(prefix), size, content]);
}

export function decodeTransaction(raw) {
  const type = raw[0] >= 0xc0 ? 'legacy' : raw[0];
  const head = type === 'legacy' ? Buffer.alloc(0) : raw.subarray(0, 1);
  const [parts] = fromRlp(raw.subarray(head.length));
  need(Buffer.concat([head, toRlp(parts)]).equals(raw) && parts.length === COUNTS[type], 'transaction: RLP');
  const [first, nonce, tip] = (type === 'legacy' ? [Buffer.alloc(0), ...parts] : parts).slice(0, 3).map(number);
  const [v, r, s] = parts.slice(-3).map(number);
  const [chain, odd] = type === 'legacy' ? [(v - 35n) / 2n, (v - 35n) % 2n] : [first, v];
  need((odd === 0n || odd === 1n) && (type !== 'legacy' || v >= 35n), 'transaction: v');
  const replay = type === 'legacy' ? [minimal(chain), Buffer.alloc(0), Buffer.alloc(0)] : [];
  const key = recover(keccak(head, toRlp([...parts.slice(0, -3), ...replay])), r, s, Number(odd));
  return { nonce, tip, chain, hash: hex(keccak(raw)), sender: hex(keccak(key).subarray(12)) };
}
