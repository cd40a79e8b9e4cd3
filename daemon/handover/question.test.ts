// A predecessor hears of its successor for as long as that works on what it has taken, and no longer.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { hex } from '../../actors/encoding.ts';
import { Questions } from './question.ts';

it('is asked for the last chunk again until the work is done', async () => {
  const asked: unknown[] = [];
  const third = Promise.withResolvers<void>();
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    asked.push([request.url, JSON.parse(Buffer.concat(parts).toString())]);
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"last":true,"box":"AAAA"}');
    if (asked.length === 3) third.resolve();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const questions = new Questions({ url, signal: new AbortController().signal, patience_ms: 1_000 });
  const session = hex(new Uint8Array(16));
  expect(
    await questions.keepAlive(
      session,
      7,
      third.promise.then(() => 'verified'),
    ),
  ).toBe('verified');
  expect(asked).toEqual(Array.from({ length: 3 }, () => ['/handover/chunk', { session, index: 7 }]));
  const failing = questions.keepAlive(session, 7, Promise.reject(new Error('unfit')));
  await expect(failing).rejects.toThrow('unfit');
  server.closeAllConnections();
  server.close();
});
