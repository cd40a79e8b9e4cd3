// Acts in a whole daemon: what an admin's order does there, and that it stays done.
import { describe, expect, it } from 'vitest';
import type { Act } from '../actors/act.ts';
import { makeAdmin } from '../test/admin.ts';
import { enveloped, openHouse } from '../test/house.ts';

const alice = makeAdmin(1);
const RETIRE: Act = { type: 'retire_epoch', epoch: 1 };

describe('retire_epoch', () => {
  it('ends a grace that would last for weeks: what was acknowledged is opened, nothing more is admitted', async () => {
    await using house = await openHouse({ admin: { keys: [alice.public_key] } });
    const { sequencer } = house;
    const retire = () => sequencer.orders.execute(alice.order(sequencer.epoch.log.log_id, RETIRE));
    expect(await retire()).toMatchObject({ code: 'act_refused', detail: expect.stringContaining('it is active') });

    const [early, late] = [await enveloped(sequencer), await enveloped(sequencer)];
    expect(await sequencer.rotate({ reason: 'manual', delay_blocks: 0 })).toMatchObject({ ok: true });
    await house.journaled('rotation_executed', ({ to_epoch }) => to_epoch === 2);
    const admitted = await sequencer.submitEncrypted(early);
    expect(admitted).toMatchObject({ ok: true });

    const outcome = await retire();
    if (!outcome.ok) throw new Error(outcome.code);
    await house.journaled('epoch_retired', ({ epoch, forced }) => epoch === 1 && forced === true);
    expect(await sequencer.submitEncrypted(late)).toMatchObject({ code: 'epoch_not_accepted', current_epoch: 2 });
    const batch = sequencer.batch(0)!;
    expect(batch.transactions.map(({ epoch }) => epoch)).toEqual([1]);
    expect(await retire()).toMatchObject({ code: 'act_refused', detail: expect.stringContaining('it is retired') });
    const { leaf_index } = outcome.executed;
    await house.journaled('seal_created', ({ size }) => (size as number) > leaf_index);
  });
});
