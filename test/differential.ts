// One engine before the other: signs with one, verifies with the other, and shows both what was altered. For the tests of
// workers/engine.ts, short and long.
import { type KeyObject, randomBytes } from 'node:crypto';
import { expect } from 'vitest';
import { concat, utf8 } from '../actors/encoding.ts';
import { type Engine, openssl } from '../workers/engine.ts';
import { noble } from '../workers/noble.ts';

export function flipped(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const bit = randomBytes(4).readUInt32BE() % (8 * copy.length);
  copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
}

/** What must not verify, by what was done to it. */
function wrongs(
  message: Uint8Array,
  context: Uint8Array,
  signature: Uint8Array,
): Record<string, [message: Uint8Array, context: Uint8Array, signature: Uint8Array]> {
  const none = new Uint8Array(0);
  return {
    'another context': [message, context.length > 0 ? context.slice(1) : Uint8Array.of(1), signature],
    'no context': [message, context.length === 0 ? Uint8Array.of(0) : none, signature],
    'context moved into the message': [concat(context, message, Uint8Array.of(0)), none, signature],
    'another message': [flipped(concat(message, Uint8Array.of(0))), context, signature],
    'a flipped bit': [message, context, flipped(signature)],
    truncated: [message, context, signature.subarray(0, -1)],
    'one byte longer': [message, context, concat(signature, Uint8Array.of(0))],
    nothing: [message, context, none],
  };
}

/** One signature of one engine before the other; `thorough` asks both about every wrong, else each about one in turn. */
export function compare(
  name: 'ml_dsa_87' | 'slh_dsa_sha2_256s',
  [signer, verifier]: readonly [Engine, Engine],
  key: KeyObject,
  round: number,
  thorough: boolean,
): void {
  const message = new Uint8Array(randomBytes(round % 3 === 0 ? 64 : (round * 37) % 700));
  const context = round % 2 === 0 ? utf8('aegis/batch/v1') : new Uint8Array(randomBytes((round * 11) % 256));
  const signature = signer[name].sign(key, message, context);
  const publicKey = verifier[name].publicKey(key);
  expect(verifier[name].verify(publicKey, message, context, signature), `round ${round}`).toBe(true);
  const all = Object.entries(wrongs(message, context, signature));
  for (const engine of [openssl, noble]) {
    const asked = thorough || engine === openssl ? all : [all[round % all.length]!];
    for (const [what, arguments_] of asked) {
      expect(engine[name].verify(publicKey, ...arguments_), `${engine.name}: ${what}, round ${round}`).toBe(false);
    }
  }
}
