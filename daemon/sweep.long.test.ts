// 100,000 wrapped secrets move to another epoch: none is lost, none doubled, and the counts are what a recount gives.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { expectedOf, openFolder, testPool, Vaulted } from '../test/vaulted.ts';

const ROWS = 100_000;

it('moves 100,000 secrets, while others are created and removed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-sweep-'));
  const pool = testPool();
  const house = new Vaulted(await openFolder(folder), pool);
  const { store, wraps } = house;
  try {
    await house.rotate(1);
    await house.fill('test', ROWS);
    await house.rotate(2);
    const { sweep, emptied } = house.swept(100);
    const expected = expectedOf({ test: ROWS });
    for (let n = 0; n < ROWS; n += 997) {
      await store.commit((step) => wraps.remove(step, 'test', `${n}`));
      expected.delete(`test/${n}`);
    }
    expect(await emptied).toBe(1);
    await sweep.stop();
    house.check(expected);
    expect(wraps.backlogs(store)).toEqual([{ epoch: 2, kind: 'test', count: expected.size }]);
  } finally {
    await house.sweep?.stop();
    await store.close();
    await pool.close();
    rmSync(folder, { recursive: true });
  }
});
