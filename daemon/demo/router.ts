// A delegated router for the demo and the tests: the server of the Helia project over LMDB, keeping what the selector of IPNS prefers,
// with switches for everything that routers do wrong. It takes what its own validator takes, which is the `ipns` package and
// none of our code. Its package is there in a checkout and not in an installation.
import { setTimeout as delay } from 'node:timers/promises';
import Fastify from 'fastify';
import { ipnsSelector } from 'ipns/selector';
import { open } from 'lmdb';

/** What it does wrong, and how; all of it may be changed while it runs. */
export interface Switches {
  /** Connections are cut before an answer. */
  outage: boolean;
  /** Before every answer. */
  slow_ms: number;
  /** Every answer has this status, where it is set. */
  status: number | null;
  retry_after: string | null;
  /** PUT says 200 and stores nothing. */
  lies: boolean;
  /** Of these names alone the rest is true; of all where it is empty. */
  readonly names: Set<string>;
}

export interface TestRouter extends AsyncDisposable {
  readonly url: string;
  readonly switches: Switches;
  /** PUTs that it has taken, by name, in their order. */
  readonly taken: { readonly name: string; readonly record: Uint8Array }[];
  /** Requests that it has seen, with what they brought. */
  readonly seen: { readonly method: string; readonly name: string; readonly record?: Uint8Array }[];
}

const PATH = '/routing/v1/ipns/';

export async function startRouter(folder: string): Promise<TestRouter> {
  const { createDelegatedRoutingV1HttpApiServer } = await import('@helia/delegated-routing-v1-http-api-server');
  const records = open<Uint8Array, Buffer>({ path: folder, encoding: 'binary', keyEncoding: 'binary', noSync: true });
  const switches: Switches = {
    ...{ outage: false, slow_ms: 0, status: null, retry_after: null, lies: false },
    names: new Set(),
  };
  const taken: TestRouter['taken'] = [];
  const seen: TestRouter['seen'] = [];
  const routing = {
    async get(key: Uint8Array): Promise<Uint8Array> {
      const found = records.get(Buffer.from(key));
      if (found === undefined) throw Object.assign(new Error('not found'), { name: 'NotFoundError' });
      return Uint8Array.from(found);
    },
    async put(key: Uint8Array, record: Uint8Array): Promise<void> {
      const name = Buffer.from(key);
      const held = records.get(name);
      if (held !== undefined && ipnsSelector(key, [Uint8Array.from(held), record]) === 0) return;
      await records.put(name, Buffer.from(record));
    },
  };
  const fastify = Fastify({ logger: false, forceCloseConnections: true });
  fastify.addHook('preHandler', async (request, reply) => {
    const name = request.url.slice(PATH.length);
    const { method, body } = request;
    seen.push({ method, name, ...(body instanceof Uint8Array && { record: Uint8Array.from(body) }) });
    if (switches.names.size > 0 && !switches.names.has(name)) return;
    if (switches.slow_ms > 0) await delay(switches.slow_ms);
    if (switches.outage) {
      reply.hijack();
      request.raw.socket.destroy();
      return;
    }
    if (switches.status !== null) {
      if (switches.retry_after !== null) reply.header('retry-after', switches.retry_after);
      return reply.code(switches.status).send();
    }
    if (switches.lies && request.method === 'PUT') return reply.code(200).send();
  });
  fastify.addHook('onResponse', async (request, reply) => {
    if (request.method !== 'PUT' || reply.statusCode !== 200) return;
    const record = request.body as Uint8Array;
    taken.push({ name: request.url.slice(PATH.length), record: Uint8Array.from(record) });
  });
  const listen = { host: '127.0.0.1', port: 0 };
  await createDelegatedRoutingV1HttpApiServer({ routing } as never, { fastify: fastify as never, listen });
  const { port } = fastify.server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    ...{ switches, taken, seen },
    async [Symbol.asyncDispose]() {
      await fastify.close();
      await records.close();
    },
  };
}
