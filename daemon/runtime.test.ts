import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { setup } from 'xstate';
import { EFFECT, type Effect } from '../actors/effect.ts';
import { Fault } from './fault.ts';
import { type MachineKind, type Performer, Runtime } from './runtime.ts';
import { openStore, type Store } from './store.ts';

// A machine with one stage: `opening` owes `open`, `opened` ends it.
const machine = setup({
  types: {} as { context: { n: number }; input: { n: number }; events: { type: 'opened' } },
  actions: { [EFFECT]: (_, _effect: Effect) => {} },
}).createMachine({
  context: ({ input }) => ({ n: input?.n ?? 0 }),
  initial: 'opening',
  states: {
    opening: {
      entry: { type: EFFECT, params: ({ context }) => ({ kind: 'open', subject: context.n }) },
      on: { opened: 'done' },
    },
    done: { type: 'final' },
  },
});
const KIND: MachineKind<typeof machine> = { name: 'test', version: 1, machine };

let folder: string;
let store: Store;
const fatals: unknown[] = [];

const open = () =>
  openStore({
    folder,
    key: new Uint8Array(32).fill(7),
    map_bytes_max: 2 ** 26,
    free_bytes_min: 0,
    commit_steps_max: 100,
    retry_ms: 10,
    schema: { version: 1, migrations: [] },
  });

const quiet = { warn: () => {}, error: () => {} };
const start = (performer: Performer<never>) => {
  const runtime = new Runtime({ store, log: quiet, fatal: (error) => fatals.push(error) });
  runtime.start([performer as Performer]);
  return runtime;
};

/** Performs by waiting for `release(n)`, so that a test decides the order of outcomes. */
function gated(first = 0) {
  const gates = new Map<number, PromiseWithResolvers<string>>();
  const gate = (n: number) => gates.get(n) ?? gates.set(n, Promise.withResolvers()).get(n)!;
  const settled: number[] = [];
  const started: number[] = [];
  const performer: Performer<string> = {
    kind: 'open',
    concurrency: 3,
    timeout_ms: 10_000,
    first: () => first,
    perform: (n) => {
      started.push(n);
      return gate(n).promise;
    },
    settle: (step, n, outcome) => {
      step.send(KIND, n, { type: 'opened' });
      step.journal('settled', { n, outcome }, 0);
      return { next: n + 1, done: () => settled.push(n) };
    },
  };
  return { performer: performer as Performer<never>, gate, settled, started };
}

const never = new AbortController().signal;
const states = (count: number) => Array.from({ length: count }, (_, n) => store.get('machines', `test/${n}`)?.value);

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-runtime-'));
  store = await open();
  fatals.length = 0;
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

describe('the runtime', () => {
  it('settles outcomes in the order of their subjects, whatever comes first', async () => {
    const { performer, gate, settled, started } = gated();
    const runtime = start(performer);
    await runtime.commit((step) => {
      for (const n of [0, 1, 2]) step.begin(KIND, n, { n });
    });
    expect(started).toEqual([0, 1, 2]);
    for (const n of [2, 1, 0]) gate(n).resolve(`outcome ${n}`);
    await runtime.drained(never);
    expect(settled).toEqual([0, 1, 2]);
    expect(states(3)).toEqual(['done', 'done', 'done']);
    expect(store.count('outbox')).toBe(0);
  });

  it('performs no more at once than its bound', async () => {
    const { performer, gate, started } = gated();
    const runtime = start(performer);
    await runtime.commit((step) => {
      for (let n = 0; n < 10; n++) step.begin(KIND, n, { n });
    });
    expect(started).toEqual([0, 1, 2]);
    for (let n = 0; n < 10; n++) gate(n).resolve('');
    await runtime.drained(never);
    expect(states(10).every((state) => state === 'done')).toBe(true);
  });

  it('performs what is owed again before what waits for its turn', async () => {
    const { performer, gate, started } = gated();
    let again = true;
    const refilled: Performer<never> = {
      ...performer,
      concurrency: 1,
      settle: (step, n, outcome) => {
        if (n > 0 || !again) return performer.settle(step, n, outcome);
        again = false;
        step.owe({ kind: 'open', subject: n });
        return { next: n };
      },
    };
    const runtime = start(refilled);
    await runtime.commit((step) => {
      for (const n of [0, 1]) step.begin(KIND, n, { n });
    });
    for (const n of [0, 1]) gate(n).resolve('');
    const end = AbortSignal.timeout(2_000);
    await runtime.drained(end);
    expect(started).toEqual([0, 0, 1]);
    expect(states(2)).toEqual(['done', 'done']);
  });

  it('owes nothing when a step throws', async () => {
    const { performer, started } = gated();
    const runtime = start(performer);
    const failing = runtime.commit((step) => {
      step.begin(KIND, 0, { n: 0 });
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(started).toEqual([]);
    expect(store.count('outbox')).toBe(0);
    expect(store.get('machines', 'test/0')).toBeUndefined();
  });

  it('takes up at boot what was owed and not settled', async () => {
    const before = gated();
    const runtime = start(before.performer);
    await runtime.commit((step) => {
      for (const n of [0, 1, 2]) step.begin(KIND, n, { n });
    });
    before.gate(0).resolve('first');
    while (before.settled.length === 0) await new Promise((resolve) => setImmediate(resolve));
    runtime.stop();
    await store.close();
    store = await open();

    const after = gated(1);
    const again = start(after.performer);
    expect(after.started).toEqual([1, 2]);
    for (const n of [2, 1]) after.gate(n).resolve('');
    await again.drained(never);
    expect(after.settled).toEqual([1, 2]);
    expect(states(3)).toEqual(['done', 'done', 'done']);
  });

  it('tries a fault again, says so meanwhile, and goes on', async () => {
    const { performer } = gated();
    let tries = 0;
    const flaky: Performer<never> = {
      ...performer,
      perform: async () => {
        tries += 1;
        if (tries < 3) throw new Fault({ code: 'worker_failed', job: 'open', reason: 'test' });
        return 'third' as never;
      },
    };
    const runtime = start(flaky);
    await runtime.commit((step) => step.begin(KIND, 0, { n: 0 }));
    while (tries < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(runtime.state().faults.open).toMatchObject({ message: expect.stringContaining('open') });
    await runtime.drained(never);
    expect(tries).toBe(3);
    expect(runtime.state()).toEqual({ owed: 0, faults: {} });
    expect(fatals).toEqual([]);
  });

  it('ends the process on a broken invariant', async () => {
    const { performer, gate } = gated();
    const runtime = start(performer);
    await runtime.commit((step) => step.begin(KIND, 0, { n: 0 }));
    // The machine is done before its outcome comes: an inside event that isn't accepted is a bug.
    await runtime.commit((step) => step.send(KIND, 0, { type: 'opened' }));
    gate(0).resolve('');
    while (fatals.length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(String(fatals[0])).toContain('test/0 accepts no opened while done');
    expect(store.count('outbox')).toBe(1);
  });
});
