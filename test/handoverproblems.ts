// How each problem of a handover comes about, over real HTTP, for the table of test/errors.test.ts: on one daemon that goes from a handover
// that is not open to its end, with everything that can be wrong on the way. It is gone through once, whichever is asked for.
import type { ProblemCode } from '../daemon/api/problem.ts';
import { meta } from '../daemon/records.ts';
import { until } from './house.ts';
import { Petitioner, post, type Said } from './petitioner.ts';
import { allow, measurementOf, Platforms } from './succession.ts';

export type HandoverProblem = Exclude<
  Extract<ProblemCode, `handover_${string}` | `successor_${string}` | 'handed_over'>,
  'handover_no_url'
>;

let said: Promise<Record<HandoverProblem, Said>> | undefined;

export async function handoverProblem(code: HandoverProblem): Promise<Said> {
  said ??= provoke();
  return (await said)[code];
}

async function provoke(): Promise<Record<HandoverProblem, Said>> {
  await using platforms = new Platforms();
  const old = await platforms.start('old', { more: { handover: { drain_timeout_ms: 1_000 } } });
  const { handover, store } = old.sequencer;
  const made = () => new Petitioner(platforms, old.url);
  const whole = () => until(() => meta(store, 'log').size === meta(store, 'log').sealed);
  const opened = async (wish: Parameters<Petitioner['open']>[0] = {}) => {
    const successor = made();
    await successor.hello();
    return successor.open(wish);
  };

  const handover_not_open = await made().hello();
  handover.open('http://127.0.0.1:9');
  const successor_other_schema = await made().hello(4_711);
  const successor_not_allowed = await opened();
  const measurement = await measurementOf(platforms, 'new');
  await allow(old, measurement, 3_600_000);
  const successor_not_in_force = await opened();
  await allow(old, measurement);
  await whole();
  const successor_keyset_refused = await opened({ keyset: { epoch: 7 } });
  const successor_evidence_refused = await opened({ quoted_nonce: `0x${'11'.repeat(32)}` });
  // As while a batch is on its way.
  const owed = await store.commit((tx) => tx.effect({ kind: 'move', subject: 0 }));
  const handover_not_drained = await opened();
  await store.commit((tx) => tx.settle(owed));
  const successor = made();
  await successor.hello();
  await successor.open();
  const handover_running = await post(old.url, 'transactions', []);
  const other = { session: `0x${'00'.repeat(16)}`, index: 0 };
  const handover_session_unknown = await post(old.url, 'handover/chunk', other);
  await successor.take();
  const handover_not_accepted = await successor.accept({ asset_count: 1 });
  await successor.accept();
  const handed_over = await post(old.url, 'transactions', []);
  const handover_ended = await made().hello();
  return {
    ...{ handover_not_open, successor_other_schema, successor_not_allowed, successor_not_in_force },
    ...{ successor_keyset_refused, successor_evidence_refused, handover_not_drained, handover_running },
    ...{ handover_session_unknown, handover_not_accepted, handed_over, handover_ended },
  };
}
