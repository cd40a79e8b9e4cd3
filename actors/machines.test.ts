import { describe, expect, it } from 'vitest';
import { getShortestPaths } from 'xstate/graph';
import { begin, step } from './effect.ts';
import { EPOCH_STATES, epochMachine } from './epoch.ts';
import { BATCH_STATES, batchMachine } from './sequencing.ts';

const machines = [
  {
    name: 'batch',
    machine: batchMachine,
    input: { height: 7 },
    states: BATCH_STATES,
    events: ['opened', 'ordered', 'signed', 'sealed'],
    accepted: { opening: ['opened', 'ordered'], signing: ['signed'], sealing: ['sealed'], sealed: [] },
  },
  {
    name: 'epoch',
    machine: epochMachine,
    input: { epoch: 1 },
    states: EPOCH_STATES,
    events: ['activated', 'superseded', 'retired'],
    accepted: { pending: ['activated'], active: ['superseded'], grace: ['retired'], retired: [] },
  },
] as const;

describe.each(machines)('the $name machine', ({ machine, input, states, events, accepted }) => {
  it('reaches every state by a shortest path', () => {
    const paths = getShortestPaths(machine as typeof epochMachine, {
      input: input as { epoch: number },
      events: events.map((type) => ({ type })) as never,
    });
    expect(new Set(paths.map((path) => path.state.value))).toEqual(new Set(states));
  });

  it('refuses every event that a state does not list', () => {
    for (const state of states) {
      for (const type of events) {
        const kept = { version: 1, value: state, context: { ...input } };
        const stepped = step(machine as typeof epochMachine, kept, { type } as never);
        const listed = (accepted as Record<string, readonly string[]>)[state]!.includes(type);
        expect([state, type, stepped.ok]).toEqual([state, type, listed]);
      }
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
