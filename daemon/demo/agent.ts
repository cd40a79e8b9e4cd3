// A dstack guest agent for tests and demos: the v0 wire protocol on a unix socket, the keys of the real one for the same
// appkeys.json, quotes of the simulator, and a switch for each way in which a guest agent has been seen to fail. Test
// equipment: it guards its keys from nobody. Made by `aegisd guest-agent` and by tests.
// Source: dstack `docs/guest-api-v0.md`.
import { once } from 'node:events';
import { chmodSync, linkSync, renameSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { z } from 'zod';
import { makePki } from '../tee/pki.ts';
import { makeQuote } from '../tee/tdx.ts';
import { type AppKeys, kmsRoot } from './appkeys.ts';
import type { MakeQuote } from './guest.ts';
import { type Body, Methods, Refused, type Release } from './methods.ts';

export type { Release } from './methods.ts';

const BODY_BYTES_MAX = 1024 * 1024;

/** What can be wrong with an answer on its way; `hang` never answers, `half_hang` begins and stops. */
export const TROUBLES = [
  'status_400',
  'status_404',
  'html',
  'hang',
  'half',
  'half_hang',
  'chunked',
  'non_ascii',
  'huge',
  'reset',
  'error_200',
  'answer_400',
] as const;
export type Trouble = (typeof TROUBLES)[number];

export interface AgentOptions {
  readonly socket: string;
  readonly keys: AppKeys;
  readonly release?: Release;
  /** Of a simulator, where its root is to verify; left out, a platform of its own that nobody knows. */
  readonly quote?: MakeQuote;
}

export interface Agent extends AsyncDisposable {
  readonly socket: string;
  readonly app_id: string;
  /** Hex, SEC 1 compressed. */
  readonly kms_root: string;
  /** The most connections that were open at once. */
  readonly connections_max: number;
  /** Every method and path of GetKey that was asked for. */
  readonly asked: readonly { method: string; path: string | undefined }[];
  /** From the next request on; undefined: all is well. */
  misbehave(trouble: Trouble | undefined): void;
  /** Changes what is answered, before it is written; undefined: nothing. */
  alter(change: ((method: string, answer: Body, request: Body) => Body) | undefined): void;
  /** Stops, and leaves a socket on which nobody listens, as SIGKILL does. */
  die(): Promise<void>;
  /** Listens again. */
  rise(): Promise<void>;
  close(): Promise<void>;
}

export async function startAgent(options: AgentOptions): Promise<Agent> {
  const agent = new GuestAgent(options);
  await agent.rise();
  return agent;
}

class GuestAgent implements Agent {
  readonly socket: string;
  readonly app_id: string;
  readonly kms_root: string;
  readonly asked: { method: string; path: string | undefined }[] = [];
  connections_max = 0;
  readonly #methods: Methods;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #trouble: Trouble | undefined;
  #change: Parameters<Agent['alter']>[0];

  constructor({ socket, keys, release = '0.5.11', quote }: AgentOptions) {
    this.socket = socket;
    this.app_id = keys.app_id.toHex();
    this.kms_root = kmsRoot(keys).toHex();
    const pki = quote === undefined ? makePki() : undefined;
    this.#methods = new Methods(keys, release, quote ?? ((fields) => makeQuote(pki!, fields)));
  }

  misbehave(trouble: Trouble | undefined): void {
    this.#trouble = trouble;
  }

  alter(change: Parameters<Agent['alter']>[0]): void {
    this.#change = change;
  }

  async rise(): Promise<void> {
    if (await isDead(this.socket)) rmSync(this.socket);
    const server = createServer((request, response) => void this.#serve(request, response));
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      this.connections_max = Math.max(this.connections_max, this.#sockets.size);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {});
    });
    server.listen(this.socket);
    await once(server, 'listening');
    chmodSync(this.socket, 0o600);
    this.#server = server;
  }

  async die(): Promise<void> {
    const kept = `${this.socket}.kept`;
    linkSync(this.socket, kept);
    await this.close();
    renameSync(kept, this.socket);
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(server, 'close');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    rmSync(this.socket, { force: true });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = await read(request);
      const url = request.url ?? '/';
      const method = url.split('/').at(-1)!;
      this.asked.push({ method, path: typeof body?.path === 'string' ? body.path : undefined });
      const { status, answer } = this.#answer(url, body);
      const changed = this.#change === undefined || status !== 200 ? answer : this.#change(method, answer, body ?? {});
      write(response, status, changed, this.#trouble);
    } catch {
      // The other side went away.
      response.destroy();
    }
  }

  #answer(url: string, body: Body | undefined): { status: number; answer: Body } {
    try {
      if (body === undefined) throw new Refused(400, 'Failed to parse request');
      return { status: 200, answer: this.#methods.call(url, body) };
    } catch (error) {
      if (error instanceof Refused) return { status: error.status, answer: { error: error.message } };
      const field = error instanceof z.ZodError ? error.issues[0]?.path.join('.') : undefined;
      return { status: 400, answer: { error: field === undefined ? 'internal error' : `invalid ${field}` } };
    }
  }
}

/** @returns undefined when it is no JSON object */
async function read(request: IncomingMessage): Promise<Body | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk as Buffer);
  }
  try {
    const parsed: unknown = JSON.parse(Buffer.concat(chunks).toString() || '{}');
    return typeof parsed === 'object' && parsed !== null ? (parsed as Body) : undefined;
  } catch {
    return undefined;
  }
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** The one place where answers go wrong. */
function write(response: ServerResponse, status: number, answer: Body, trouble: Trouble | undefined): void {
  const json = Buffer.from(JSON.stringify(answer));
  const send = (code: number, body: Buffer | string, type = 'application/json') =>
    response.writeHead(code, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
  const begin = (length = json.length) => response.writeHead(status, { ...JSON_TYPE, 'content-length': length });
  switch (trouble) {
    case undefined:
      return void send(status, json);
    case 'status_400':
      return void send(400, JSON.stringify({ error: 'Failed to derive k256 key' }));
    case 'status_404':
      return void send(404, JSON.stringify({ error: 'Service not found: GetKey' }));
    case 'html':
      return void send(200, '<!DOCTYPE html><title>502 Bad Gateway</title>', 'text/html');
    case 'hang':
      return;
    case 'half':
      begin().write(json.subarray(0, json.length / 2), () => response.socket?.end());
      return;
    case 'half_hang':
      begin().write(json.subarray(0, json.length / 2));
      return;
    case 'chunked':
      // Without a length, Node sends chunks.
      response.writeHead(status, JSON_TYPE).write(json);
      return void response.end();
    case 'non_ascii':
      return void send(status, JSON.stringify({ note: 'clés → 鍵', ...answer }));
    case 'huge':
      begin(2 ** 30);
      return void flood(response);
    case 'reset':
      return void response.socket?.resetAndDestroy();
    case 'error_200':
      return void send(200, JSON.stringify({ error: 'Failed to derive k256 key' }));
    case 'answer_400':
      return void send(400, json);
  }
}

function flood(response: ServerResponse): void {
  const block = Buffer.alloc(64 * 1024, 0x20);
  const more = () => {
    while (!response.destroyed && response.write(block));
  };
  response.on('drain', more);
  more();
}

/** Whether the path is a socket that nobody listens on. */
async function isDead(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
  } finally {
    socket.destroy();
  }
}
