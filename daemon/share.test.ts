import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Shares } from './share.ts';

it('lets nobody hold more than its share, and remembers nobody who holds nothing', () => {
  const acts = fc.array(fc.record({ client: fc.constantFrom('a', 'b', undefined), takes: fc.boolean() }));
  fc.assert(
    fc.property(acts, fc.integer({ min: 1, max: 4 }), (all, max) => {
      const shares = new Shares();
      const held = new Map<string, number>();
      for (const { client, takes } of all) {
        const before = held.get(client ?? '') ?? 0;
        if (takes) expect(shares.take(client, max)).toBe(client === undefined || before < max);
        else if (client === undefined || before > 0) shares.give(client);
        if (client === undefined) continue;
        if (takes && before < max) held.set(client, before + 1);
        if (!takes && before > 0) held.set(client, before - 1);
        expect(shares.of(client)).toBe(held.get(client) ?? 0);
      }
      expect(shares.size).toBe([...held.values()].filter((count) => count > 0).length);
    }),
  );
});
