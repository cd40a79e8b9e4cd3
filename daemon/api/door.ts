// Where requests come in: a TCP address and a unix socket in the state folder, one handler behind both. Everything is bounded
// here: connections, headers, how long a request may take, idle connections. Whoever can open the socket (mode 0600 from its
// first moment) is the admin; what comes over TCP is its address and nothing else.

import { lstatSync, unlinkSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer as createSecureServer, type ServerOptions as HttpsOptions } from 'node:https';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { address } from '../../config/schema.ts';
import { Fault } from '../fault.ts';
import { createServer } from '../http.ts';
import { Shares } from '../share.ts';
import { clientOf } from './allowance.ts';
import { PROBLEM_TYPE, type ProblemCode, problem, rawProblem } from './problem.ts';

/** Who is at the other end of a connection. */
export interface Peer {
  /** Came through the unix socket. */
  readonly trusted: boolean;
  /** Who is charged; undefined for the trusted. */
  readonly client: string | undefined;
}

export interface DoorOptions {
  readonly connections_max: number;
  /** Of one client address. */
  readonly client_connections_max: number;
  readonly request_timeout_ms: number;
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** Whether this request becomes a WebSocket; otherwise it is handled like any other. */
  upgrades(request: IncomingMessage): boolean;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

const HEADER_BYTES_MAX = 16_384;
/** Less than what proxies keep, so that they are told with `Connection: close` rather than cut. */
const KEEP_ALIVE_MS = 5_000;
/** A client that neither sends nor takes anything for this long in the middle of an answer is gone. */
const SILENCE_MS = 120_000;
/** The CLI and a scraper or two. */
const TRUSTED_CONNECTIONS_MAX = 64;
/** Requests of one connection that may wait for their answers. */
const PIPELINED_MAX = 8;
/** What an ending server leaves to requests in hand. */
const CLOSE_MS = 500;

const peers = new WeakMap<object, Peer>();

/** @param socket  of a request; a request that was injected in a test has no connection and is nobody special */
export const peerOf = (socket: object): Peer => peers.get(socket) ?? { trusted: false, client: 'injected' };

/** @throws {Fault} listen_failed */
export async function openTcp(
  listen: string,
  options: DoorOptions,
  tls?: TlsCredentials,
): Promise<{ server: Server; url: string; port: number }> {
  const { host, port } = address(listen)!;
  const server = make(
    options,
    options.connections_max,
    (socket) => ({
      trusted: false,
      client: clientOf((socket as { remoteAddress?: string }).remoteAddress ?? 'unknown'),
    }),
    tls,
  );
  await listening(server, () => server.listen({ host, port }), listen);
  const bound = server.address() as { port: number };
  return {
    server,
    port: bound.port,
    url: `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${bound.port}`,
  };
}

/** @throws {Fault} listen_failed  when somebody answers there, or what is there is no socket */
export async function openSocket(path: string, options: DoorOptions): Promise<Server> {
  const server = make(options, TRUSTED_CONNECTIONS_MAX, () => ({ trusted: true, client: undefined }));
  await makeRoom(path);
  await listening(server, () => privately(() => server.listen(path)), path);
  return server;
}

/** In PEM; whoever gives them wipes the key once they were taken. */
export interface TlsCredentials {
  use<T>(take: (pem: { key: Buffer; cert: Buffer }) => T): T;
}

/** Hybrid with ML-KEM-768 first (FIPS 203): what is recorded today opens to no later quantum computer. */
const GROUPS = 'X25519MLKEM768:X25519:P-256';

function secureServer(common: HttpsOptions, handle: DoorOptions['handle'], tls: TlsCredentials): Server {
  const { requestTimeout: handshakeTimeout = 0 } = common;
  const options = { ...common, minVersion: 'TLSv1.3', ecdhCurve: GROUPS, handshakeTimeout } as const;
  return tls.use((pem) => createSecureServer({ ...options, ...pem }, handle) as unknown as Server);
}

/** The keys have changed: connections from now on get the new ones, those that are there go on. */
export function replaceCredentials(server: Server, tls: TlsCredentials): void {
  const secure = server as unknown as { setSecureContext(options: object): void };
  tls.use((pem) => secure.setSecureContext({ ...pem, minVersion: 'TLSv1.3', ecdhCurve: GROUPS }));
}

/** Ends within a bound: requests in hand may finish, idle connections go at once. */
export async function closeDoor(server: Server): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS);
  await promise;
  clearTimeout(timer);
}

function make(
  options: DoorOptions,
  connections_max: number,
  peer: (socket: Duplex) => Peer,
  tls?: TlsCredentials,
): Server {
  const { request_timeout_ms } = options;
  const handle = fewAtATime(options.handle);
  const common = {
    maxHeaderSize: HEADER_BYTES_MAX,
    // Refused below, with a body that says why.
    requireHostHeader: false,
    requestTimeout: request_timeout_ms,
    headersTimeout: request_timeout_ms,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // Node looks for late requests only this often.
    connectionsCheckingInterval: Math.min(1_000, Math.ceil(request_timeout_ms / 4)),
    shouldUpgradeCallback: (request: IncomingMessage) => greets(request) && options.upgrades(request),
  };
  const server = tls === undefined ? createServer(common, handle) : secureServer(common, handle, tls);
  // The socket of a request is the one inside of TLS.
  server.on('secureConnection', (socket) => peers.set(socket, peer(socket)));
  // An expectation that nobody knows may be passed over (RFC 9110 §10.1.1); Node would answer it without a body.
  server.on('checkExpectation', handle);
  server.maxConnections = connections_max;
  server.timeout = SILENCE_MS;
  const shares = new Shares();
  server.on('connection', (socket) => {
    const found = peer(socket);
    peers.set(socket, found);
    // Like the first beyond `connections_max`: whoever holds so many knows what it does.
    if (!shares.take(found.client, options.client_connections_max)) socket.destroy();
    else socket.once('close', () => shares.give(found.client));
  });
  server.on('upgrade', (request, socket, head) => options.upgrade(request, socket, head));
  server.on('clientError', refuse);
  return server;
}

/**
 * Node takes every request that a packet holds at once, a thousand and more, and keeps their answers in order. Nobody needs
 * that: beyond a few the connection is closed behind an error, and HTTP has the client send the rest again (RFC 9112 §9.3.2).
 */
function fewAtATime(handle: DoorOptions['handle']): DoorOptions['handle'] {
  const inHand = new WeakMap<object, number>();
  return (request, response) => {
    const { socket } = request;
    const before = inHand.get(socket) ?? 0;
    inHand.set(socket, before + 1);
    if (before > PIPELINED_MAX) return;
    if (before === PIPELINED_MAX) {
      end(response, 'rate_limited', `at most ${PIPELINED_MAX} requests may wait on one connection`);
      return;
    }
    if (request.headers.host === undefined && request.httpVersion === '1.1') {
      end(response, 'bad_request', 'the Host header is missing');
      return;
    }
    response.once('close', () => inHand.set(socket, inHand.get(socket)! - 1));
    handle(request, response);
  };
}

/** RFC 6455 §4.2.1: what ws would refuse in words of its own is answered like any other request. */
function greets({ headers }: IncomingMessage): boolean {
  if (headers['sec-websocket-version'] !== '13') return false;
  return /^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '');
}

/** An answer that needs no route, and the end of its connection. */
function end(response: ServerResponse, code: ProblemCode, detail: string): void {
  const found = problem(code, { detail });
  const body = Buffer.from(JSON.stringify(found));
  response.writeHead(found.status, {
    'content-type': PROBLEM_TYPE,
    'content-length': body.length,
    'cache-control': 'no-store',
    connection: 'close',
  });
  response.end(body);
}

/** Requests that stream may take longer than others; a silent one still ends. */
const patient = new WeakSet<object>();

/** Lets the request in hand on this connection take its time. */
export function takeTime(socket: Duplex, response: ServerResponse): void {
  patient.add(socket);
  response.once('close', () => patient.delete(socket));
}

/** No request could be read: what is on the wire is not HTTP, too long, or too slow. */
function refuse(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && patient.has(socket)) return;
  // Without TLS yet, there is nobody to tell.
  if (error.code === 'ECONNRESET' || !socket.writable || !peers.has(socket)) {
    socket.destroy();
    return;
  }
  socket.end(rawProblem(clientProblem(error.code)), () => socket.destroy());
}

function clientProblem(code: string | undefined): ProblemCode {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 'request_timeout';
  return code === 'HPE_HEADER_OVERFLOW' ? 'headers_too_large' : 'bad_request';
}

async function listening(server: Server, listen: () => void, where: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.once('listening', resolve);
  try {
    listen();
    await promise;
  } catch (cause) {
    throw new Fault({ code: 'listen_failed', address: where, reason: reasonOf(cause) }, { cause });
  }
  server.off('error', reject);
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there',
  EACCES: 'this user may not (ports below 1024 are for root)',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'this host name has no address',
};

function reasonOf(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return REASONS[code] ?? message;
}

/** The umask holds while the file is made, which `listen` does before it returns; a chmod afterwards would come too late. */
function privately(make: () => void): void {
  const before = process.umask(0o177);
  try {
    make();
  } finally {
    process.umask(before);
  }
}

/** Takes away what a dead process has left behind, and nothing else. */
async function makeRoom(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new Fault({ code: 'listen_failed', address: path, reason: 'what lies there is no socket' });
  if (await answers(path))
    throw new Fault({ code: 'listen_failed', address: path, reason: 'another daemon answers there' });
  unlinkSync(path);
}

async function answers(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const probe = connect(path);
  probe.once('connect', () => resolve(true));
  // Only a refusal means that nobody is there; a full backlog, say, does not.
  probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  const answered = await promise;
  probe.destroy();
  return answered;
}
