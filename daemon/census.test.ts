// The census against a plain reading of its definition, and what it must notice.
import { createCipheriv, hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Census, type Counted } from './census.ts';
import type { Table } from './tables.ts';

type Row = { table: (typeof TABLES)[number]; key: Uint8Array; record: Uint8Array };

const KEY = new Uint8Array(32).fill(7);
const TABLES = ['meta', 'hashes', 'assets'] as const satisfies Table[];

const row = fc.record({
  table: fc.constantFrom(...TABLES),
  key: fc.uint8Array({ minLength: 1, maxLength: 511 }),
  record: fc.uint8Array({ minLength: 16, maxLength: 64 }),
});

/** One record at a time, by OpenSSL's own CBC. */
function term({ table, key, record }: Row): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(key.length);
  const padding = Buffer.alloc((16 - (key.length % 16)) % 16);
  const name = hash('sha256', table, 'buffer').subarray(0, 12);
  const message = Buffer.concat([length, name, record.subarray(-16), key, padding]);
  const cipher = createCipheriv('aes-256-cbc', KEY, Buffer.alloc(16)).setAutoPadding(false);
  return cipher.update(message).subarray(-16);
}

function counted(rows: readonly Row[]): Census {
  const census = Census.from(KEY);
  for (const { table, key, record } of rows) census.add(table, key, record);
  return census;
}

/** As a walk over the file gives it: for copying, not to keep. */
function stored({ key, record }: Row): Counted {
  return {
    keyBytes: key.length,
    copyKey: (into, at) => into.set(key, at),
    copyTail: (into, at, count) => into.set(record.subarray(-count), at),
  };
}

describe('the census', () => {
  it('is the XOR of a MAC over each record, in whatever order and however many at once', () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 300 }), (rows) => {
        const census = counted(rows);
        for (const table of TABLES) {
          const sum = Buffer.alloc(16);
          const own = rows.filter((each) => each.table === table);
          for (const each of own) for (const [i, byte] of term(each).entries()) sum[i]! ^= byte;
          expect(census.get(table)).toEqual({ count: own.length, sum: Uint8Array.from(sum) });
        }
        expect(counted(rows.toReversed()).record()).toEqual(census.record());
      }),
      { numRuns: 50 },
    );
  });

  it('counts the same where records are copied into it from a page', () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 300 }), (rows) => {
        const census = Census.from(KEY);
        const adders = new Map(TABLES.map((table) => [table, census.adder(table)] as const));
        for (const each of rows) adders.get(each.table)!(stored(each));
        expect(census.record()).toEqual(counted(rows).record());
      }),
      { numRuns: 50 },
    );
  });

  it('forgets what is removed, goes on from its record, and leaves the one it was cloned from alone', () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 20 }), row, (rows, more) => {
        const census = counted(rows);
        const before = census.record();
        const clone = census.clone();
        clone.add(more.table, more.key, more.record);
        expect(clone.record()).toEqual(counted([...rows, more]).record());
        expect(census.record()).toEqual(before);
        const again = Census.from(KEY, clone.record());
        again.remove(more.table, more.key, more.record);
        expect(again.record()).toEqual(before);
      }),
    );
  });

  it('notices a record under another key, in another table, of another length, or sealed anew', () => {
    fc.assert(
      fc.property(row, row, (one, other) => {
        fc.pre(JSON.stringify(one) !== JSON.stringify(other));
        const tag = ({ record }: Row) => Buffer.from(record.subarray(-16)).toString('hex');
        const same = (a: Row, b: Row) => a.table === b.table && tag(a) === tag(b) && Buffer.compare(a.key, b.key) === 0;
        for (const altered of [
          { ...one, key: other.key },
          { ...one, record: other.record },
          { ...one, key: Uint8Array.of(...one.key, 0).subarray(0, 511) },
          other,
        ]) {
          if (!same(one, altered)) expect(counted([altered]).record()).not.toEqual(counted([one]).record());
        }
      }),
    );
  });
});
