// What one address may hold of what is there for all: connections, places of the feed, places of the pool. The addresses are those of
// the loopback network, which Linux gives to whoever asks.
import { once } from 'node:events';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { enveloped, type House, openHouse, until } from '../../test/house.ts';
import type { Listening } from './server.ts';

const MAX = 3;
const [GREEDY, OTHER] = ['127.0.0.2', '127.0.0.3'];

let house: House;
let at: Listening;
beforeAll(async () => {
  house = await openHouse({
    sequencer: { batch_interval_ms: 60_000, batch_size: 50 },
    mempool: { capacity: 100, client_max: MAX },
    api: { client_connections_max: 2 * MAX, rate_limit_per_s: 0 },
    feed: { client_max: MAX },
  });
  at = await house.server.listen();
});
afterAll(() => house?.[Symbol.asyncDispose]());

async function submit(localAddress: string, body: unknown): Promise<{ status: number; json: Record<string, unknown> }> {
  const headers = { 'content-type': 'application/json' };
  const target = { host: '127.0.0.1', port: at.port, localAddress, agent: false, path: '/transactions' };
  const sent = request({ ...target, method: 'POST', headers }).end(JSON.stringify(body));
  const [response] = await once(sent, 'response');
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, json: JSON.parse(text) };
}

const follow = (localAddress: string) => new WebSocket(`ws://127.0.0.1:${at.port}/feed`, { localAddress });

describe.runIf(process.platform === 'linux')('one address', () => {
  it('holds its share of the pool until it is opened, while others are admitted', async () => {
    const { sequencer } = house;
    const envelopes = await Promise.all(Array.from({ length: MAX + 2 }, () => enveloped(sequencer)));
    const answers = await Promise.all(envelopes.slice(0, MAX + 1).map((each) => submit(GREEDY, each)));
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 202, 202, 429]);
    const refused = answers.findIndex(({ status }) => status === 429);
    expect(answers[refused]!.json).toMatchObject({
      code: 'rate_limited',
      detail: `this address has ${MAX} envelopes waiting, as many as one may`,
    });
    // What is known is known: the first receipt again.
    expect(await submit(GREEDY, envelopes[refused === 0 ? 1 : 0])).toMatchObject({ status: 202 });
    expect(await submit(OTHER, envelopes[MAX + 1])).toMatchObject({ status: 202 });
    await sequencer.createBatch();
    await house.journaled('batch_created');
    expect(await submit(GREEDY, envelopes[refused])).toMatchObject({ status: 202 });
  });

  it('has its share of the feed, and hears why it gets no more', async () => {
    const held = Array.from({ length: MAX }, () => follow(GREEDY));
    await Promise.all(held.map((ws) => once(ws, 'open')));
    const [, response] = await once(
      follow(GREEDY).on('error', () => {}),
      'unexpected-response',
    );
    expect(response.statusCode).toBe(429);
    response.destroy();
    const other = follow(OTHER);
    await once(other, 'open');
    held[0]!.close();
    await once(held[0]!, 'close');
    await until(async () => {
      const next = follow(GREEDY).on('error', () => {});
      held.push(next);
      const opened = await Promise.race([once(next, 'open'), once(next, 'close').then(() => undefined)]);
      return opened !== undefined;
    });
    for (const ws of [...held, other]) ws.terminate();
  });

  it('has its share of connections, the feed included; the next is closed at once', async () => {
    const open = (localAddress: string) => connect({ host: '127.0.0.1', port: at.port, localAddress });
    const answered = async (socket: Socket) => {
      socket.on('error', () => {});
      socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
      const [first] = await Promise.race([once(socket, 'data'), once(socket, 'close')]);
      return typeof first === 'object';
    };
    const held: Socket[] = [];
    const settled = await until(async () => {
      // Those of the tests before may still be closing.
      for (const socket of held.splice(0)) socket.destroy();
      held.push(...Array.from({ length: 2 * MAX }, () => open(GREEDY)));
      return (await Promise.all(held.map(answered))).every(Boolean);
    });
    expect(settled).toBe(true);
    expect(await answered(open(GREEDY))).toBe(false);
    const other = open(OTHER);
    expect(await answered(other)).toBe(true);
    for (const socket of [...held, other]) socket.destroy();
  });
});
