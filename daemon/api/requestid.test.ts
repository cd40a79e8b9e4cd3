// Ids of requests: in answers of every kind, in the log, and never a client's way into it.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type House, openHouse, quiet } from '../../test/house.ts';
import { createServer, type Server } from './server.ts';

let house: House;
let server: Server;
const lines: Record<string, unknown>[] = [];
beforeAll(async () => {
  house = await openHouse({});
  const log = { ...quiet, debug: (detail: object) => lines.push(detail as Record<string, unknown>) };
  server = await createServer({ sequencer: house.sequencer, log, version: '0' });
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  await house?.[Symbol.asyncDispose]();
});

async function ask(url: string, brought?: string) {
  const { headers, statusCode } = await server.app.inject({
    url,
    headers: brought === undefined ? {} : { 'x-request-id': brought },
  });
  return { id: headers['x-request-id'] as string, statusCode };
}

it('has an id for every request, refused ones too, and a line that names it', async () => {
  const asked = [await ask('/health'), await ask('/batches/9999'), await ask('/batches/x'), await ask('/nowhere?a=b')];
  expect(asked.map(({ statusCode }) => statusCode)).toEqual([200, 404, 400, 404]);
  for (const { id } of asked) expect(id).toMatch(/^[0-9a-f]{12}-[0-9a-z]+$/);
  expect(new Set(asked.map(({ id }) => id)).size).toBe(asked.length);
  expect(lines.map(({ request_id, route, status }) => ({ request_id, route, status }))).toEqual([
    { request_id: asked[0]!.id, route: 'GET /health', status: 200 },
    { request_id: asked[1]!.id, route: 'GET /batches/:height', status: 404 },
    { request_id: asked[2]!.id, route: 'GET /batches/:height', status: 400 },
    { request_id: asked[3]!.id, route: 'none', status: 404 },
  ]);
});

it('has one for a URL that cannot be read', async () => {
  const { id, statusCode } = await ask('/batches/%');
  expect(statusCode).toBe(400);
  expect(id).toMatch(/^[0-9a-f]{12}-/);
});

it.each(['4bf92f3577b34da6a3ce929d0e0e4736', '0b9ef6f5-0000-4a5e-8e0f-000000000001', 'edge:7.a_B', 'x'.repeat(64)])(
  'takes what a proxy brings: %s',
  async (brought) => {
    expect((await ask('/health', brought)).id).toBe(brought);
  },
);

it.each(['', ' ', 'a b', '-a', 'x'.repeat(65), '{"level":"fatal"}', 'a"b', 'é', 'a\tb', 'a, b'])(
  'passes over what is no plain name: %j',
  async (brought) => {
    expect((await ask('/health', brought)).id).toMatch(/^[0-9a-f]{12}-/);
  },
);

it('measures requests by pattern, so that clients choose no label', async () => {
  const tokens = { admin_path: '', roleOf: () => 'metrics' as const };
  await using other = await createServer({ sequencer: house.sequencer, log: quiet, version: '0', tokens });
  await other.app.inject('/batches/123456');
  await other.app.inject('/etc/passwd');
  const routes = [
    ...(await other.app.inject('/metrics')).body.matchAll(/^aegis_request_seconds_count\{route="(.*)"\}/gm),
  ];
  expect(routes.map(([, route]) => route)).toEqual(['GET /batches/:height', 'none']);
});
