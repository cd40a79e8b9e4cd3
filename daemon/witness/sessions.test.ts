// Greetings and channels of a witness: few, short-lived, each message once; and what the channel itself lets through.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { hex } from '../../actors/encoding.ts';
import { xwingKey } from '../../workers/xwing.ts';
import { box, openSecret, sealSecret, unbox } from './channel.ts';
import { type Greeted, Sessions } from './sessions.ts';

const { publicKey, handle } = xwingKey(new Uint8Array(32).fill(3));
const subject = new Uint8Array(64).fill(5);
const made = await sealSecret(publicKey, subject);
const greeted = (nonce: string): Greeted => ({
  ...{ log_id: hex(new Uint8Array(64)), primary_nonce: '0x', key: handle, subject },
  greeting: { witness_key: '', x_wing: '', nonce },
});

describe('sessions', () => {
  it('answer a greeting once, within its time, and let the oldest give way', () => {
    let now = 1_000;
    const sessions = new Sessions(() => now);
    for (let n = 0; n < 17; n++) sessions.greet(greeted(String(n)));
    expect(sessions.take('0')).toBeUndefined();
    expect(sessions.take('1')?.greeting.nonce).toBe('1');
    expect(sessions.take('1')).toBeUndefined();
    now += 60_001;
    expect(sessions.take('2')).toBeUndefined();
  });

  it('end, are few, and take each sequence once within a window', () => {
    let now = 0;
    const sessions = new Sessions(() => now);
    const { session } = sessions.open(made.keys, 100);
    expect([1, 1, 3, 2, 2].map((sequence) => sessions.takes(session, sequence))).toEqual([
      true,
      false,
      true,
      true,
      false,
    ]);
    expect(sessions.takes(session, 100)).toBe(true);
    expect([36, 37, 100].map((sequence) => sessions.takes(session, sequence))).toEqual([false, true, false]);
    now = 100;
    expect(sessions.find(session)).toBeUndefined();
    expect(sessions.takes(session, 101)).toBe(false);
    const [first] = Array.from({ length: 9 }, () => sessions.open(made.keys, 1_000));
    expect(sessions.find(first!.session)).toBeUndefined();
  });
});

describe('a channel', () => {
  const opened = openSecret(handle, made.sealed, subject)!;

  it('carries what either end says to the other', () => {
    const said = { type: 'orders', orders: [1, 2] };
    expect(unbox(opened, 'primary', 's', 1, box(made.keys, 'primary', 's', 1, said))).toEqual(said);
    expect(unbox(made.keys, 'witness', 's', 1, box(opened, 'witness', 's', 1, said))).toEqual(said);
  });

  it('opens with no other key, for no other channel, and not when it was changed', () => {
    expect(openSecret(xwingKey(new Uint8Array(randomBytes(32))).handle, made.sealed, subject)).toBeNull();
    expect(openSecret(handle, made.sealed, new Uint8Array(64))).toBeNull();
    for (const at of [0, 500, made.sealed.length - 1]) {
      const changed = made.sealed.slice();
      changed[at]! ^= 1;
      expect(openSecret(handle, changed, subject)).toBeNull();
    }
  });

  it.each([
    ['another direction', 'witness', 's', 1],
    ['another session', 'primary', 't', 1],
    ['another place', 'primary', 's', 2],
  ] as const)('lets nothing through in %s', (_, side, session, sequence) => {
    expect(unbox(opened, side, session, sequence, box(made.keys, 'primary', 's', 1, {}))).toBeUndefined();
  });

  it('lets nothing through that was cut short', () => {
    expect(unbox(opened, 'primary', 's', 1, '')).toBeUndefined();
    expect(unbox(opened, 'primary', 's', 1, box(made.keys, 'primary', 's', 1, {}).slice(0, 20))).toBeUndefined();
  });
});
