// The machines of checkpoints and migrations, as models: every state by a shortest path, every event that a state does not list
// refused, and the assets of a migration where the machine of an asset would bring each by itself.
import { describe, expect, it } from 'vitest';
import type { AnyStateMachine } from 'xstate';
import { getShortestPaths } from 'xstate/graph';
import { begin, step } from './effect.ts';
import {
  ASSETS_WHILE,
  CHECKPOINT_EVENTS,
  CHECKPOINT_STATES,
  checkpointMachine,
  MIGRATION_EVENTS,
  MIGRATION_STATES,
  type MigrationState,
  migrationMachine,
} from './migration.ts';
import { type AssetEvent, advance } from './protection.ts';
import type { AssetState } from './words.ts';

const MACHINES = [
  {
    name: 'checkpoint',
    machine: checkpointMachine as AnyStateMachine,
    states: CHECKPOINT_STATES as readonly string[],
    events: CHECKPOINT_EVENTS as readonly string[],
    accepted: {
      snapshotting: ['continued', 'snapshotted', 'abandoned'],
      certifying: ['certified'],
      certified: [],
      abandoned: [],
    } as Record<string, string[]>,
    owed: { snapshotting: 'snapshot', certifying: 'certify' } as Record<string, string>,
  },
  {
    name: 'migration',
    machine: migrationMachine as AnyStateMachine,
    states: MIGRATION_STATES as readonly string[],
    events: MIGRATION_EVENTS as readonly string[],
    accepted: {
      preparing: ['checkpointed', 'rolled_back'],
      migrating: ['completed', 'rolled_back'],
      moving: ['continued', 'moved'],
      restoring: ['continued', 'restored'],
      migrated: [],
      rolled_back: [],
    } as Record<string, string[]>,
    owed: { moving: 'move', restoring: 'restore' } as Record<string, string>,
  },
];

describe.each(MACHINES)('the $name machine', ({ machine, states, events, accepted, owed }) => {
  it('reaches every state by a shortest path', () => {
    const paths = getShortestPaths(machine, { input: { number: 3 }, events: events.map((type) => ({ type })) });
    expect(new Set(paths.map((path) => path.state.value))).toEqual(new Set(states));
  });

  it('refuses every event that a state does not list, and owes its effect on each way in', () => {
    for (const state of states) {
      for (const type of events) {
        const kept = { version: 1, value: state, context: { number: 3 } };
        const stepped = step(machine, kept, { type });
        if (!accepted[state]!.includes(type)) {
          expect(stepped).toEqual({ ok: false, code: 'event_not_accepted' });
          continue;
        }
        if (!stepped.ok) throw new Error(`${state} refuses ${type}`);
        const kind = owed[stepped.snapshot.value as string];
        expect(stepped.effects).toEqual(kind === undefined ? [] : [{ kind, subject: 3 }]);
      }
    }
    const first = owed[states[0]!];
    const { effects } = begin(machine, 1, { number: 3 });
    expect(effects).toEqual(first === undefined ? [] : [{ kind: first, subject: 3 }]);
  });
});

describe('the assets of a migration', () => {
  const ways: [events: AssetEvent['type'][], through: MigrationState[]][] = [
    [
      ['migration_started', 'checkpointed', 'completed'],
      ['preparing', 'migrating', 'moving'],
    ],
    [
      ['migration_started', 'checkpointed', 'rolled_back'],
      ['preparing', 'migrating', 'restoring'],
    ],
  ];

  it.each(ways)('go the way of the asset machine: %j', (events, through) => {
    let state: AssetState = 'Active';
    events.forEach((type, i) => {
      const stepped = advance(state, { type });
      if (!stepped.ok) throw new Error(`${state} refuses ${type}`);
      state = stepped.state;
      expect(state).toBe(ASSETS_WHILE[through[i]!]);
    });
  });

  it('are themselves again once it is over', () => {
    expect([ASSETS_WHILE.migrated, ASSETS_WHILE.rolled_back]).toEqual([null, null]);
  });
});
