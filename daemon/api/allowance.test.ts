import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Allowance, clientOf } from './allowance.ts';

const OPTIONS = { rate_limit_per_s: 10, rate_limit_burst: 20, refused_penalty: 5 };

function clocked(options = OPTIONS, addresses_max?: number) {
  const clock = { ms: 0 };
  return {
    clock,
    allowance: new Allowance(
      () => options,
      () => clock.ms,
      addresses_max,
    ),
  };
}

describe('an allowance', () => {
  it('counts envelopes, takes all or none, and says when to come back', () => {
    const { clock, allowance } = clocked();
    expect(allowance.take('a', 20)).toEqual({ ok: true });
    expect(allowance.take('a', 15)).toEqual({ ok: false, retry_after_s: 2 });
    expect(allowance.take('b', 1)).toEqual({ ok: true });
    clock.ms += 1500;
    expect(allowance.take('a', 15)).toEqual({ ok: true });
    expect(allowance.take('a', 1)).toEqual({ ok: false, retry_after_s: 1 });
  });

  it('makes refused envelopes dear, to the debt of a burst of them', () => {
    const { clock, allowance } = clocked();
    allowance.take('a', 20);
    for (let i = 0; i < 20; i++) allowance.punish('a');
    expect(allowance.take('a', 1)).toEqual({ ok: false, retry_after_s: 11 });
    for (let i = 0; i < 100; i++) allowance.punish('a');
    expect(allowance.take('a', 1)).toEqual({ ok: false, retry_after_s: 11 });
    clock.ms += 10_100;
    expect(allowance.take('a', 1)).toEqual({ ok: true });
  });

  it('is endless for the trusted, and when it is off', () => {
    const { allowance } = clocked();
    for (let i = 0; i < 100; i++) expect(allowance.take(undefined, 256).ok).toBe(true);
    const off = clocked({ ...OPTIONS, rate_limit_per_s: 0 }).allowance;
    off.punish('a');
    expect(off.take('a', 1_000_000).ok).toBe(true);
    expect(off.size).toBe(0);
  });

  it('forgets who was quiet for longest', () => {
    const { allowance } = clocked(OPTIONS, 2);
    allowance.take('a', 20);
    allowance.take('b', 20);
    allowance.take('a', 1);
    allowance.take('c', 1);
    expect(allowance.size).toBe(2);
    expect(allowance.take('a', 1).ok).toBe(false);
    expect(allowance.take('b', 20).ok).toBe(true);
  });

  it('never lets more through than burst and rate allow', () => {
    const steps = fc.array(fc.tuple(fc.nat(500), fc.integer({ min: 1, max: 25 })), { maxLength: 100 });
    fc.assert(
      fc.property(steps, (taken) => {
        const { clock, allowance } = clocked();
        let passed = 0;
        for (const [wait_ms, envelopes] of taken) {
          clock.ms += wait_ms;
          if (allowance.take('a', envelopes).ok) passed += envelopes;
        }
        expect(passed).toBeLessThanOrEqual(
          OPTIONS.rate_limit_burst + (clock.ms / 1000) * OPTIONS.rate_limit_per_s + 1e-6,
        );
      }),
    );
  });
});

describe('who is charged', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:0db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
  ])('%s is %s', (address, client) => expect(clientOf(address)).toBe(client));
});
