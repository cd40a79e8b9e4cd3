import { describe, expect, it } from 'vitest';
import { getShortestPaths } from 'xstate/graph';
import { begin, step } from './effect.ts';
import { admits, EPOCH_STATES, type EpochEvent, epochMachine, type Standing } from './epoch.ts';
import { BATCH_STATES, batchMachine } from './sequencing.ts';

const machines = [
  {
    name: 'batch',
    machine: batchMachine,
    input: { height: 7 },
    states: BATCH_STATES,
    events: [{ type: 'opened' }, { type: 'ordered' }, { type: 'signed' }, { type: 'sealed' }],
    accepted: [
      ['opening', {}, ['opened', 'ordered']],
      ['signing', {}, ['signed']],
      ['sealing', {}, ['sealed']],
      ['sealed', {}, []],
    ],
  },
  {
    name: 'epoch',
    machine: epochMachine,
    input: { epoch: 1 },
    states: EPOCH_STATES,
    events: [
      { type: 'activated' },
      { type: 'superseded', grace_ends_ms: 9 },
      { type: 'closed', barrier: 5 },
      { type: 'forced' },
      { type: 'retired' },
    ],
    // Grace is closed once, and nothing retires that still admits.
    accepted: [
      ['pending', {}, ['activated']],
      ['active', {}, ['superseded']],
      ['grace', { grace_ends_ms: 9 }, ['closed']],
      ['grace', { grace_ends_ms: 9, barrier: 5 }, ['forced', 'retired']],
      ['grace', { grace_ends_ms: 9, barrier: 5, forced: true }, ['forced', 'retired']],
      ['retired', { grace_ends_ms: 9, barrier: 5 }, []],
    ],
  },
] as const;

describe.each(machines)('the $name machine', ({ machine, input, states, events, accepted }) => {
  it('reaches every state by a shortest path', () => {
    const paths = getShortestPaths(machine as typeof epochMachine, {
      input: input as { epoch: number },
      events: events as never,
    });
    expect(new Set(paths.map((path) => path.state.value))).toEqual(new Set(states));
  });

  it('refuses every event that a state does not list', () => {
    expect(new Set(accepted.map(([state]) => state))).toEqual(new Set(states));
    for (const [state, context, listed] of accepted) {
      for (const event of events) {
        const kept = { version: 1, value: state, context: { ...input, ...context } };
        const stepped = step(machine as typeof epochMachine, kept, event as never);
        const expected = (listed as readonly string[]).includes(event.type);
        expect([state, event.type, stepped.ok]).toEqual([state, event.type, expected]);
        if (!stepped.ok) expect(stepped).toEqual({ ok: false, code: 'event_not_accepted' });
      }
    }
  });
});

describe('an epoch', () => {
  const life: [event: EpochEvent, standing: Omit<Standing, 'epoch'>, before: boolean, after: boolean][] = [
    [{ type: 'activated' }, { state: 'active' }, true, true],
    [{ type: 'superseded', grace_ends_ms: 9 }, { state: 'grace', grace_ends_ms: 9 }, true, false],
    [{ type: 'closed', barrier: 5 }, { state: 'grace', grace_ends_ms: 9, barrier: 5 }, false, false],
    [{ type: 'retired' }, { state: 'retired', grace_ends_ms: 9, barrier: 5 }, false, false],
  ];

  it('admits while it is active, and in grace until that ends or is closed', () => {
    let { snapshot } = begin(epochMachine, 1, { epoch: 3 });
    expect(admits({ state: 'pending', epoch: 3 }, 0)).toBe(false);
    for (const [event, expected, before, after] of life) {
      const stepped = step(epochMachine, snapshot, event);
      if (!stepped.ok) throw new Error(stepped.code);
      snapshot = stepped.snapshot;
      const standing = { ...(snapshot.context as Standing), state: snapshot.value as Standing['state'] };
      expect(standing).toEqual({ ...expected, epoch: 3 });
      expect([admits(standing, 8), admits(standing, 9)]).toEqual([before, after]);
    }
  });
});

describe('effects of a batch', () => {
  it('are owed on the way in, once for each stage', () => {
    const start = begin(batchMachine, 1, { height: 7 });
    expect(start).toEqual({
      snapshot: { version: 1, value: 'opening', context: { height: 7 } },
      effects: [{ kind: 'open', subject: 7 }],
    });
    const again = step(batchMachine, start.snapshot, { type: 'ordered' });
    expect(again).toMatchObject({ ok: true, effects: [{ kind: 'open', subject: 7 }] });
    const opened = step(batchMachine, start.snapshot, { type: 'opened' });
    expect(opened).toMatchObject({ ok: true, snapshot: { value: 'signing' }, effects: [{ kind: 'sign', subject: 7 }] });
    const signed = step(batchMachine, opened.ok ? opened.snapshot : start.snapshot, { type: 'signed' });
    expect(signed).toMatchObject({ ok: true, snapshot: { value: 'sealing' }, effects: [] });
  });
});
