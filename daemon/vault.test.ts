import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tableNames } from './tables.ts';
import { createVault, OVERHEAD_BYTES } from './vault.ts';

const KEY = new Uint8Array(32).fill(1);
const table = fc.constantFrom(...tableNames);
const bytes = fc.uint8Array({ maxLength: 64 });

describe('records', () => {
  it('open in their place, in this run and the next', () => {
    const [first, second] = [createVault(KEY), createVault(KEY)];
    fc.assert(
      fc.property(table, bytes, fc.uint8Array({ maxLength: 2_000 }), (name, key, plaintext) => {
        const record = first.seal(name, key, plaintext);
        expect(record.length).toBe(plaintext.length + OVERHEAD_BYTES);
        expect(first.open(name, key, record)).toEqual(plaintext);
        expect(second.open(name, key, record)).toEqual(plaintext);
      }),
    );
  });

  it('never open under another key or in another table', () => {
    const vault = createVault(KEY);
    fc.assert(
      fc.property(table, bytes, table, bytes, bytes, (name, key, otherName, otherKey, plaintext) => {
        fc.pre(name !== otherName || Buffer.compare(key, otherKey) !== 0);
        const record = vault.seal(name, key, plaintext);
        expect(() => vault.open(otherName, otherKey, record)).toThrow(
          expect.objectContaining({ code: 'store_corrupt' }),
        );
      }),
      { numRuns: 500 },
    );
  });

  it('never open with a bit changed, cut short, or under another store key, and name their place but no content', () => {
    const vault = createVault(KEY);
    const secret = new TextEncoder().encode('planted-secret');
    const record = vault.seal('meta', Uint8Array.of(0xab), secret);
    for (let bit = 0; bit < record.length * 8; bit++) {
      const changed = record.slice();
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      try {
        vault.open('meta', Uint8Array.of(0xab), changed);
        expect.unreachable();
      } catch (error) {
        expect(error).toMatchObject({ code: 'store_corrupt', detail: { table: 'meta', key: 'ab' } });
        expect(String((error as Error).stack)).not.toContain('planted');
      }
    }
    for (let length = 0; length < record.length; length++) {
      expect(() => vault.open('meta', Uint8Array.of(0xab), record.slice(0, length))).toThrow('does not open');
    }
    expect(() => createVault(new Uint8Array(32)).open('meta', Uint8Array.of(0xab), record)).toThrow('does not open');
  });

  it('never share a key and a nonce: salts differ by run, counters by record', () => {
    const seen = new Set<string>();
    for (let run = 0; run < 20; run++) {
      const vault = createVault(KEY);
      for (let n = 0; n < 50; n++)
        seen.add(Buffer.from(vault.seal('meta', Uint8Array.of(1), KEY).subarray(1, 25)).toString('hex'));
    }
    expect(seen.size).toBe(1_000);
  });

  it('of more runs than keys are kept still open', () => {
    const records = Array.from({ length: 300 }, (_, n) =>
      createVault(KEY).seal('meta', Uint8Array.of(1), Uint8Array.of(n)),
    );
    const vault = createVault(KEY);
    for (const order of [records, [...records].reverse()]) {
      for (const record of order) expect(vault.open('meta', Uint8Array.of(1), record)).toHaveLength(1);
    }
  });
});

it('table names are such that the AAD is injective', () => {
  for (const name of tableNames) expect(name).toMatch(/^[a-z_]+$/);
});
