// The worker protocol: what a backend publishes that keeps its own schedule, judged by the `ipns` package.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fromBase64 } from '../../actors/encoding.ts';
import { HOUR_MS, Named, ownerOf } from '../../test/named.ts';
import { testPool } from '../../test/vaulted.ts';
import { openEcies } from '../../workers/ecies.ts';
import type { Pool } from '../../workers/pool.ts';
import { resolved } from '../demo/owner.ts';

const CID = 'bafkreiem4twkqzsq2aj4shbycd4yvoj2cx72vezicletlhi7dijjciqpui';
let pool: Pool;
let house: Named;
beforeAll(async () => {
  pool = testPool();
  house = await Named.open(pool);
});
afterAll(async () => {
  await house[Symbol.asyncDispose]();
  await pool.close();
});

async function entry(n: number, other: object = {}, epoch = 1) {
  const { record: _, ...key } = await house.enrolment(ownerOf(n), '/ipfs/x', 1n, epoch);
  return { ...key, latestCid: CID, sequenceNumber: '7', currentEpoch: 2, previousEpoch: 1, ...other };
}

it('signs what the caller says, one sequence higher, and moves old keys to the active epoch', async () => {
  await house.vaulted.rotate(2);
  const [old, fresh] = await house.names.republish([await entry(1), await entry(2, { sequenceNumber: 0 }, 2)]);
  expect(old).toMatchObject({ ipnsName: ownerOf(1).name, success: true, newSequenceNumber: '8', upgradedKeyEpoch: 2 });
  expect(fresh).not.toHaveProperty('upgradedKeyEpoch');
  const expected = { value: `/ipfs/${CID}`, eol_ms: house.now_ms + 48 * HOUR_MS };
  for (const [i, result] of [old!, fresh!].entries()) {
    const seen = await resolved(ownerOf(i + 1).name, fromBase64(result.signedRecord!));
    expect(seen).toEqual({ ...expected, sequence: i === 0 ? 8n : 1n });
  }
  const upgraded = fromBase64(old!.upgradedEncryptedKey!);
  expect(openEcies(house.vaulted.keys.get(2)!.names, upgraded)).toEqual(ownerOf(1).seed);
});

it('refuses enrolled names, foreign keys, unknown epochs and what is no entry, each on its own', async () => {
  await house.enrol(ownerOf(3), '/ipfs/a', 1n, 2);
  const results = await house.names.republish([
    await entry(3),
    await entry(4, { encryptedIpnsKey: (await entry(5)).encryptedIpnsKey }),
    await entry(6, { keyEpoch: 9 }),
    await entry(7, { keyEpoch: 2 }),
    await entry(8, { latestCid: '../../etc' }),
    await entry(9, { sequenceNumber: '18446744073709551615' }),
    await entry(10, { keyEpoch: 0 }),
    { ipnsName: 7 },
    null,
    await entry(11),
  ]);
  expect(results.map(({ success, error }) => error ?? success)).toEqual([
    'name_enrolled',
    'key_foreign',
    'key_epoch_not_accepted',
    'key_unopenable',
    'invalid_entry',
    'invalid_entry',
    'invalid_entry',
    'invalid_entry',
    'invalid_entry',
    true,
  ]);
  for (const { success, signedRecord } of results) expect(signedRecord !== undefined).toBe(success);
  await expect(async () => house.names.republish(Array(101).fill(null))).rejects.toThrow('at most 100');
});
