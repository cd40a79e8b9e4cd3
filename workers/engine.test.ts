// Two engines, one standard: each verifies what the other signs and refuses what the other refuses, and both make the same
// keys from the same seeds. The larger count of SLH-DSA is in engine.long.test.ts.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  verify,
} from 'node:crypto';
import { ml_kem768_x25519 } from '@noble/post-quantum/hybrid.js';
import { ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import { slh_dsa_sha2_256s } from '@noble/post-quantum/slh-dsa.js';
import { describe, expect, it } from 'vitest';
import { concat, utf8 } from '../actors/encoding.ts';
import { compare, flipped } from '../test/differential.ts';
import { LONG } from '../test/long.ts';
import { openssl } from './engine.ts';
import { noble } from './noble.ts';
import { createPool } from './pool.ts';
import { signHead, tryPairs } from './sign.ts';
import { decapsulateXWing, mlkemKey, xwingKey } from './xwing.ts';

const both = [
  [openssl, noble],
  [noble, openssl],
] as const;

const seeds = (count: number, bytes: number) => [
  new Uint8Array(bytes),
  new Uint8Array(bytes).fill(0xff),
  ...Array.from({ length: count - 2 }, () => new Uint8Array(randomBytes(bytes))),
];
const mlDsaKey = (seed: Uint8Array) =>
  createPrivateKey({ key: Buffer.from(seed), format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });
const slhDsaKey = (secretKey: Uint8Array) =>
  createPrivateKey({ key: Buffer.from(secretKey), format: 'raw-private', asymmetricKeyType: 'slh-dsa-sha2-256s' });

describe('ML-DSA-87', () => {
  it.each(both)('many messages: %# signs, the other verifies, and both refuse what was altered', (...pair) => {
    const keys = seeds(4, 32).map(mlDsaKey);
    for (let round = 0; round < (LONG ? 200 : 50); round++)
      compare('ml_dsa_87', pair, keys[round % keys.length]!, round, false);
  });

  it('makes the same keys of 50 seeds', () => {
    for (const seed of seeds(50, 32)) {
      const key = mlDsaKey(seed);
      const publicKey = openssl.ml_dsa_87.publicKey(key);
      expect(publicKey).toEqual(ml_dsa87.keygen(seed).publicKey);
      expect(noble.ml_dsa_87.publicKey(key)).toEqual(publicKey);
    }
  });
});

/** NIST ACVP, SLH-DSA-keyGen-FIPS205, tcId 81 to 83: SK.seed ‖ SK.prf ‖ PK.seed, and PK.root. */
const NIST = [
  [
    'ae6ca8664ec0b9179d4e33c4defe01fcd589f60ba4502fe7416f2acd96e139f13fda2069147f44eabd5bbf29c74a20cb0f0cc2a12bab5834b773530af504900a134d5ed3c60b46344a84a45d4683b1ac55fb22886ba9478ea9ca93f27b9aa2c2',
    '7c5c9908f086e57956f85de84b438ef1f082cd176dff3c5b8be710bc8699a143',
  ],
  [
    'cd17302508c8dd4c3fc1e47479e575d5fbd4b955814aa61cd2dda06a82284143ecadd4d88c36e87f5e3024aea4a4dce24d7e1e39e53c5962c92404b3c79aeada8ef097cecb483cb9b61e728b48267b5f2d06dca71b171c51d1470d1e6ba67d8f',
    'fa10843d854d1f96c44347ad0a1de33b17cc27e624d57edc65d9f58e6ef0fe91',
  ],
  [
    '0012822ed0efdf1eed2c094d181f5b0825ed74dd1a920404f4d7f4d0b569a59081c60704f1977c788622d66768ddca115653979dd53a12705cda1e5ebe50d6dc6957e887e245c9b40699a9a564bf998b875057ce3aa7c381e9c62f23063d92f2',
    '4637cc30bb6dd40adcd6919207d9a363c72e5afb998aa932b2a88140b2322062',
  ],
] as const;

describe('SLH-DSA-SHA2-256s', () => {
  // noble takes seconds to sign.
  it.each(LONG ? both : both.slice(0, 1))(
    'a message: %# signs, the other verifies, and both refuse what was altered',
    (...pair) => {
      compare('slh_dsa_sha2_256s', pair, generateKeyPairSync('slh-dsa-sha2-256s').privateKey, 1, true);
    },
  );

  it('makes the keys of NIST’s vectors', () => {
    for (const [seed, root] of NIST) {
      const { publicKey, secretKey } = slh_dsa_sha2_256s.keygen(Uint8Array.fromHex(seed));
      expect(publicKey.toHex()).toBe(seed.slice(-64) + root);
      expect(openssl.slh_dsa_sha2_256s.publicKey(slhDsaKey(secretKey))).toEqual(publicKey);
    }
  });

  it('makes the same PK.root as OpenSSL of 3 keys that OpenSSL drew', () => {
    for (let i = 0; i < 3; i++) {
      const drawn = generateKeyPairSync('slh-dsa-sha2-256s').privateKey.export({ format: 'raw-private' });
      expect(slh_dsa_sha2_256s.keygen(new Uint8Array(drawn.subarray(0, 96))).secretKey.toHex()).toBe(
        drawn.toString('hex'),
      );
    }
  });
});

describe('X-Wing and ML-KEM-768', () => {
  it('make the same keys of 50 seeds, and the secrets that noble encapsulates come out', () => {
    for (const seed of seeds(50, 32)) {
      const { publicKey, handle } = xwingKey(seed);
      expect(publicKey).toEqual(ml_kem768_x25519.keygen(seed).publicKey);
      const { cipherText, sharedSecret } = ml_kem768_x25519.encapsulate(publicKey);
      expect(new Uint8Array(decapsulateXWing(handle, cipherText)!)).toEqual(sharedSecret);
      expect(new Uint8Array(decapsulateXWing(handle, flipped(cipherText)) ?? [])).not.toEqual(sharedSecret);
    }
    for (const seed of seeds(50, 64)) {
      const publicKey = createPublicKey(mlkemKey(seed)).export({ format: 'raw-public' });
      expect(new Uint8Array(publicKey)).toEqual(ml_kem768.keygen(seed).publicKey);
    }
  });

  it('refuse an ephemeral key of small order', () => {
    const { publicKey, handle } = xwingKey(new Uint8Array(32));
    const enc = ml_kem768_x25519.encapsulate(publicKey).cipherText;
    enc.fill(0, -32);
    expect(decapsulateXWing(handle, enc)).toBe(null);
    expect(() =>
      diffieHellman({
        privateKey: handle.x25519,
        publicKey: createPublicKey({ key: new Uint8Array(32), format: 'raw-public', asymmetricKeyType: 'x25519' }),
      }),
    ).toThrow();
  });
});

const ml_dsa_87 = mlDsaKey(new Uint8Array(32).fill(1));

describe.each([openssl, noble])('an engine, $name', (engine) => {
  const message = new Uint8Array(64);
  const scheme = engine.ml_dsa_87;

  it('hedges: no two signatures are alike', () => {
    const made = Array.from({ length: 4 }, () => scheme.sign(ml_dsa_87, message, message).toHex());
    expect(new Set(made).size).toBe(4);
  });

  it('refuses the key of another scheme, a public key, and a context of 256 bytes', () => {
    const other = generateKeyPairSync('ml-dsa-65').privateKey;
    expect(() => scheme.sign(other, message, message)).toThrow('expected a private key of ml-dsa-87, not ml-dsa-65');
    expect(() => engine.slh_dsa_sha2_256s.sign(ml_dsa_87, message, message)).toThrow('slh-dsa-sha2-256s');
    expect(() => scheme.sign(createPublicKey(ml_dsa_87), message, message)).toThrow('expected a private key');
    const long = new Uint8Array(256);
    expect(() => scheme.sign(ml_dsa_87, message, long)).toThrow('at most 255 bytes');
    const publicKey = scheme.publicKey(ml_dsa_87);
    expect(() => scheme.verify(publicKey, message, long, message)).toThrow('at most 255 bytes');
  });
});

describe('signing with an engine', () => {
  const { privateKey: slh_dsa_sha2_256s } = generateKeyPairSync('slh-dsa-sha2-256s');
  const digest = new Uint8Array(createHash('sha512').digest());

  /** OpenSSL's own generation, but with another PK.root: it signs, and nobody can verify. */
  function unpaired(): KeyObject {
    const secretKey = slh_dsa_sha2_256s.export({ format: 'raw-private' });
    secretKey[127]! ^= 1;
    return slhDsaKey(secretKey);
  }

  it('lets no SLH-DSA signature out that does not verify, and finds a pair that is none', () => {
    const task = { digest, ml_dsa_87, slh_dsa_sha2_256s: unpaired() };
    expect(() => signHead(openssl, task)).toThrow('did not verify: the machine computes wrongly');
    expect(() => tryPairs(openssl, task)).toThrow('a signature of slh-dsa-sha2-256s did not verify');
    const forgetful = { ...openssl.ml_dsa_87, sign: () => new Uint8Array(4627) };
    const broken = { ...openssl, ml_dsa_87: forgetful };
    expect(() => tryPairs(broken, { ml_dsa_87, slh_dsa_sha2_256s })).toThrow('a signature of ml-dsa-87 did not verify');
    expect(tryPairs(openssl, { ml_dsa_87, slh_dsa_sha2_256s })).toBe(null);
  });

  it('happens on the threads of a pool that was made for it', async () => {
    const options = { open_threads: 1, sign_threads: 1, queue_max: 8, task_timeout_ms: 30_000, seal_nice: 0 };
    const sign = async (engine: 'openssl' | 'noble', key: KeyObject) => {
      const pool = createPool({ ...options, engine });
      try {
        const task = { digest, height: 1, chain_id: '1', ml_dsa_87: key, secp256k1: null };
        return (await pool.run('sign', [task]))[0]!.ml_dsa;
      } finally {
        await pool.close();
      }
    };
    const context = utf8('aegis/batch/v1');
    for (const engine of ['openssl', 'noble'] as const) {
      const signature = await sign(engine, ml_dsa_87);
      expect(verify(null, digest, { key: createPublicKey(ml_dsa_87), context }, signature)).toBe(true);
    }
    // Only noble needs the seed, and this key has none: so it is noble that signs.
    const seedless = withoutSeed(new Uint8Array(32).fill(1));
    expect(await sign('openssl', seedless)).toHaveLength(4627);
    await expect(sign('noble', seedless)).rejects.toThrow('seed');
  });
});

/** RFC 9881, appendix C.1: `expandedKey`, a PKCS #8 key that holds no seed. */
function withoutSeed(seed: Uint8Array): KeyObject {
  const tagged = (tag: number, content: Uint8Array) =>
    concat(Uint8Array.of(tag, 0x82, content.length >> 8, content.length & 0xff), content);
  const expanded = tagged(0x04, ml_dsa87.keygen(seed).secretKey);
  const info = concat(Uint8Array.fromHex('020100300b0609608648016503040313'), tagged(0x04, expanded));
  return createPrivateKey({ key: Buffer.from(tagged(0x30, info)), format: 'der', type: 'pkcs8' });
}
