import { constants, generateKeyPairSync, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readPem } from './certificate.ts';
import { concat, uintBytes } from './encoding.ts';
import { toUint } from './rlp.ts';
import { isPssSigned } from './rsa.ts';
import { readCertificateFrame } from './x509.ts';

const decoded = (text: string) => Uint8Array.fromBase64(text, { alphabet: 'base64url' });
const message = new TextEncoder().encode('what AMD signs');

function makeKey(modulusLength: number, publicExponent = 65_537) {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength, publicExponent });
  const { n, e } = publicKey.export({ format: 'jwk' });
  return { privateKey, publicKey, key: { modulus: decoded(n!), exponent: decoded(e!) } };
}

const pss = (saltLength: number) => ({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });

describe('RSASSA-PSS', () => {
  const { privateKey, publicKey, key } = makeKey(4_096);
  const signed = (digest: string, salt: number) =>
    new Uint8Array(sign(digest, message, { key: privateKey, ...pss(salt) }));
  const signature = signed('sha384', 48);

  it('takes what OpenSSL signs, each time with another salt', () => {
    expect(isPssSigned(message, signature, key)).toBe(true);
    expect(isPssSigned(message, signed('sha384', 48), key)).toBe(true);
  });

  it('takes nothing else, as OpenSSL', () => {
    const theirs = (bytes: Uint8Array, of = message) => verify('sha384', of, { key: publicKey, ...pss(48) }, bytes);
    const agree = (bytes: Uint8Array, of = message) => {
      expect(isPssSigned(of, bytes, key)).toBe(false);
      expect(theirs(bytes, of)).toBe(false);
    };
    expect(theirs(signature)).toBe(true);
    agree(signature, message.with(0, 0));
    for (let at = 0; at < signature.length; at += 37) agree(signature.with(at, signature[at]! ^ 1));
    for (const bytes of [signed('sha256', 48), signed('sha384', 32), signed('sha384', 0)]) agree(bytes);
    agree(new Uint8Array(sign('sha384', message, privateKey)));
    agree(new Uint8Array());
    agree(new Uint8Array(512));
    agree(new Uint8Array(512).fill(0xff));
  });

  it('has one spelling: s + n is not s, and there are 512 bytes of it', () => {
    for (const bytes of [signature.slice(1), concat(new Uint8Array(1), signature)]) {
      expect(isPssSigned(message, bytes, key)).toBe(false);
    }
    const [s, n] = [toUint(signature), toUint(key.modulus)];
    const bytes = s + n < 1n << 4_096n ? uintBytes(s + n, 512) : uintBytes(s + n, 513);
    expect(isPssSigned(message, bytes, key)).toBe(false);
  });

  it('takes keys of one size and exponent', () => {
    const small = makeKey(2_048);
    const bytes = new Uint8Array(sign('sha384', message, { key: small.privateKey, ...pss(48) }));
    expect(isPssSigned(message, bytes, small.key)).toBe(false);
    expect(isPssSigned(message, signature, { ...key, exponent: Uint8Array.of(3) })).toBe(false);
    expect(isPssSigned(message, signature, { ...key, modulus: new Uint8Array() })).toBe(false);
  });

  it('takes the signatures of AMD on its own certificates', () => {
    const read = (name: string) => {
      const file = readFileSync(new URL(`../test/fixtures/tee/snp/${name}.pem`, import.meta.url), 'utf8');
      return readCertificateFrame(readPem(file)[0]!);
    };
    const ark = read('ark-milan');
    // SEQUENCE { INTEGER n, INTEGER e } of a key of 4,096 bits.
    const arkKey = { modulus: ark.key.bits.slice(9, 521), exponent: Uint8Array.of(1, 0, 1) };
    for (const one of [ark, read('ask-milan')]) expect(isPssSigned(one.tbs, one.signature, arkKey)).toBe(true);
    expect(isPssSigned(read('vcek').tbs, read('vcek').signature, arkKey)).toBe(false);
  });
});
