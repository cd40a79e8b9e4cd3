// `aegisd send` when the keys rotate between its two requests: it follows once, and believes no keyset that it has not verified.
import { writeFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type House, openHouse } from '../../test/house.ts';
import { EXIT } from './program.ts';
import { send } from './send.ts';

let house: House;
let port: number;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
  ({ port } = await house.server.listen());
});
afterAll(() => house?.[Symbol.asyncDispose]());

/** What a command prints. */
async function printed(command: () => Promise<number>) {
  const said: string[] = [];
  const take = (text: string | Uint8Array) => said.push(String(text)) > 0;
  const spies = [process.stdout, process.stderr].map((stream) => vi.spyOn(stream, 'write').mockImplementation(take));
  try {
    return { code: await command(), text: said.join('') };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** A way to the daemon on which something happens before each submission. */
async function between(before: (nth: number) => Promise<void>) {
  let nth = 0;
  const server = createServer(async (request, response) => {
    const body: Buffer[] = [];
    for await (const chunk of request) body.push(chunk as Buffer);
    if (request.method === 'POST') await before(++nth);
    const { method, url: path, headers } = request;
    const onward = httpRequest({ host: '127.0.0.1', port, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    onward.end(Buffer.concat(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, submissions: () => nth, [Symbol.dispose]: () => void server.close() };
}

const compromise = async () => {
  const from = house.sequencer.keyset.epoch;
  await house.sequencer.rotate({ reason: 'compromise' });
  await house.journaled('rotation_executed', ({ from_epoch }) => from_epoch === from);
};
const sample = (url: string) => send(undefined, { url, sample: true, scheme: 'ecies', timeout: 60, json: true });

describe('aegisd send', () => {
  it('says how to get the batch from the daemon that sealed it', async () => {
    const config = join(house.state_dir, 'own.toml');
    writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(house.state_dir)}\n`);
    // The first that this daemon admits.
    void house.journaled('tx_submitted').then(() => house.sequencer.createBatch());
    const { code, text } = await printed(() =>
      send(undefined, { config, sample: true, scheme: 'x-wing', timeout: 60, wait: true }),
    );
    expect(code).toBe(EXIT.ok);
    const socket = join(house.state_dir, 'aegisd.sock');
    expect(text).toContain(`curl -s --unix-socket ${socket} http://localhost/batches/`);
  });

  it('encrypts anew to the keyset that has come meanwhile', async () => {
    using way = await between((nth) => (nth === 1 ? compromise() : Promise.resolve()));
    const { code, text } = await printed(() => sample(way.url));
    expect([code, way.submissions()]).toEqual([EXIT.ok, 2]);
    expect(JSON.parse(text)).toMatchObject({ receipt: { epoch: house.sequencer.keyset.epoch } });
  });

  it('tries once, and then says why not', async () => {
    using way = await between(compromise);
    const { code, text } = await printed(() => sample(way.url));
    expect([code, way.submissions()]).toEqual([EXIT.refused, 2]);
    expect(text).toContain('epoch_not_accepted');
  });

  it('checks a receipt that the epoch after its own has signed', async () => {
    using way = await between(async () => {
      const from = house.sequencer.keyset.epoch;
      await house.sequencer.rotate({ reason: 'manual', delay_blocks: 0 });
      await house.journaled('rotation_executed', ({ from_epoch }) => from_epoch === from);
    });
    const { code, text } = await printed(() => sample(way.url));
    expect([code, way.submissions()]).toEqual([EXIT.ok, 1]);
    expect(JSON.parse(text)).toMatchObject({ receipt: { epoch: house.sequencer.keyset.epoch } });
  });
});
