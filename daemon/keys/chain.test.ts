// Both sides of a dstack key, the one that makes it for tests and the one that checks it, against the published vectors; and
// that a chain with any bit changed leads to somebody else.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveV0, deriveV1, kmsRoot, openAppKeys } from '../demo/appkeys.ts';
import { type Claim, issuers } from './chain.ts';

const FOLDER = new URL('../../test/fixtures/tee/dstack/', import.meta.url);
const keys = openAppKeys(new URL('appkeys.json', FOLDER).pathname);

interface Vector {
  readonly path: string;
  readonly domain: string;
  readonly purpose: string;
  readonly algorithm: string;
  readonly key: string;
  readonly public_key: string;
  readonly signature_chain: readonly string[];
}
const vectors = JSON.parse(readFileSync(new URL('simulator-keys.json', FOLDER), 'utf8')) as {
  readonly app_id: string;
  readonly app_root_pubkey: string;
  readonly kms_k256_root_pubkey_recovered: string;
  readonly published_vectors: {
    readonly app_root_key: string;
    readonly v0_link0: Vector & { link0: string };
    readonly v1: readonly Vector[];
    readonly v1_link0_storage_encryption_secp256k1: string;
  };
  readonly v0: readonly Vector[];
  readonly v1: readonly Vector[];
};
const bytes = (hex: string) => Uint8Array.fromHex(hex);
const inHex = ({ key, public_key, signature_chain }: ReturnType<typeof deriveV0>) => ({
  key: key.toHex(),
  public_key: public_key.toHex(),
  signature_chain: signature_chain.map((link) => link.toHex()),
});
const chosen = ({ key, public_key, signature_chain }: Vector) => ({ key, public_key, signature_chain });

describe('a simulated app root', () => {
  it.each(vectors.v0)('gives the v0 key of path "$path", purpose "$purpose", $algorithm', (vector) => {
    expect(inHex(deriveV0(keys, vector.path, vector.purpose, vector.algorithm))).toEqual(chosen(vector));
  });

  it.each(vectors.v1)('gives the v1 key of domain "$domain", $algorithm', (vector) => {
    expect(inHex(deriveV1(keys, vector.domain, vector.algorithm))).toEqual(chosen(vector));
  });

  it('gives what dstack publishes', () => {
    const { app_root_key, v0_link0, v1, v1_link0_storage_encryption_secp256k1 } = vectors.published_vectors;
    const published = { ...keys, k256_key: bytes(app_root_key) };
    const [link] = deriveV0(published, v0_link0.path, v0_link0.purpose, v0_link0.algorithm).signature_chain;
    expect(link?.toHex()).toBe(v0_link0.link0);
    for (const { domain, algorithm, key, public_key } of v1) {
      expect(inHex(deriveV1(published, domain, algorithm))).toMatchObject({ key, public_key });
    }
    const [newer] = deriveV1(published, 'storage-encryption', 'secp256k1').signature_chain;
    expect(newer?.toHex()).toBe(v1_link0_storage_encryption_secp256k1);
  });
});

describe('a chain', () => {
  const expected = { app_root: vectors.app_root_pubkey, kms_root: vectors.kms_k256_root_pubkey_recovered };
  const follow = (claim: Claim, links: readonly Uint8Array[], app_id = bytes(vectors.app_id)) => {
    const found = issuers(claim, links, app_id);
    return found && { app_root: found.app_root.toHex(), kms_root: found.kms_root.toHex() };
  };
  const cases = [
    ...vectors.v0.map((vector) => ({ ...vector, generation: 'v0' as const, label: vector.purpose })),
    ...vectors.v1.map((vector) => ({ ...vector, generation: 'v1' as const, label: vector.domain })),
  ].filter(({ algorithm }) => algorithm === 'secp256k1');

  it.each(cases)('of $generation "$label" leads to the app root and the KMS root', (vector) => {
    const claim = { key: bytes(vector.key), label: vector.label, generation: vector.generation };
    expect(follow(claim, vector.signature_chain.map(bytes))).toEqual(expected);
    expect(kmsRoot(keys).toHex()).toBe(expected.kms_root);
  });

  it('with one bit changed anywhere leads elsewhere or nowhere', () => {
    const { key, purpose, signature_chain } = vectors.v0[1]!;
    const parts = [bytes(key), ...signature_chain.map(bytes), bytes(vectors.app_id)];
    const bit = fc.integer({ min: 0, max: parts.reduce((sum, part) => sum + part.length, 0) * 8 - 1 });
    fc.assert(
      fc.property(bit, (at) => {
        const changed = parts.map((part) => part.slice());
        let offset = at >> 3;
        const part = changed.find((each) => {
          if (offset < each.length) return true;
          offset -= each.length;
          return false;
        })!;
        part[offset] = part[offset]! ^ (1 << (at & 7));
        const [altered, first, second, app_id] = changed as [typeof part, typeof part, typeof part, typeof part];
        const found = follow({ key: altered, label: purpose, generation: 'v0' }, [first, second], app_id);
        expect(found).not.toEqual(expected);
      }),
      { numRuns: 400 },
    );
  });

  it('is not what has another label, another generation, the high twin of a signature, or fewer links', () => {
    const { key, purpose, signature_chain } = vectors.v0[1]!;
    const links = signature_chain.map(bytes);
    const claim = { key: bytes(key), label: purpose, generation: 'v0' as const };
    expect(follow({ ...claim, label: 'other' }, links)).not.toEqual(expected);
    expect(follow({ ...claim, generation: 'v1' }, links)).not.toEqual(expected);
    expect(follow(claim, links.slice(0, 1))).toBeUndefined();
    expect(follow(claim, [links[0]!.subarray(1), links[1]!])).toBeUndefined();
    expect(follow({ ...claim, key: new Uint8Array(32) }, links)).toBeUndefined();
    expect(follow(claim, [highTwin(links[0]!), links[1]!])).toBeUndefined();
  });
});

/** n - s with the other parity: recovers the same key where high s is not refused. */
function highTwin(link: Uint8Array): Uint8Array {
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const high = order - BigInt(`0x${link.slice(32, 64).toHex()}`);
  const twin = link.slice();
  twin.set(bytes(high.toString(16).padStart(64, '0')), 32);
  twin[64] = link[64]! ^ 1;
  return twin;
}
