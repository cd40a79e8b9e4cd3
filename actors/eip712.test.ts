import fc from 'fast-check';
import { hashTypedData, hexToBytes } from 'viem';
import { describe, expect, it } from 'vitest';
import { batchHash } from './eip712.ts';
import { hex } from './encoding.ts';

const types = {
  Batch: [
    { name: 'height', type: 'uint64' },
    { name: 'digestHi', type: 'bytes32' },
    { name: 'digestLo', type: 'bytes32' },
  ],
} as const;

describe('the typed hash of a batch', () => {
  it("is viem's hashTypedData", () => {
    const digest = fc.uint8Array({ minLength: 64, maxLength: 64 });
    const height = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 53n }), height, digest, (chain, at, bytes) => {
        const expected = hashTypedData({
          domain: { name: 'Aegis', version: '1', chainId: chain },
          types,
          primaryType: 'Batch',
          message: { height: BigInt(at), digestHi: hex(bytes.slice(0, 32)), digestLo: hex(bytes.slice(32)) },
        });
        expect(batchHash({ chain_id: String(chain), height: at, digest: bytes })).toEqual(hexToBytes(expected));
      }),
    );
  });

  it('is fixed', () => {
    expect(hex(batchHash({ chain_id: '31337', height: 7, digest: new Uint8Array(64).fill(0xa5) }))).toBe(
      '0x1682a8858ee6f05a96c954f6f4e328dcfa730dc7365f22bd5c1be281bdb9c227',
    );
  });

  it('refuses what is no batch digest or height', () => {
    const digest = new Uint8Array(64);
    expect(() => batchHash({ chain_id: '1', height: 0, digest: new Uint8Array(32) })).toThrow(RangeError);
    expect(() => batchHash({ chain_id: '1', height: -1, digest })).toThrow(RangeError);
    expect(() => batchHash({ chain_id: (2n ** 256n).toString(), height: 0, digest })).toThrow(RangeError);
  });
});
