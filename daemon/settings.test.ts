/** A reload is a transaction: whatever files come, what holds is the last one that was right, and nothing in between is seen. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../config/error.ts';
import { loadConfig } from '../config/load.ts';
import type { Config, Settings as Given } from '../config/schema.ts';
import { configDigest, Settings } from './settings.ts';

const configOf = (settings: object): Config => loadConfig({ settings: settings as Given, environment: {} }).config;

/** Settings over what `file.now` says, with everything that they did. */
function room(first: object = {}) {
  const file: { now: object } = { now: first };
  const entries: [type: string, data: Record<string, unknown>][] = [];
  const told: string[][] = [];
  let journal = async (type: string, data: object) => {
    entries.push([type, data as Record<string, unknown>]);
  };
  const settings = new Settings({
    config: configOf(first),
    load: () => configOf(file.now),
    journal: (type, data) => journal(type, data),
    onApplied: (changes) => told.push(changes.map(({ key }) => key)),
    now: () => 7,
  });
  const fail = (next: typeof journal) => {
    journal = next;
  };
  return { file, entries, told, settings, fail };
}

const effective = ({ view }: Settings): object => ({ ...view });

describe('a reload', () => {
  it('applies what is live, names what waits, and puts both into the journal before they hold', async () => {
    const { file, entries, told, settings, fail } = room();
    const { view } = settings;
    const ordering = () => view.ordering.mode;
    file.now = { ordering: { mode: 'risk_aware' }, chain: { chain_id: 10 }, seal: { interval_ms: 5 } };
    fail(async (type, data) => {
      expect(ordering()).toBe('hybrid');
      entries.push([type, data as never]);
    });
    expect(await settings.reload()).toMatchObject({ ok: true, waiting: ['chain.chain_id'] });
    expect([ordering(), view.seal.interval_ms, view.chain.chain_id]).toEqual(['risk_aware', 5, 31_337n]);
    const config_digest = configDigest(view);
    expect(entries).toEqual([
      [
        'config_reloaded',
        {
          changed: [
            { key: 'ordering.mode', before: 'hybrid', after: 'risk_aware' },
            { key: 'seal.interval_ms', before: 1000, after: 5 },
          ],
          waiting: ['chain.chain_id'],
          config_digest,
        },
      ],
    ]);
    expect(told).toEqual([['ordering.mode', 'seal.interval_ms']]);
    expect(settings.state).toEqual({
      config_digest,
      reloaded_at_ms: 7,
      waiting: ['chain.chain_id'],
      rejected_at_ms: null,
    });
  });

  it('of the same says nothing', async () => {
    const { entries, told, settings } = room();
    expect(await settings.reload()).toEqual({ ok: true, changed: [], waiting: [] });
    expect([entries, told, settings.counts]).toEqual([[], [], { applied: 0, unchanged: 1, rejected: 0 }]);
  });

  it('with a mistake keeps everything, says so once, and not to the public what it was', async () => {
    const { file, entries, settings } = room();
    const before = effective(settings);
    file.now = { ordering: { mode: 'secret-of-somebody' }, seal: { interval_ms: 5 } };
    for (const _again of [1, 2]) {
      const outcome = await settings.reload();
      expect(outcome).toMatchObject({ ok: false, code: 'config_invalid', issues: 1 });
      expect(outcome.ok ? '' : outcome.message).toContain('ordering.mode');
    }
    expect(effective(settings)).toEqual(before);
    expect(entries).toEqual([['config_rejected', { issues: 1 }]]);
    expect(settings.state.rejected_at_ms).toBe(7);
    file.now = {};
    await settings.reload();
    expect(settings.state.rejected_at_ms).toBeNull();
    expect(entries.at(-1)![0]).toBe('config_reloaded');
  });

  it('is refused where its live part does not go with what waits for a restart', async () => {
    const { file, settings } = room();
    file.now = { api: { envelopes_max: 10, rate_limit_burst: 10 }, seal: { interval_ms: 5 } };
    const outcome = await settings.reload();
    expect(outcome.ok ? '' : outcome.message).toContain('it needs a restart');
    expect([settings.view.api.rate_limit_burst, settings.view.seal.interval_ms]).toEqual([4000, 1000]);
  });

  it('changes nothing when the journal can’t take it, and works once it can', async () => {
    const { file, told, settings, fail } = room();
    file.now = { seal: { interval_ms: 5 } };
    fail(() => Promise.reject(new Error('disk')));
    await expect(settings.reload()).rejects.toThrow('disk');
    expect([settings.view.seal.interval_ms, settings.state.reloaded_at_ms, told]).toEqual([1000, null, []]);
    fail(async () => {});
    expect(await settings.reload()).toMatchObject({ ok: true });
    expect(settings.view.seal.interval_ms).toBe(5);
  });

  it('reads later than whoever asked for it, and one waits however many ask', async () => {
    const { file, settings } = room();
    file.now = { seal: { interval_ms: 1 } };
    const first = settings.reload();
    await Promise.resolve();
    file.now = { seal: { interval_ms: 2 } };
    const asked = Array.from({ length: 100 }, () => settings.reload());
    expect(new Set(asked).size).toBe(1);
    await Promise.all([first, ...asked]);
    expect(settings.view.seal.interval_ms).toBe(2);
    const { applied, unchanged } = settings.counts;
    expect(applied + unchanged).toBe(2);
  });

  it('lets go of what came before: a thousand leave one configuration', async () => {
    const { file, settings } = room();
    const refs: WeakRef<object>[] = [];
    for (let n = 0; n < 1000; n++) {
      file.now = n % 3 === 0 ? { seal: { interval_ms: -1 } } : { seal: { interval_ms: n + 1 } };
      await settings.reload();
      if (n % 100 === 1) refs.push(new WeakRef(settings.view.seal));
    }
    expect(settings.counts).toEqual({ applied: 666, unchanged: 0, rejected: 334 });
    await collected();
    expect(refs.filter((ref) => ref.deref() !== undefined)).toEqual([]);
  });
});

/** A WeakRef holds its target until the end of the job that looked at it. */
async function collected(): Promise<void> {
  const { setFlagsFromString } = await import('node:v8');
  const { runInNewContext } = await import('node:vm');
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 3; round++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
}

describe('any sequence of files', () => {
  const valid = fc.record(
    {
      ordering: fc.record({ mode: fc.constantFrom('risk_aware', 'hybrid'), fee_weight: fc.nat(1_000_000) }),
      seal: fc.record({ interval_ms: fc.nat(3_600_000) }),
      daemon: fc.record({ log_level: fc.constantFrom('info', 'debug') }),
      chain: fc.record({ chain_id: fc.integer({ min: 1, max: 5 }) }),
    },
    { requiredKeys: [] },
  );
  const invalid = fc.constantFrom<object>(
    { seal: { interval_ms: -1 } },
    { seal: { interval: 1 } },
    { sequencer: { batch_size: 60 } },
    { orderring: {} },
    { ordering: { mode: 'hybrid', fee_weight: 1.5 } },
  );
  const live = ({ ordering, seal, daemon }: Config) => ({ ordering, seal, daemon });

  it('ends in the last valid one', async () => {
    const sequences = fc.array(fc.oneof(valid, invalid), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(sequences, async (files) => {
        const { file, settings, entries } = room();
        let last: object = {};
        for (const next of files) {
          file.now = next;
          const { ok } = await settings.reload();
          expect(ok).toBe(isValid(next));
          if (ok) last = next;
        }
        const wanted = configOf(last);
        expect(live(settings.view)).toEqual(live(wanted));
        expect(settings.view.chain.chain_id).toBe(31_337n);
        expect(settings.state.waiting).toEqual(wanted.chain.chain_id === 31_337n ? [] : ['chain.chain_id']);
        const { config_digest } = settings.state;
        expect(config_digest).toBe(configDigest({ ...wanted, chain: { chain_id: 31_337n } }));
        const reloaded = entries.filter(([type]) => type === 'config_reloaded').at(-1);
        expect(reloaded?.[1].config_digest ?? config_digest).toBe(config_digest);
      }),
      { numRuns: 40 },
    );
  });
});

function isValid(settings: object): boolean {
  try {
    configOf(settings);
    return true;
  } catch (error) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
}
