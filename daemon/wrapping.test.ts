// Wrapped secrets in a whole daemon: they follow the active epoch, and an epoch does not retire before they have.
import { expect, it } from 'vitest';
import { makeAdmin } from '../test/admin.ts';
import { type House, openHouse } from '../test/house.ts';
import { secretFor } from '../test/vaulted.ts';
import { standing } from './epoch.ts';

const ROWS = 300;
/** Due at once, and over at once. */
const rotation = { delay_blocks: 0, delay_max_s: 1, grace_s: 0, sweep_rows: 50, sweep_pause_ms: 0 };

async function filled({ sequencer }: House): Promise<void> {
  await sequencer.store.commit((step) => {
    for (let n = 0; n < ROWS; n++) sequencer.wrapping.wraps.create(step, 'asset', `${n}`, secretFor(`${n}`));
  });
}

it('a rotation moves them, and the epoch before retires only then', async () => {
  await using house = await openHouse({ rotation });
  const { sequencer, journaled } = house;
  const { store, wrapping } = sequencer;
  await filled(house);
  expect(sequencer.backlog(1)).toBe(ROWS);
  expect(await sequencer.rotate({ reason: 'manual' })).toMatchObject({ ok: true });
  await journaled('epoch_retired', ({ epoch }) => epoch === 1);

  const types = [...store.range('journal', { limit: 1_000 })].map(([, { type }]) => type);
  expect(types.indexOf('epoch_rewrapped')).toBeLessThan(types.indexOf('epoch_retired'));
  expect(wrapping.wraps.backlogs(store)).toEqual([{ epoch: 2, kind: 'asset', count: ROWS }]);
  for (const n of [0, 99, ROWS - 1]) {
    const used = await wrapping.wraps.use(store, 'asset', `${n}`, (secret) => secret.slice());
    expect(used).toEqual({ ok: true, result: secretFor(`${n}`) });
  }
  const late = { epoch: 1, wrapped: new Uint8Array(129) };
  const adopted = await store.commit((step) => wrapping.wraps.adopt(step, 'name', 'k51', late));
  expect(adopted).toEqual({ ok: false, code: 'epoch_not_accepted' });
});

it('one that does not open keeps its epoch from retiring, until an admin orders it', async () => {
  const admin = makeAdmin(1);
  await using house = await openHouse({ rotation, admin: { keys: [admin.public_key] } });
  const { sequencer, journaled } = house;
  const { store, wrapping } = sequencer;
  await filled(house);
  const broken = { epoch: 1, wrapped: new Uint8Array(129) };
  await store.commit((step) => wrapping.wraps.adopt(step, 'name', 'k51', broken));
  await sequencer.rotate({ reason: 'manual' });
  await journaled('rotation_executed', ({ to_epoch }) => to_epoch === 2);
  await expect.poll(() => wrapping.sweep.state(), { timeout: 20_000 }).toEqual({ running: false, stuck: 1 });
  expect(sequencer.backlog(1)).toBe(1);
  expect(standing(store, 1)?.state).toBe('grace');

  const order = admin.order(sequencer.epoch.log.log_id, { type: 'retire_epoch', epoch: 1 });
  expect(await sequencer.orders.execute(order)).toMatchObject({ ok: true });
  await journaled('epoch_retired', ({ epoch, forced }) => epoch === 1 && forced === true);
  const used = await wrapping.wraps.use(store, 'name', 'k51', () => {});
  expect(used).toEqual({ ok: false, code: 'epoch_retired' });
  expect(wrapping.wraps.backlogs(store).find(({ kind }) => kind === 'asset')).toEqual({
    epoch: 2,
    kind: 'asset',
    count: ROWS,
  });
});
