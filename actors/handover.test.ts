// Which evidence is of the enclave that an order lets succeed: all that the order names, and nothing beside it.
import { describe, expect, it } from 'vitest';
import type { Measurement } from './act.ts';
import type { VerifiedEvidence } from './evidence.ts';
import { isMeasured, mayImport } from './handover.ts';

const register = (byte: string) => `0x${byte.repeat(48)}`;
const registers = { mrtd: register('01'), rtmr0: register('02'), rtmr1: register('03'), rtmr2: register('04') };
const app = `0x${'05'.repeat(32)}`;
const tdx = (compose_hash: string | null): Measurement => ({ quote_type: 'TDX', ...registers, compose_hash });
const found = (rtmr3: string, compose_hash: string | null) =>
  ({ measurements: { ...registers, rtmr3 }, compose_hash }) as VerifiedEvidence;

describe('a measurement of TDX', () => {
  it('names one app by its compose hash', () => {
    expect(isMeasured(tdx(app), found(register('09'), app))).toBe(true);
    expect(isMeasured(tdx(app), found(register('09'), `0x${'06'.repeat(32)}`))).toBe(false);
    expect(isMeasured(tdx(app), found(register('09'), null))).toBe(false);
  });

  it('without a compose hash names a system that loads no app: neither a logged one, nor one whose log is kept back', () => {
    expect(isMeasured(tdx(null), found(register('00'), null))).toBe(true);
    expect(isMeasured(tdx(null), found(register('09'), app))).toBe(false);
    expect(isMeasured(tdx(null), found(register('09'), null))).toBe(false);
  });

  it.each(['mrtd', 'rtmr0', 'rtmr1', 'rtmr2'] as const)('names %s', (name) => {
    const good = found(register('00'), null);
    const other = { ...good, measurements: { ...good.measurements, [name]: register('08') } } as VerifiedEvidence;
    expect(isMeasured(tdx(null), other)).toBe(false);
  });
});

it('an order is in force once the agreed time has come, and the daemon has run for as long', () => {
  const allowed = { measurement: tdx(null), in_force_after_ms: 100, in_force_after_uptime_ms: 50, leaf_index: 3 };
  const may = (aging_ms: number, uptime_ms: number) =>
    mayImport([allowed], found(register('00'), null), { aging_ms, uptime_ms });
  expect(may(100, 50)).toEqual({ ok: true, by: allowed });
  for (const early of [may(99, 50), may(100, 49)]) expect(early).toMatchObject({ code: 'successor_not_in_force' });
  expect(mayImport([], found(register('00'), null), { aging_ms: 100, uptime_ms: 50 }).ok).toBe(false);
});
