// A greeting's nonce: nobody's but the one that it was given to, once, and not for long; and however many others are greeted.
import { expect, it } from 'vitest';
import { Greetings } from './arrivals.ts';

const digest = (byte: string) => `0x${byte.repeat(64)}`;
const nonce = (byte: string) => `0x${byte.repeat(32)}`;
const NOW_MS = 1_700_000_000_000;

it('is answered once by whom it was given to, while it is new', () => {
  const greetings = new Greetings();
  const given = greetings.give(nonce('01'), digest('09'), NOW_MS);
  const altered = `${given.slice(0, -1)}${given.endsWith('0') ? '1' : '0'}`;
  for (const [which, hello, from, at_ms] of [
    [altered, nonce('01'), digest('09'), NOW_MS],
    [given, nonce('02'), digest('09'), NOW_MS],
    [given, nonce('01'), digest('08'), NOW_MS],
    [given, nonce('01'), digest('09'), NOW_MS - 1],
    [given, nonce('01'), digest('09'), NOW_MS + 60_001],
    [nonce('ff'), nonce('01'), digest('09'), NOW_MS],
  ] as const) {
    expect(greetings.take(which, hello, from, at_ms)).toBe(false);
  }
  expect(new Greetings().take(given, nonce('01'), digest('09'), NOW_MS)).toBe(false);
  expect(greetings.take(given, nonce('01'), digest('09'), NOW_MS + 60_000)).toBe(true);
  expect(greetings.take(given, nonce('01'), digest('09'), NOW_MS + 60_000)).toBe(false);
});

it('is not forgotten because others greet', () => {
  const greetings = new Greetings();
  const given = greetings.give(nonce('01'), digest('09'), NOW_MS);
  for (let i = 0; i < 1_000; i++) greetings.give(nonce('02'), digest('09'), NOW_MS + i);
  expect(greetings.take(given, nonce('01'), digest('09'), NOW_MS + 1_000)).toBe(true);
});
