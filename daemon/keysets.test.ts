import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { hex } from '../actors/encoding.ts';
import type { Attestation } from '../actors/quote.ts';
import { Fault } from './fault.ts';
import { KeysetQuote } from './keysets.ts';

const DAY_MS = 86_400_000;
const failed = () => Promise.reject(new Fault({ code: 'quote_failed', provider: 'test' }));

let now_ms: number;
let answers: (() => Promise<Attestation>)[];
let nonces: (Uint8Array | undefined)[];
let quote: KeysetQuote;
const faults: string[] = [];

/** A platform that answers as a test says, or else with the number of the quote. */
function makeQuote(): KeysetQuote {
  const attest = ({ nonce }: { nonce?: Uint8Array }) => {
    nonces.push(nonce);
    return answers.shift()?.() ?? Promise.resolve(nonces.length as never);
  };
  return new KeysetQuote({
    attester: { notAfter: (from_ms: number) => from_ms + DAY_MS, attest } as never,
    keyset: () => ({ digest: hex(new Uint8Array(64)), keyset: {} }) as never,
    now: () => now_ms,
    onRenewed: () => {},
    onFault: ({ code }) => faults.push(code),
    fatal: (error) => {
      throw error;
    },
  });
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  now_ms = 0;
  answers = [];
  nonces = [];
  faults.length = 0;
  quote = makeQuote();
});
afterEach(() => {
  quote.stop();
  vi.useRealTimers();
});

const pass = async (time_ms: number) => {
  now_ms += time_ms;
  await vi.advanceTimersByTimeAsync(time_ms);
};

describe('the quote over the keyset', () => {
  it('is taken without being asked for, and anew after half of its life', async () => {
    quote.start();
    await pass(0);
    expect(nonces).toEqual([undefined]);
    await pass(DAY_MS / 2 - 1);
    expect(await quote.give()).toBe(1);
    await pass(1);
    expect(await quote.give()).toBe(2);
    quote.stop();
    await pass(DAY_MS);
    expect(nonces.length).toBe(2);
  });

  it('is made once for all who wait for it, but for each nonce anew', async () => {
    expect(await Promise.all([quote.give(), quote.give(), quote.give()])).toEqual([1, 1, 1]);
    expect(await quote.give(Uint8Array.of(7))).toBe(2);
    expect(nonces).toEqual([undefined, Uint8Array.of(7)]);
  });

  it('is asked for again when the platform fails; the one before serves as long as it lives', async () => {
    answers = [failed];
    quote.start();
    await pass(0);
    expect(faults).toEqual(['quote_failed']);
    await pass(10_000);
    expect(await quote.give()).toBe(2);
    answers = [failed, failed, failed, failed];
    now_ms += DAY_MS / 2;
    expect(await quote.give()).toBe(2);
    expect(await quote.give()).toBe(2);
    now_ms += DAY_MS / 2;
    await expect(quote.give()).rejects.toMatchObject({ code: 'quote_failed' });
  });
});
