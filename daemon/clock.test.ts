// The host sets the clock of a whole daemon: while nobody has agreed nothing expires, decays, retires or is signed for a name, and
// admission goes on; then all of it does. Both clocks are the test's, and test/faketime.test.ts sets that of a real process.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Act } from '../actors/act.ts';
import { fromBase64 } from '../actors/encoding.ts';
import { makeAdmin } from '../test/admin.ts';
import { enveloped, journaled, type Overrides, quiet, settings } from '../test/house.ts';
import { itLong, LONG } from '../test/long.ts';
import { ownerOf } from '../test/named.ts';
import { startRouter, type TestRouter } from './demo/router.ts';
import type { Logger } from './embedding.ts';
import { standing } from './epoch.ts';
import type { FaultCode } from './fault.ts';
import { createSequencer, type Sequencer } from './sequencer.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const admin = makeAdmin(1);

/** The host's clock, and one that nobody sets. */
class Hands {
  wall_ms = Date.now();
  monotonic_ms = 5;

  pass(ms: number): void {
    this.wall_ms += ms;
    this.monotonic_ms += ms;
  }

  set(ms: number): void {
    this.wall_ms += ms;
  }
}

let folder: string;
let hands: Hands;
let router: TestRouter;
let open: Sequencer[];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-clock-'));
  hands = new Hands();
  router = await startRouter(join(folder, 'router'));
  open = [];
});
afterEach(async () => {
  await Promise.all(open.map((each) => each.close(0)));
  await router[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function start(
  overrides: Overrides = { admin: { keys: [admin.public_key] } },
  log: Logger = quiet,
): Promise<Sequencer> {
  const config = settings(join(folder, 'state'), {
    names: { router: router.url, read_back_every: 0, interval_s: 3_600, lifetime_s: 7_200, worker: true },
    seal: { interval_ms: 0 },
    rotation: { grace_s: 3_600, interval_s: 0 },
    risk: { half_life_d: 1, fall_s: 0, rise_s: 1 },
    ...overrides,
  });
  const now = () => hands.wall_ms;
  const monotonic = () => hands.monotonic_ms;
  const fatal = (error: unknown) => {
    throw error;
  };
  const made = await createSequencer({ config, log, now, monotonic, fatal });
  open.push(made);
  return made;
}

const about = (category: string, at_ms: number, id = 'again') => ({
  id,
  ...({ category, sub_category: 'ecdsa', severity: 0.6, confidence: 0.9, source: 'a test' } as const),
  ...{ timestamp: new Date(at_ms).toISOString(), description: 'Seen.', era_relevance: 'nisq', references: [] },
});
const threat = (sequencer: Sequencer) => sequencer.updateThreat(about('digital_signatures', hands.wall_ms) as never);

/** Everything that the clock ends: an epoch in grace, a threat, a name that is due within the hour. */
async function furnish(sequencer: Sequencer) {
  const early = await enveloped(sequencer);
  expect(await sequencer.rotate({ reason: 'manual', delay_blocks: 0 })).toMatchObject({ ok: true });
  await journaled(sequencer, 'rotation_executed', ({ to_epoch }) => to_epoch === 2);
  expect(await threat(sequencer)).toMatchObject({ ok: true });
  const { keyset } = sequencer.epoch.keyset;
  const owner = ownerOf(1);
  const record = await owner.record('/ipfs/a', 1n, hands.wall_ms + 2 * HOUR_MS);
  const enrolment = owner.enrolment(record, 2, fromBase64(keyset.names!));
  expect(await sequencer.names.enrol([enrolment])).toMatchObject([{ ok: true }]);
  await sequencer.names.run();
  expect(router.taken).toHaveLength(1);
  return { early, score: sequencer.risk.room.record.assessment.score, enrolment };
}

const agreed = (sequencer: Sequencer, by: string) => journaled(sequencer, 'clock_agreed', (data) => data.by === by);
const held = (sequencer: Sequencer, cause = 'step') =>
  journaled(sequencer, 'clock_held', (data) => data.cause === cause);
const order = (sequencer: Sequencer, time_ms: number) => {
  const act: Act = { type: 'accept_clock', time_ms };
  const not_after_ms = Math.max(hands.wall_ms, sequencer.now()) + 2 * DAY_MS;
  return sequencer.orders.execute(admin.order(sequencer.epoch.log.log_id, act, { not_after_ms }));
};

const STEPS_MS = [DAY_MS, -DAY_MS];
describe.each(LONG ? STEPS_MS : STEPS_MS.slice(0, 1))('a step of %d ms', (step_ms) => {
  it('ends nothing while it is held, lets envelopes in, and does what it means once an admin has agreed', async () => {
    const sequencer = await start();
    const { early, score, enrolment } = await furnish(sequencer);
    const before_ms = sequencer.now();

    hands.set(step_ms);
    hands.pass(2_000);
    // By the question itself, before any timer has looked.
    expect(sequencer.ready()).toMatchObject({ ready: false, reasons: ['clock_held'] });
    expect(sequencer.status().clock).toEqual({ held: true, cause: 'step', apart_ms: step_ms });
    await sequencer.clock.look();
    await held(sequencer);

    // The grace is an hour, the half-life a day, the name is due in an hour.
    expect(await sequencer.submitEncrypted(early)).toMatchObject({ ok: true });
    await journaled(sequencer, 'batch_created', () => true);
    const { header } = sequencer.recentBatches(1)[0]!;
    expect(header.timestamp_ms - before_ms).toBeLessThan(HOUR_MS);
    expect(header.risk_score).toBe(score);
    await sequencer.risk.room.assess();
    expect(sequencer.risk.room.record.assessment.score).toBe(score);
    await sequencer.names.run();
    expect(await sequencer.names.republish([entryOf(enrolment)])).toMatchObject([{ error: 'clock_held' }]);
    await expect(sequencer.names.threads.extend.add({} as never)).rejects.toMatchObject({
      code: 'clock_held' satisfies FaultCode,
    });
    expect(router.taken).toHaveLength(1);
    expect(standing(sequencer.store, 1)).toMatchObject({ state: 'grace' });
    expect(standing(sequencer.store, 1)?.barrier).toBeUndefined();

    // An order that was kept back, for another time.
    expect(await order(sequencer, before_ms)).toMatchObject({ code: 'act_refused' });
    expect(await order(sequencer, hands.wall_ms)).toMatchObject({ ok: true });
    await agreed(sequencer, 'order');
    expect(sequencer.status().clock).toEqual({ held: false, cause: null, apart_ms: 0 });
    expect(sequencer.ready().reasons).not.toContain('clock_held');
    expect(await order(sequencer, hands.wall_ms)).toMatchObject({ code: 'act_refused' });
    if (step_ms < 0) return;
    await journaled(sequencer, 'epoch_retired', ({ epoch }) => epoch === 1);
    await sequencer.risk.room.assess();
    expect(sequencer.risk.room.record.assessment.score).toBeLessThan(score);
    await sequencer.names.run();
    expect(router.taken).toHaveLength(2);
  });
});

it('during a stop is held by the next start, either way and however often it starts', async () => {
  const first = await start();
  const { score } = await furnish(first);
  await first.close();
  for (const [apart_ms, step_ms] of [
    [DAY_MS, DAY_MS],
    [-DAY_MS, -2 * DAY_MS],
  ] as const) {
    hands.set(step_ms);
    const sequencer = await start();
    expect(sequencer.status().clock).toEqual({ held: true, cause: 'start', apart_ms });
    expect(sequencer.ready().reasons).toContain('clock_held');
    expect(sequencer.now()).toBe(hands.wall_ms);
    await sequencer.names.run();
    await sequencer.risk.room.assess();
    expect(sequencer.risk.room.record.assessment.score).toBe(score);
    expect(standing(sequencer.store, 1)).toMatchObject({ state: 'grace' });
    // What is reported now is news, whatever the clock of decay shows.
    const news = about('network_layer', hands.wall_ms, 'news') as never;
    expect(await sequencer.updateThreat(news)).toMatchObject({ ok: true, results: [{ outcome: 'added' }] });
    await sequencer.risk.room.withdraw('news');
    await sequencer.close();
  }
  expect(router.taken).toHaveLength(1);
});

itLong(
  'by many starts adds up to no more than one, and neither does the time that the daemon says it has run',
  async () => {
    const minutes = 60_000;
    await (await start()).close();
    for (const [nth, apart_ms] of [50 * minutes, 100 * minutes].entries()) {
      hands.set(50 * minutes);
      hands.pass(2_000);
      const sequencer = await start();
      hands.pass(2_000);
      await sequencer.clock.look();
      // The default allows an hour.
      expect(sequencer.clock.state).toMatchObject({ held: nth === 1, apart_ms: apart_ms + (nth + 1) * 2_000 });
      expect(sequencer.clock.uptime()).toBe((nth + 1) * 2_000);
      await sequencer.close();
    }
    // Agreed by an order, it may go on from there.
    const sequencer = await start();
    expect(await order(sequencer, hands.wall_ms)).toMatchObject({ ok: true });
    await sequencer.close();
    hands.set(50 * minutes);
    expect((await start()).clock.held).toBe(false);
  },
);

itLong('held, takes no order whose delay it could not count', async () => {
  await (await start()).close();
  hands.set(-DAY_MS);
  const sequencer = await start();
  const measurement = { quote_type: 'SEV-SNP', measurement: `0x${'01'.repeat(48)}` } as const;
  const allowed = (in_force_after_ms = 0) => {
    const act: Act = { type: 'allow_measurement', measurement, in_force_after_ms };
    const not_after_ms = Math.max(hands.wall_ms, sequencer.now()) + 2 * DAY_MS;
    return sequencer.orders.execute(admin.order(sequencer.epoch.log.log_id, act, { not_after_ms }));
  };
  expect(await allowed()).toMatchObject({ code: 'act_refused', detail: expect.stringContaining('held') });
  hands.set(DAY_MS);
  await sequencer.clock.look();
  hands.pass(5_000);
  expect(await allowed()).toMatchObject({ ok: true });
  const { delay_ms } = sequencer.config.handover;
  expect(sequencer.handover.status().allowed).toMatchObject([
    { in_force_after_ms: hands.wall_ms + delay_ms, in_force_after_uptime_ms: 5_000 + delay_ms },
  ]);
});

itLong('during a stop is believed, and said so, where there is nobody who could agree', async () => {
  const warnings: string[] = [];
  await (await start({})).close();
  hands.set(DAY_MS);
  const sequencer = await start({}, { ...quiet, warn: (_: object, message: string) => void warnings.push(message) });
  await agreed(sequencer, 'start');
  expect(sequencer.status().clock.held).toBe(false);
  expect(warnings).toContainEqual(expect.stringContaining('nobody to ask'));
});

itLong('puts off no rotation: what the score asks for comes while the clock is held', async () => {
  const sequencer = await start();
  hands.set(DAY_MS);
  await sequencer.clock.look();
  const severe = ['ecdsa', 'rsa', 'bls'].map((sub_category) => ({
    ...about('digital_signatures', hands.wall_ms - DAY_MS, sub_category),
    ...{ sub_category, severity: 0.95, confidence: 0.95 },
  }));
  expect(await sequencer.updateThreat(severe as never)).toMatchObject({ ok: true });
  // As long as it has to last, by the clock that nobody sets.
  hands.pass(2_000);
  await sequencer.risk.room.assess();
  await journaled(sequencer, 'rotation_executed', ({ reason }) => reason === 'risk');
  expect(sequencer.clock.held).toBe(true);

  // It comes back, as if nothing had been.
  const { score } = sequencer.risk.room.record.assessment;
  hands.set(-DAY_MS);
  hands.pass(1_000);
  await sequencer.clock.look();
  await agreed(sequencer, 'host');
  expect(sequencer.now()).toBe(hands.wall_ms);
  await sequencer.risk.room.assess();
  // Seconds of a half-life of a day.
  expect(score - sequencer.risk.room.record.assessment.score).toBeLessThanOrEqual(1);
});

/** The worker protocol's, with a key of whoever. */
function entryOf(enrolment: unknown): object {
  const { encryptedIpnsKey, keyEpoch } = enrolment as { encryptedIpnsKey: string; keyEpoch: number };
  const latestCid = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy';
  return { encryptedIpnsKey, keyEpoch, ipnsName: ownerOf(2).name, latestCid, sequenceNumber: '1' };
}
