import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { Agent, createServer as createHttpServer, request as httpRequest } from 'node:http';
import { connect, createServer as createNetServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enveloped, type House, openHouse, quiet } from '../../test/house.ts';
import { Fault } from '../fault.ts';
import { createServer, type Listening } from './server.ts';

const REQUEST_TIMEOUT_MS = 400;
const CONNECTIONS_MAX = 8;
const UPGRADE = 'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n';

let house: House;
let at: Listening;
beforeAll(async () => {
  house = await openHouse({ api: { request_timeout_ms: REQUEST_TIMEOUT_MS, connections_max: CONNECTIONS_MAX } });
  at = await house.server.listen();
});
afterAll(() => house?.[Symbol.asyncDispose]());

interface Reply {
  status: number;
  body: Record<string, unknown>;
}

/** A connection of its own for each, closed with the answer. */
function ask(target: object, path: string, options: { method?: string; headers?: object; body?: string } = {}) {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const { body, ...rest } = options;
  const request = httpRequest({ ...target, path, agent: false, ...rest } as object, async (response) => {
    let text = '';
    for await (const chunk of response) text += chunk;
    resolve({ status: response.statusCode!, body: text === '' ? {} : JSON.parse(text) });
  });
  request.on('error', reject);
  request.end(body);
  return promise;
}

const tcp = () => ({ host: '127.0.0.1', port: at.port });
const unix = () => ({ socketPath: at.socket });

/** Everything that the server sends until it ends the connection. */
async function raw(text: string, target: { path: string } | { port: number }): Promise<string> {
  const socket = connect(target as never);
  socket.write(text);
  return everything(socket);
}

async function everything(socket: Socket): Promise<string> {
  let said = '';
  socket.on('data', (chunk) => {
    said += String(chunk);
  });
  socket.on('error', () => {});
  await once(socket, 'close');
  return said;
}

describe('two doors', () => {
  it('answer alike', async () => {
    for (const target of [tcp(), unix()]) {
      const { status, body } = await ask(target, '/health');
      expect([status, body.healthy]).toEqual([200, true]);
    }
    expect(at.url).toBe(`http://127.0.0.1:${at.port}`);
  });

  it('trust the one that only the owner can open', async () => {
    expect(statSync(at.socket).mode & 0o777).toBe(0o600);
    expect(at.socket).toBe(join(house.state_dir, 'aegisd.sock'));
    const cut = { method: 'POST' };
    expect((await ask(unix(), '/batches/cut', cut)).status).toBe(200);
    expect((await ask(tcp(), '/batches/cut', cut)).status).toBe(401);
    const token = readFileSync(house.server.adminTokenPath, 'utf8').trim();
    const authorization = `Bearer ${token}`;
    expect((await ask(tcp(), '/batches/cut', { ...cut, headers: { authorization } })).status).toBe(200);
    const twice = `POST /batches/cut HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n`;
    const line = `Authorization: ${authorization}\r\n`;
    expect(await raw(`${twice}${line}\r\n`, { port: at.port })).toMatch(/^HTTP\/1\.1 200 /);
    expect(await raw(`${twice}${line}${line}\r\n`, { port: at.port })).toMatch(/^HTTP\/1\.1 401 /);
    expect(await raw(`${twice}Authorization: Bearer \u00fc\u{1f511}\r\n\r\n`, { port: at.port })).toMatch(
      /^HTTP\/1\.1 401 /,
    );
  });

  it('charge nobody behind the socket', async () => {
    const envelope = await enveloped(house.sequencer);
    const body = JSON.stringify(envelope);
    const headers = { 'content-type': 'application/json' };
    expect((await ask(unix(), '/transactions', { method: 'POST', headers, body })).status).toBe(202);
  });
});

describe('bad manners', () => {
  it.each([
    ['no HTTP', 'hello\r\n\r\n', 400, 'bad_request'],
    ['no end to the headers', `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}`, 431, 'headers_too_large'],
    ['headers that never come', 'GET /health HTTP/1.1\r\nHost: x\r\n', 408, 'request_timeout'],
    [
      'a body that never comes',
      'POST /transactions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{',
      408,
      'request_timeout',
    ],
  ])('%s', async (_name, text, status, code) => {
    const said = await raw(text, { port: at.port });
    expect(said).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(said).toContain('Content-Type: application/problem+json');
    expect(JSON.parse(said.slice(said.indexOf('\r\n\r\n') + 4))).toMatchObject({ status, code });
  });

  it.each([
    ['no Host', 'GET /health HTTP/1.1\r\n\r\n', 400, 'bad_request'],
    [
      'a WebSocket without its key',
      `GET /feed HTTP/1.1\r\nHost: x\r\n${UPGRADE}Connection: Upgrade\r\n\r\n`,
      426,
      'upgrade_required',
    ],
  ])('%s: a problem like any other', async (_name, text, status, code) => {
    const socket = connect(at.port, '127.0.0.1');
    socket.end(text);
    const said = await everything(socket);
    expect(said).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(JSON.parse(said.slice(said.indexOf('\r\n\r\n') + 4))).toMatchObject({ status, code });
  });

  it('an expectation that nobody knows is passed over', async () => {
    const text = 'GET /health HTTP/1.1\r\nHost: x\r\nExpect: cake\r\nConnection: close\r\n\r\n';
    expect(await raw(text, { port: at.port })).toMatch(/^HTTP\/1\.1 200 /);
  });

  it('a packet of a thousand requests: a few are answered, then the connection ends', async () => {
    const said = await raw('GET /health HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000), { port: at.port });
    const answers = [...said.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => status);
    expect(answers).toEqual([...Array(8).fill('200'), '429']);
    expect(said).toContain('at most 8 requests may wait on one connection');
    expect((await ask(tcp(), '/health')).status).toBe(200);
  });

  it('10 MB: the answer arrives', async () => {
    const body = JSON.stringify('x'.repeat(10 * 1024 * 1024));
    for (const headers of [{}, { 'transfer-encoding': 'chunked' }]) {
      const answer = await fetch(`${at.url}/transactions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: 'transfer-encoding' in headers ? new Blob([body]).stream() : body,
        duplex: 'half',
      } as RequestInit);
      expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([413, 'body_too_large']);
    }
  });

  it('more connections than there may be are closed at once, and the socket still answers', async () => {
    const sockets = Array.from({ length: CONNECTIONS_MAX + 4 }, () => connect(at.port, '127.0.0.1'));
    const closed = sockets.map((socket) => everything(socket));
    await Promise.race(closed);
    expect((await ask(unix(), '/health')).status).toBe(200);
    for (const socket of sockets) socket.destroy();
    await Promise.all(closed);
  });
});

describe('opening', () => {
  const other = () => createServer({ sequencer: house.sequencer, log: quiet, version: '0' });
  const failure = async (start: () => Promise<unknown>): Promise<Fault> => {
    const error = await start().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(Fault);
    return error as Fault;
  };

  it('names a busy port, and a socket that somebody answers on', async () => {
    const second = await other();
    const listen = house.sequencer.config.api.listen;
    try {
      const fault = await failure(() => second.listen());
      expect(fault.code).toBe('listen_failed');
      expect(fault.message).toContain(`${at.socket}: another daemon answers there`);

      const busy = createHttpServer();
      busy.listen(0, '127.0.0.1');
      await once(busy, 'listening');
      const { port } = busy.address() as { port: number };
      (house.sequencer.config.api as { listen: string }).listen = `127.0.0.1:${port}`;
      const named = await failure(() => second.listen());
      expect(named.message).toContain(`127.0.0.1:${port}: another program listens there`);
      busy.close();
    } finally {
      (house.sequencer.config.api as { listen: string }).listen = listen;
      await second.close();
    }
    expect((await ask(unix(), '/health')).status).toBe(200);
  });

  it('replaces the socket of a dead process, and nothing else', async () => {
    const { api } = house.sequencer.config as { api: { socket: string } };
    const before = api.socket;
    const stale = join(house.state_dir, 'stale.sock');
    // What SIGKILL leaves behind: a socket file that nobody listens on.
    const dead = createNetServer();
    dead.listen(stale);
    await once(dead, 'listening');
    const inode = statSync(stale).ino;
    const kept = join(house.state_dir, 'kept.sock');
    const { linkSync, renameSync } = await import('node:fs');
    linkSync(stale, kept);
    dead.close();
    await once(dead, 'close');
    renameSync(kept, stale);
    expect(statSync(stale).ino).toBe(inode);
    try {
      api.socket = 'stale.sock';
      const second = await other();
      const { socket } = await second.listen();
      expect((await ask({ socketPath: socket }, '/health')).status).toBe(200);
      expect(statSync(stale).mode & 0o777).toBe(0o600);
      await second.close();
      expect(statSync(stale, { throwIfNoEntry: false })).toBeUndefined();

      writeFileSync(stale, 'mine');
      const third = await other();
      expect((await failure(() => third.listen())).message).toContain('what lies there is no socket');
      await third.close();
      expect(readFileSync(stale, 'utf8')).toBe('mine');
    } finally {
      api.socket = before;
    }
  });
});

describe('closing', () => {
  it('ends idle connections and requests that hang, and takes the socket away', async () => {
    const { api } = house.sequencer.config as { api: { socket: string } };
    api.socket = 'closing.sock';
    const second = await createServer({ sequencer: house.sequencer, log: quiet, version: '0' });
    const { port, socket } = await second.listen();
    const agent = new Agent({ keepAlive: true });
    const hanging = connect(port, '127.0.0.1');
    hanging.write('POST /transactions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n');
    await once(hanging, 'connect');
    const ended = everything(hanging);
    const idle = httpRequest({ port, host: '127.0.0.1', path: '/health', agent });
    idle.end();
    const [response] = await once(idle, 'response');
    response.resume();
    await once(response, 'end');
    await second.close();
    await ended;
    expect(statSync(socket, { throwIfNoEntry: false })).toBeUndefined();
    agent.destroy();
  });
});
