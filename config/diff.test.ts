/** What a reload may apply, and that no change goes unseen. */
import { describe, expect, it } from 'vitest';
import { diff, LIVE_KEYS } from './diff.ts';
import { loadConfig } from './load.ts';
import { CONFIG_KEYS, type Config, setting } from './schema.ts';

const { config } = loadConfig({ environment: {} });

describe('diff', () => {
  it('is empty between two loads of the same', () => {
    expect(diff(config, loadConfig({ environment: {} }).config)).toEqual([]);
  });

  it('tells each change with both values, and which of them are live', () => {
    const after: Config = {
      ...config,
      chain: { chain_id: 10n },
      seal: { interval_ms: 0 },
      ordering: { ...config.ordering, mode: 'risk_aware' },
    };
    expect(diff(config, after)).toEqual([
      { key: 'chain.chain_id', before: 31_337n, after: 10n, live: false },
      { key: 'ordering.mode', before: 'hybrid', after: 'risk_aware', live: true },
      { key: 'seal.interval_ms', before: 1000, after: 0, live: true },
    ]);
  });

  it('compares lists by what is in them', () => {
    const with_ = (...keys: string[]): Config => ({ ...config, admin: { keys } });
    expect(diff(with_('a', 'b'), with_('a', 'b'))).toEqual([]);
    for (const other of [with_('a'), with_('b', 'a'), with_()]) expect(diff(with_('a', 'b'), other)).toHaveLength(1);
  });

  it.each(CONFIG_KEYS)('sees a change of %s', (key) => {
    const [section = '', name = ''] = key.split('.');
    const after: Config = { ...config, [section]: { ...config[section as keyof Config], [name]: 'other' } };
    expect(diff(config, after)).toEqual([
      { key, before: setting(config, key), after: 'other', live: LIVE_KEYS.has(key) },
    ]);
  });

  it('lets nothing change live that a store, a key or a listener was built with', () => {
    const fixed = [
      'chain.',
      'keys.',
      'admin.',
      'attestation.',
      'quantum.',
      'signing.',
      'workers.',
      'feed.',
      'clock.',
      'mempool.',
    ];
    expect([...LIVE_KEYS].filter((key) => fixed.some((prefix) => key.startsWith(prefix)))).toEqual([]);
    expect(LIVE_KEYS.has('api.listen')).toBe(false);
  });
});
