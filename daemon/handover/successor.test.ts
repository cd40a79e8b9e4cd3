// What a successor holds against others: a predecessor that has less of the log than was taken from it, and the clock of its own host.
import { cpSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { cutting } from '../../test/cutting.ts';
import { enveloped, journaled } from '../../test/house.ts';
import { allow, type Enclave, measurementOf, Platforms } from '../../test/succession.ts';
import { Fault } from '../fault.ts';

const GOES_ON = 'http://127.0.0.1:9';

let platforms: Platforms;
beforeEach(() => {
  platforms = new Platforms();
});
afterEach(() => platforms[Symbol.asyncDispose]());

/** Takes the state from it, and goes away before it says so. */
async function taken(old: Enclave): Promise<void> {
  const giveUp = new AbortController();
  await using network = await cutting(
    () => old.url,
    (path, moment) => {
      if (path !== '/handover/accept' || moment !== 'before') return false;
      giveUp.abort();
      return true;
    },
  );
  const starting = platforms.start('new', { of: network.url, signal: giveUp.signal });
  await expect(starting).rejects.toMatchObject({ code: 'succession_failed' });
}

it('keeps it when the predecessor was put back', async () => {
  let old = await platforms.start('old');
  await allow(old, await measurementOf(platforms, 'new'));
  await old.close();
  const [state, copy] = [join(platforms.folder, 'old'), join(platforms.folder, 'copy')];
  cpSync(state, copy, { recursive: true });

  old = await platforms.start('old');
  const { sequencer } = old;
  await sequencer.submitEncrypted(await enveloped(sequencer));
  await sequencer.createBatch();
  await journaled(sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(0));
  sequencer.handover.open(GOES_ON);
  await taken(old);
  await old.close();

  rmSync(state, { recursive: true });
  cpSync(copy, state, { recursive: true });
  old = await platforms.start('old');
  old.sequencer.handover.open(GOES_ON);
  const said = await platforms.start('new', { of: old.url }).catch((error: unknown) => error);
  expect(said).toBeInstanceOf(Fault);
  expect(String((said as Fault).message)).toContain('put back');
  expect(existsSync(join(platforms.folder, 'new', 'store.abandoned'))).toBe(false);
  expect(existsSync(join(platforms.folder, 'new', 'store'))).toBe(true);
});

it("is judged by the time that its predecessor wrote down, not by its own host's", async () => {
  const old = await platforms.start('old');
  await allow(old, await measurementOf(platforms, 'new'));
  old.sequencer.handover.open(GOES_ON);
  const [uptime_ms, agreed_ms] = [1_000_000_000, Date.now() - 2 * 86_400_000];
  const mark = { agreed_ms, uptime_ms, anchor: { offset_ms: agreed_ms - uptime_ms, uptime_ms } };
  await old.sequencer.store.commit((step) => step.put('meta', 'clock', mark));
  const { clock } = (await platforms.start('new', { of: old.url })).sequencer;
  expect(clock.state).toMatchObject({ held: true, cause: 'start' });
  expect(clock.uptime()).toBeGreaterThanOrEqual(uptime_ms);
});
