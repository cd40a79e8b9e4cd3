// The self-test passes here with both engines, names exactly what is broken, and asks answers that others published.
import { describe, expect, it } from 'vitest';
import mldsa from '../test/fixtures/vectors/mldsa_87_sign_seed_test.json' with { type: 'json' };
import mlkem from '../test/fixtures/vectors/mlkem_768_test.json' with { type: 'json' };
import answers from './answers.json' with { type: 'json' };
import { type Engine, openssl } from './engine.ts';
import { noble } from './noble.ts';
import { PRIMITIVES, type Primitives, primitives, selfTest } from './selftest.ts';

const sound = primitives(openssl);
const engine = (change: Partial<Engine>): Partial<Primitives> => ({ engine: { ...openssl, ...change } });
const { ml_dsa_87, slh_dsa_sha2_256s } = openssl;

/** Spoils the first byte of what a function gives. */
function spoil<A extends unknown[]>(good: (...args: A) => Uint8Array | null): (...args: A) => Uint8Array {
  return (...args) => {
    const out = new Uint8Array(good(...args) ?? [0]);
    out[0]! ^= 1;
    return out;
  };
}
const fails = (): never => {
  throw new Error('no such algorithm');
};

const breakages: [primitive: string, how: string, broken: Partial<Primitives>][] = [
  ['SHA-512', 'a wrong byte', { sha512: spoil(sound.sha512) }],
  ['Keccak-256', 'SHA3 padding', { keccak256: spoil(sound.keccak256) }],
  ['Keccak-256', 'an OpenSSL without it', { nativeKeccak: fails }],
  ['HKDF-SHA-512', 'no salt', { hkdfSha512: (m, _, i, n) => sound.hkdfSha512(m, new Uint8Array(0), i, n) }],
  ['HKDF-SHA-512', 'throws', { hkdfSha512: fails }],
  ['AES-256-GCM', 'a wrong byte', { openGcm: spoil(sound.openGcm) }],
  ['AES-256-GCM', 'an unchecked tag', { openGcm: (...args) => sound.openGcm(...args) ?? new Uint8Array(60) }],
  ['Ed25519', 'a wrong signature', { ed25519Sign: spoil(sound.ed25519Sign) }],
  ['Ed25519', 'accepts everything', { ed25519Verify: () => true }],
  ['Ed25519', 'accepts nothing', { ed25519Verify: () => false }],
  ['ECDSA-secp256k1', 'another recovery id', { ecdsaSign: (h, s) => ({ ...sound.ecdsaSign(h, s), recid: 1 }) }],
  [
    'ECDSA-secp256k1',
    'a wrong signature',
    { ecdsaSign: (h, s) => ({ signature: spoil(() => sound.ecdsaSign(h, s).signature)(), recid: 0 }) },
  ],
  [
    'ECDSA-secp256k1',
    'recovers another key',
    { recoverKey: (hash, { r, s }) => sound.recoverKey(hash, { r, s, y_parity: 1 }) },
  ],
  [
    'ECDSA-secp256k1',
    'ignores the parity',
    { recoverKey: (hash, { r, s }) => sound.recoverKey(hash, { r, s, y_parity: 0 }) },
  ],
  ['ML-KEM-768', 'a wrong secret', { mlKemDecapsulate: spoil(sound.mlKemDecapsulate) }],
  ['X-Wing', 'a wrong secret', { xWingDecapsulate: spoil(sound.xWingDecapsulate) }],
  ['X-Wing', 'gives none', { xWingDecapsulate: () => null }],
  ['ECIES', 'opens nothing', { openEcies: () => null }],
  ['ML-DSA-87', 'another key', engine({ ml_dsa_87: { ...ml_dsa_87, publicKey: spoil(ml_dsa_87.publicKey) } })],
  ['ML-DSA-87', 'accepts everything', engine({ ml_dsa_87: { ...ml_dsa_87, verify: () => true } })],
  ['ML-DSA-87', 'accepts nothing', engine({ ml_dsa_87: { ...ml_dsa_87, verify: () => false } })],
  ['ML-DSA-87', 'a wrong signature', engine({ ml_dsa_87: { ...ml_dsa_87, sign: spoil(ml_dsa_87.sign) } })],
  [
    'ML-DSA-87',
    'ignores the context',
    engine({ ml_dsa_87: { ...ml_dsa_87, verify: (k, m, _, s) => ml_dsa_87.verify(k, m, new Uint8Array(0), s) } }),
  ],
  [
    'SLH-DSA-SHA2-256s',
    'accepts everything',
    engine({ slh_dsa_sha2_256s: { ...slh_dsa_sha2_256s, verify: () => true } }),
  ],
  [
    'SLH-DSA-SHA2-256s',
    'accepts nothing',
    engine({ slh_dsa_sha2_256s: { ...slh_dsa_sha2_256s, verify: () => false } }),
  ],
];

describe('the self-test', () => {
  it.each([openssl, noble])('passes with $name', (engine) => expect(selfTest(primitives(engine))).toEqual([]));

  it.each(breakages)('names %s: %s', (primitive, _, broken) => {
    expect(selfTest({ ...sound, ...broken })).toEqual([primitive]);
  });

  it('has a breakage for each primitive, and names several at once', () => {
    expect([...new Set(breakages.map(([name]) => name))].sort()).toEqual([...PRIMITIVES].sort());
    expect(selfTest({ ...sound, keccak256: fails, openEcies: fails })).toEqual(['Keccak-256', 'ECIES']);
  });

  it('asks Wycheproof’s answers', () => {
    const signed = mldsa.testGroups.flatMap(({ tests }) => tests as { tcId: number; sig: string }[]);
    expect(Uint8Array.fromBase64(answers.ml_dsa_87.signature).toHex()).toBe(signed.find(({ tcId }) => tcId === 3)!.sig);
    const opened = mlkem.testGroups.flatMap(
      ({ tests }) => tests as { tcId: number; seed: string; c: string; K: string }[],
    );
    for (const [tcId, answer] of [
      [2, answers.ml_kem_768],
      [1, answers.ml_kem_768_rejected],
    ] as const) {
      const { seed, c, K } = opened.find((test) => test.tcId === tcId)!;
      const ciphertext = Uint8Array.fromHex(c).toBase64();
      expect(answer).toMatchObject({ seed, ciphertext, shared_secret: K });
    }
  });
});
