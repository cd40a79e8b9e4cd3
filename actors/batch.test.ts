import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { makeEnclave, makeSigned, sealBatch } from '../test/forge.ts';
import { BatchFile, byNonce, ORDER_MAX, orderRoot, refusedRoot, txRoot } from './batch.ts';
import { halves } from './eip712.ts';
import { equal, hex } from './encoding.ts';

/** Opened transactions in committed order; few senders and nonces, so that they collide. */
const opened = fc
  .array(fc.record({ sender: fc.constantFrom('a', 'b', 'c', 'd'), nonce: fc.bigInt({ min: 0n, max: 6n }) }), {
    maxLength: 40,
  })
  .map((all) => all.map((tx, index) => ({ ...tx, index })));

describe('the order of execution', () => {
  it('is a permutation in which every sender goes by nonce, ties as committed', () => {
    fc.assert(
      fc.property(opened, (committed) => {
        const executed = byNonce(committed);
        expect(executed.toSorted((a, b) => a.index - b.index)).toEqual(committed);
        for (const sender of new Set(committed.map((tx) => tx.sender))) {
          const own = executed.filter((tx) => tx.sender === sender);
          const sorted = own.toSorted((a, b) => Number(a.nonce - b.nonce) || a.index - b.index);
          expect(own).toEqual(sorted);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('moves back only what waits for an earlier nonce, and only as far as that', () => {
    fc.assert(
      fc.property(opened, (committed) => {
        const executed = byNonce(committed);
        const place = new Map(executed.map((tx, at) => [tx.index, at]));
        /** The last of the sender's transactions that must go first, or the transaction itself. */
        const waitsFor = (tx: (typeof committed)[0]) =>
          Math.max(
            tx.index,
            ...committed
              .filter(
                ({ sender, nonce, index }) =>
                  sender === tx.sender && (nonce < tx.nonce || (nonce === tx.nonce && index < tx.index)),
              )
              .map(({ index }) => index),
          );
        for (const first of committed) {
          for (const second of committed.slice(first.index + 1)) {
            // Whoever was behind stays behind, unless the one before waits for something no earlier than it.
            const overtaken = place.get(second.index)! < place.get(first.index)!;
            expect(overtaken).toBe(
              first.sender === second.sender ? second.nonce < first.nonce : waitsFor(first) > waitsFor(second),
            );
            if (overtaken) expect(waitsFor(first)).toBeGreaterThanOrEqual(second.index);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is what was committed where nonces ascend', () => {
    const committed = ['b', 'a', 'b', 'a', 'c'].map((sender, i) => ({ sender, nonce: BigInt(i) }));
    expect(byNonce(committed)).toEqual(committed);
    expect(byNonce([])).toEqual([]);
  });

  it('is linear enough for a batch of 10,000', () => {
    const committed = Array.from({ length: 10_000 }, (_, i) => ({ sender: 'a', nonce: BigInt(10_000 - i) }));
    expect(byNonce(committed)[0]!.nonce).toBe(1n);
  });
});

const sha512 = (...parts: (string | Uint8Array)[]) => {
  const hash = createHash('sha512');
  for (const part of parts) hash.update(typeof part === 'string' ? Buffer.from(part, 'hex') : part);
  return hash.digest();
};

describe('roots', () => {
  const [a, b] = ['11'.repeat(32), '22'.repeat(32)] as const;
  const of2 = (first: string, second: string) =>
    `0x${sha512('01', sha512('00', first), sha512('00', second)).toString('hex')}`;

  it('have the entries of DESIGN §4', () => {
    const order = [
      { envelope_id: `0x${a}`, admission_sequence: '258' },
      { envelope_id: `0x${b}`, admission_sequence: (2n ** 64n - 1n).toString() },
    ];
    expect(hex(orderRoot(order))).toBe(of2(`0000000000000102${a}`, `ffffffffffffffff${b}`));
    const transactions = [
      { envelope_id: `0x${a}`, order_index: 1, raw: '0x02c0' },
      { envelope_id: `0x${b}`, order_index: 2 ** 32 - 1, raw: '0x' },
    ];
    expect(hex(txRoot(transactions))).toBe(of2(`${a}0000000102c0`, `${b}ffffffff`));
    const refused = [
      { envelope_id: `0x${a}`, code: 12 },
      { envelope_id: `0x${b}`, code: 65_535 },
    ];
    expect(hex(refusedRoot(refused))).toBe(of2(`${a}000c`, `${b}ffff`));
    expect(hex(refusedRoot([]))).toBe(`0x${sha512().toString('hex')}`);
  });

  it('split into halves and together again', () => {
    const digest = new Uint8Array(sha512('00'));
    const { digestHi, digestLo } = halves(digest);
    expect(equal(new Uint8Array([...digestHi, ...digestLo]), digest)).toBe(true);
  });
});

describe('the schema of a file', () => {
  let signed: BatchFile;
  let sealed: BatchFile;
  beforeAll(async () => {
    const enclave = await makeEnclave();
    signed = await makeSigned(enclave);
    sealed = sealBatch(enclave, structuredClone(signed));
  });

  it('gives back what it takes, before and after the seal', () => {
    expect(BatchFile.parse(signed)).toEqual(signed);
    expect(BatchFile.parse(sealed)).toEqual(sealed);
  });

  it('wants seal and attestation together', () => {
    expect(BatchFile.safeParse({ ...sealed, attestation: null }).success).toBe(false);
    expect(BatchFile.safeParse({ ...sealed, slh_dsa_sig: null }).success).toBe(false);
  });

  it('wants at least one ordered envelope, and at most ORDER_MAX', () => {
    expect(BatchFile.safeParse({ ...signed, order: [] }).success).toBe(false);
    const order = Array.from({ length: ORDER_MAX + 1 }, () => signed.order[0]!);
    expect(BatchFile.safeParse({ ...signed, order }).success).toBe(false);
  });
});
