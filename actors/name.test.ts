import { describe, expect, it } from 'vitest';
import { getShortestPaths, getSimplePaths } from 'xstate/graph';
import { begin, step } from './effect.ts';
import { type NameContext, type NameEvent, nameMachine, STALE_FAILURES } from './name.ts';
import { NAME_STATES, type NameState } from './words.ts';

const EVENTS: readonly NameEvent[] = [
  { type: 'due' },
  { type: 'taken' },
  { type: 'signed' },
  { type: 'sent' },
  { type: 'published' },
  { type: 'failed', reason: 'router_status_503' },
  { type: 'refused', reason: 'record_refused', detail: '400' },
  { type: 'updated' },
];

/** `updated` is taken everywhere. */
const LISTED: Record<NameState, readonly NameEvent['type'][]> = {
  due: ['taken', 'sent', 'failed', 'refused'],
  opening: ['signed', 'failed', 'refused'],
  signed: ['sent', 'due'],
  publishing: ['published', 'failed', 'refused'],
  published: ['due'],
  retrying: ['due'],
  stale: ['due'],
  quarantined: [],
};

const kept = (value: NameState, context: Partial<NameContext> = {}) => ({
  version: 1,
  value,
  context: { failures: 0, reason: null, unsent: false, ...context },
});
function later(from: ReturnType<typeof kept>, ...events: NameEvent[]) {
  return events.reduce((snapshot, event) => {
    const stepped = step(nameMachine, snapshot, event);
    if (!stepped.ok) throw new Error(`${String(snapshot.value)} refuses ${event.type}`);
    return stepped.snapshot as ReturnType<typeof kept>;
  }, from);
}
const FAIL: NameEvent = { type: 'failed', reason: 'router_timeout' };
const TRY: readonly NameEvent[] = [{ type: 'due' }, { type: 'sent' }];

describe('the machine of a name', () => {
  it('reaches every state by a shortest path', () => {
    const paths = getShortestPaths(nameMachine, {
      events: EVENTS as never,
      stopWhen: ({ context }) => context.failures > STALE_FAILURES,
    });
    expect(new Set(paths.map(({ state }) => state.value))).toEqual(new Set(NAME_STATES));
  });

  it('on every simple path counts failures in a row alone, and is stale exactly from the tenth on', () => {
    const paths = getSimplePaths(nameMachine, {
      events: EVENTS.filter(({ type }) => type !== 'refused') as never,
      serializeState: ({ value, context }) => `${String(value)} ${Math.min(context.failures, 2)}`,
      stopWhen: ({ context }) => context.failures > 2,
    });
    expect(paths.length).toBeGreaterThan(20);
    for (const { state, steps } of paths) {
      const events = steps.map(({ event }) => event.type as NameEvent['type']);
      const since = events.slice(events.lastIndexOf('published') + 1);
      expect(state.context.failures).toBe(since.filter((type) => type === 'failed').length);
      expect(state.value).not.toBe('stale');
    }
    let name = later(kept('due'), FAIL);
    for (let failures = 2; failures < STALE_FAILURES; failures++) {
      name = later(name, ...TRY, FAIL);
      expect(name).toEqual(kept('retrying', { failures, reason: 'router_timeout' }));
    }
    name = later(name, ...TRY, FAIL);
    expect(name.value).toBe('stale');
    expect(later(name, ...TRY, FAIL).value).toBe('stale');
    expect(later(name, ...TRY, { type: 'published' })).toEqual(kept('published'));
  });

  it('refuses every event that a state does not list', () => {
    for (const state of NAME_STATES) {
      for (const event of EVENTS) {
        const listed = event.type === 'updated' || LISTED[state].includes(event.type);
        const stepped = step(nameMachine, kept(state), event);
        expect([state, event.type, stepped.ok]).toEqual([state, event.type, listed]);
      }
    }
  });

  it('is due again from anywhere when its owner brings something newer, and then owes a new signature', () => {
    for (const state of NAME_STATES) {
      const updated = later(kept(state, { failures: 3, unsent: true }), { type: 'updated' });
      expect([state, updated]).toEqual([state, kept('due', { failures: 3 })]);
    }
  });

  it('keeps what was signed through retries until it is published', () => {
    const signed = later(begun(), { type: 'taken' }, { type: 'signed' });
    expect(signed).toEqual(kept('signed', { unsent: true }));
    const failed = later(signed, { type: 'sent' }, FAIL);
    expect(failed).toEqual(kept('retrying', { failures: 1, reason: 'router_timeout', unsent: true }));
    expect(later(failed, ...TRY, { type: 'published' })).toEqual(kept('published'));
    expect(later(signed, { type: 'due' })).toEqual(kept('due', { unsent: true }));
  });

  it('says why it is left alone', () => {
    const refused = later(kept('publishing', { unsent: true }), {
      type: 'refused',
      reason: 'record_refused',
      detail: '400',
    });
    expect(refused).toEqual(kept('quarantined', { reason: 'record_refused: 400' }));
  });
});

const begun = () => begin(nameMachine, 1, undefined).snapshot as ReturnType<typeof kept>;
