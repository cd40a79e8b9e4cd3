// A secret is taken out of an answer before anyone else sees it, however the answer is cut and spaced; what is no secret in
// the right form is never taken for one.

import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Wire } from './wire.ts';

/** @returns what came over the wire to whoever listened after it */
function send(wire: Wire, text: string, cuts: readonly number[] = []): string {
  const stream = new PassThrough();
  let seen = '';
  wire.watch(stream as unknown as Socket);
  stream.on('data', (chunk: Buffer) => {
    seen += chunk.toString('latin1');
  });
  const places = [0, ...cuts.map((cut) => cut % text.length).toSorted((a, b) => a - b), text.length];
  // Synchronously, as data comes from a socket.
  for (const [i, end] of places.slice(1).entries()) {
    stream.emit('data', Buffer.from(text.slice(places[i], end), 'latin1'));
  }
  return seen;
}

const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const ZEROS = '0'.repeat(64);

describe('a secret', () => {
  it('is taken, and zeros are left, whatever the cuts and the spaces', () => {
    const space = fc.constantFrom('', ' ', '\n\t ');
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        fc.array(space, { minLength: 3, maxLength: 3 }),
        fc.constantFrom('', '"chain":["key"],', '"keys":"ab",', '"x":"key",', '"key":5,'),
        (secret, cuts, [one, two, three], before) => {
          const wire = new Wire('key', 32);
          const text = answer(`{${before}"key"${one}:${two}"${secret.toHex()}"${three},"more":"abc"}`);
          const seen = send(wire, text, cuts);
          expect(wire.complete).toBe(true);
          expect(wire.take()).toEqual(secret);
          expect(seen).toBe(text.replace(secret.toHex(), ZEROS));
          expect([wire.status, wire.trouble()]).toEqual([200, undefined]);
          wire.wipe();
          expect(wire.take()).toEqual(new Uint8Array(32));
        },
      ),
    );
  });

  it.each([
    ['of another length', `{"key":"${'ab'.repeat(31)}"}`],
    ['that is longer', `{"key":"${'ab'.repeat(33)}"}`],
    ['with other digits', `{"key":"${'AB'.repeat(32)}"}`],
    ['that isn’t hex', `{"key":"${'xy'.repeat(32)}"}`],
    ['without its end', `{"key":"${'ab'.repeat(32)}`],
    ['that is no text', '{"key":1}'],
    ['under another name', `{"keys":"${'ab'.repeat(32)}"}`],
  ])('%s is none', (_, body) => {
    const wire = new Wire('key', 32);
    send(wire, answer(body));
    expect(wire.complete).toBe(false);
    expect(() => wire.take()).toThrow('only what came whole is taken');
  });
});

describe('a wire without a secret', () => {
  it('changes nothing and is complete', () => {
    const wire = new Wire();
    const text = answer(`{"key":"${'ab'.repeat(32)}"}`);
    expect(send(wire, text, [30, 60])).toBe(text);
    expect(wire.complete).toBe(true);
  });
});
