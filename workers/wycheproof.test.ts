// Every vector of Wycheproof's ML-KEM-768 and ML-DSA-87 files, valid and invalid, against OpenSSL, which production uses,
// and noble, which is its second opinion.
import { createPrivateKey, createPublicKey, decapsulate, type KeyObject, sign, verify } from 'node:crypto';
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import { describe, expect, it } from 'vitest';
import mldsa from '../test/fixtures/vectors/mldsa_87_sign_seed_test.json' with { type: 'json' };
import mlkem from '../test/fixtures/vectors/mlkem_768_test.json' with { type: 'json' };
import { mlkemKey } from './xwing.ts';

interface Test {
  tcId: number;
  comment?: string;
  flags: string[];
  result: string;
}
type MlkemTest = Test & { seed: string; c: string; ek?: string; K: string };
type MldsaTest = Test & { msg?: string; ctx?: string; mu?: string; sig: string };
interface MldsaGroup {
  privateSeed: string;
  publicKey?: string | null;
  tests: MldsaTest[];
}

const bytes = (text: string) => Uint8Array.fromHex(text);
const name = (test: Test) => `${test.tcId} ${test.result} ${test.comment ?? ''}`;

describe('ML-KEM-768', () => {
  const tests = mlkem.testGroups.flatMap((group) => group.tests as MlkemTest[]);

  it('has all vectors', () => {
    expect(tests.length).toBe(mlkem.numberOfTests);
    expect(tests.filter((test) => test.result === 'invalid').length).toBeGreaterThan(30);
  });

  it('OpenSSL, through the helper that X-Wing uses', () => {
    for (const test of tests) {
      const decap = () => {
        const key = mlkemKey(bytes(test.seed));
        const ek = createPublicKey(key).export({ format: 'raw-public' }).toString('hex');
        return { ek, K: decapsulate(key, bytes(test.c)).toString('hex') };
      };
      if (test.result === 'invalid') expect(decap, name(test)).toThrow();
      else expect(decap(), name(test)).toEqual({ ek: test.ek, K: test.K });
    }
  });

  it('noble', () => {
    for (const test of tests) {
      const decap = () => {
        const { publicKey, secretKey } = ml_kem768.keygen(bytes(test.seed));
        return { ek: publicKey.toHex(), K: ml_kem768.decapsulate(bytes(test.c), secretKey).toHex() };
      };
      if (test.result === 'invalid') expect(decap, name(test)).toThrow();
      else expect(decap(), name(test)).toEqual({ ek: test.ek, K: test.K });
    }
  });
});

describe('ML-DSA-87', () => {
  const groups = mldsa.testGroups as MldsaGroup[];
  const tests = groups.flatMap((group) => group.tests.map((test) => ({ ...test, group })));
  const seedKey = (seed: string): KeyObject =>
    createPrivateKey({ key: bytes(seed), format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });
  const context = (test: MldsaTest) => bytes(test.ctx ?? '');
  const external = tests.filter((test) => test.msg !== undefined && test.result === 'valid');
  const internal = tests.filter((test) => test.msg === undefined);

  it('has all vectors', () => {
    expect(tests.length).toBe(mldsa.numberOfTests);
    expect(external.length + internal.length + 4).toBe(tests.length);
  });

  it('OpenSSL: the key, the given signature, and its own (hedged) one, which noble verifies', () => {
    for (const test of external) {
      const key = seedKey(test.group.privateSeed);
      const publicKey = createPublicKey(key);
      const raw = new Uint8Array(publicKey.export({ format: 'raw-public' }));
      expect(raw.toHex(), name(test)).toBe(test.group.publicKey);
      const msg = bytes(test.msg!);
      const options = { key: publicKey, context: context(test) };
      expect(verify(null, msg, options, bytes(test.sig)), name(test)).toBe(true);
      expect(verify(null, new Uint8Array([...msg, 0]), options, bytes(test.sig))).toBe(false);
      expect(verify(null, msg, { ...options, context: Uint8Array.of(1, 2, 3) }, bytes(test.sig))).toBe(false);
      const ours = new Uint8Array(sign(null, msg, { key, context: context(test) }));
      expect(ml_dsa87.verify(ours, msg, raw, { context: context(test) }), name(test)).toBe(true);
    }
  });

  it('noble: the key and the very signature', () => {
    for (const test of external) {
      const { publicKey, secretKey } = ml_dsa87.keygen(bytes(test.group.privateSeed));
      expect(publicKey.toHex(), name(test)).toBe(test.group.publicKey);
      const options = { context: context(test) };
      if (!test.flags.includes('Randomized')) {
        const signature = ml_dsa87.sign(bytes(test.msg!), secretKey, { ...options, extraEntropy: false });
        expect(signature.toHex() === test.sig, name(test)).toBe(true);
      }
      expect(ml_dsa87.verify(bytes(test.sig), bytes(test.msg!), publicKey, options), name(test)).toBe(true);
    }
  });

  it('noble with an external mu, which node:crypto has no door for', () => {
    for (const test of internal) {
      const { publicKey, secretKey } = ml_dsa87.keygen(bytes(test.group.privateSeed));
      const mu = bytes(test.mu!);
      const signature = ml_dsa87.internal.sign(mu, secretKey, { externalMu: true, extraEntropy: false });
      expect(signature.toHex() === test.sig, name(test)).toBe(true);
      expect(ml_dsa87.internal.verify(bytes(test.sig), mu, publicKey, { externalMu: true }), name(test)).toBe(true);
    }
  });

  it('both refuse the invalid ones: a long context, seeds of another length', () => {
    const invalid = tests.filter((test) => test.result === 'invalid');
    expect(invalid.length).toBe(4);
    for (const test of invalid) {
      const ours = () => sign(null, bytes(test.msg!), { key: seedKey(test.group.privateSeed), context: context(test) });
      const theirs = () =>
        ml_dsa87.sign(bytes(test.msg!), ml_dsa87.keygen(bytes(test.group.privateSeed)).secretKey, {
          context: context(test),
        });
      expect(ours, name(test)).toThrow();
      expect(theirs, name(test)).toThrow();
    }
  });
});
