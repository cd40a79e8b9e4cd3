// What goes wrong at the predecessor itself: whatever throws on the way, and whatever takes too long, everything is admitted again.
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { base64 } from '../../actors/encoding.ts';
import { enveloped, until } from '../../test/house.ts';
import { Petitioner } from '../../test/petitioner.ts';
import { allow, type Enclave, measurementOf, Platforms } from '../../test/succession.ts';
import { Fault } from '../fault.ts';
import type { Hold } from '../store.ts';
import { isEndSealed } from './record.ts';

const GOES_ON = 'http://127.0.0.1:9';
const busy = () => new Fault({ code: 'store_busy', waiting: 1 });

let platforms: Platforms;
let old: Enclave;
beforeAll(async () => {
  platforms = new Platforms();
  const more = { handover: { idle_timeout_ms: 2_000, transfer_timeout_ms: 8_000 } };
  old = await platforms.start('old', { more });
  await allow(old, await measurementOf(platforms, 'new'));
});
afterAll(() => platforms[Symbol.asyncDispose]());
beforeEach(async () => {
  await old.sequencer.handover.cancel();
  old.sequencer.handover.open(GOES_ON);
});

async function begun(): Promise<Petitioner> {
  const successor = new Petitioner(platforms, old.url);
  await successor.hello();
  expect(await successor.open()).toMatchObject({ status: 200 });
  return successor;
}

async function admits(): Promise<void> {
  const { sequencer } = old;
  expect((await sequencer.submitEncrypted(await enveloped(sequencer))).ok).toBe(true);
  await sequencer.createBatch();
}

/** The store as it is, but for what is committed through the hold. */
function holding(commit: (hold: Hold) => Hold['commit']): void {
  const { store } = old.sequencer;
  const hold = store.hold.bind(store);
  vi.spyOn(store, 'hold').mockImplementationOnce(() => {
    const real = hold();
    return { commit: commit(real), release: () => real.release() };
  });
}

it('a hold that can not be written is given back', async () => {
  holding(() => () => Promise.reject(busy()));
  const successor = new Petitioner(platforms, old.url);
  await successor.hello();
  expect((await successor.open()).status).toBeGreaterThanOrEqual(500);
  expect(old.sequencer.handover.state).toBe('open');
  await admits();
});

it('a keyset that nothing can be encrypted to gives everything back', async () => {
  const successor = new Petitioner(platforms, old.url);
  await successor.hello();
  // Coefficients beyond the modulus: FIPS 203, section 7.2, refuses the key.
  const handover = base64(new Uint8Array(1_216).fill(0xff));
  expect((await successor.open({ keyset: { handover } })).status).toBeGreaterThanOrEqual(500);
  expect(old.sequencer.handover.state).toBe('open');
  await admits();
});

it('an end that can not be written is waited for no longer than a silent successor', async () => {
  let commits = 0;
  // The first asks whether the state is whole.
  holding((hold) => (step) => (++commits === 1 ? hold.commit(step) : Promise.reject(busy())));
  const successor = await begun();
  await successor.take();
  expect((await successor.accept()).status).toBeGreaterThanOrEqual(500);
  await until(() => old.sequencer.handover.state === 'open');
  await admits();
});

it('a transfer that is asked for on and on ends all the same', async () => {
  const successor = await begun();
  await until(async () => (await successor.ask(0)).status === 409);
  expect(old.sequencer.handover.state).toBe('open');
  await admits();
});

it('five that have come to nothing close the handover, until it is opened again', async () => {
  for (let nth = 0; nth < 5; nth++) await begun();
  const last = new Petitioner(platforms, old.url);
  await last.hello();
  expect(await last.open()).toMatchObject({ body: { code: 'handover_not_open' } });
  expect(old.sequencer.handover.state).toBe('none');
  await admits();
  expect(await new Petitioner(platforms, old.url).hello()).toMatchObject({ body: { code: 'handover_not_open' } });
  old.sequencer.handover.open(GOES_ON);
  await begun();
});

it('an end that waits for its turn while the transfer is dropped is none', async () => {
  const taken = Promise.withResolvers<void>();
  const dropped = Promise.withResolvers<void>();
  let commits = 0;
  holding((hold) => async (step) => {
    if (++commits === 2) {
      taken.resolve();
      await dropped.promise;
    }
    return hold.commit(step);
  });
  const successor = await begun();
  await successor.take();
  const said = successor.accept();
  await taken.promise;
  const stopping = old.sequencer.handover.stop();
  expect(old.sequencer.handover.state).toBe('open');
  dropped.resolve();
  expect(await said).toMatchObject({ body: { code: 'handover_session_unknown' } });
  await stopping;
  expect(isEndSealed(old.sequencer.store)).toBe(false);
  await admits();
});
