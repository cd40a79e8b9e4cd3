// Spans as a collector gets them over HTTP: of a whole daemon under a transaction, and of the exporter alone where the collector is
// slow, broken, or floods us with its own mistakes.
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { z } from 'zod';
import { until } from '../test/house.ts';
import { run, startDaemon } from './demo/child.ts';
import { listened, onSpan, tell, timed } from './spans.ts';
import { Telemetry } from './telemetry.ts';

const folder = mkdtempSync(join(tmpdir(), 'aegis-telemetry-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const Id = (bytes: number) => z.string().regex(new RegExp(`^(?!0+$)[0-9a-f]{${2 * bytes}}$`));
const Value = z.union([
  z.strictObject({ stringValue: z.string() }),
  z.strictObject({ intValue: z.string().regex(/^\d+$/) }),
]);
const Attributes = z.array(z.strictObject({ key: z.string(), value: Value }));
const SpanJson = z.strictObject({
  traceId: Id(16),
  spanId: Id(8),
  parentSpanId: Id(8).optional(),
  name: z.string(),
  kind: z.union([z.literal(1), z.literal(2)]),
  startTimeUnixNano: z.string().regex(/^\d{19}$/),
  endTimeUnixNano: z.string().regex(/^\d{19}$/),
  attributes: Attributes,
  status: z.strictObject({ code: z.literal(2), message: z.string() }).optional(),
});
/** OTLP 1: what a collector reads of ExportTraceServiceRequest in JSON. */
const Body = z.strictObject({
  resourceSpans: z.tuple([
    z.strictObject({
      resource: z.strictObject({ attributes: Attributes }),
      scopeSpans: z.tuple([
        z.strictObject({ scope: z.strictObject({ name: z.string(), version: z.string() }), spans: z.array(SpanJson) }),
      ]),
    }),
  ]),
});
type Received = z.output<typeof SpanJson> & { readonly about: Record<string, string> };

/** A collector that keeps what it is sent; `answer` may do otherwise. */
async function collector(answer = (_request: IncomingMessage, response: ServerResponse) => void response.end('{}')) {
  const spans: Received[] = [];
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    bodies.push(text);
    expect([request.method, request.url, request.headers['content-type']]).toEqual([
      'POST',
      '/v1/traces',
      'application/json',
    ]);
    const [{ scopeSpans }] = Body.parse(JSON.parse(text)).resourceSpans;
    for (const span of scopeSpans[0].spans) {
      const about = span.attributes.map(({ key, value }) => [
        key,
        'intValue' in value ? value.intValue : value.stringValue,
      ]);
      spans.push({ ...span, about: Object.fromEntries(about) as Record<string, string> });
    }
    answer(request, response);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const close = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { endpoint: `http://127.0.0.1:${port}/`, spans, bodies, [Symbol.asyncDispose]: close };
}

function exporter(endpoint: string) {
  const said: [string, object][] = [];
  const log = {
    warn: (detail: object, message: string) => void said.push([message, detail]),
    info: (detail: object, message: string) => void said.push([message, detail]),
  };
  return { said, telemetry: new Telemetry({ endpoint, log_id: 'log', version: '1', log }) };
}

const span = (name: string, subject?: number) => ({
  ...{ name, started_ms: Date.UTC(2026, 0, 1) + 0.25, duration_ms: 1.5 },
  ...(subject !== undefined && { subject }),
});

it('tells the way of a transaction, and nothing of what is in it', async () => {
  await using there = await collector();
  const settings = `[telemetry]\notlp_endpoint = "${there.endpoint}"\n`;
  const daemon = await startDaemon(folder, join(folder, 'log'), settings);
  const sent = await run(['send', '--sample', '--wait', '--json', '--url', daemon.url]);
  expect(sent.code).toBe(0);
  const authorization = `Bearer ${readFileSync(join(folder, 'admin.token'), 'utf8').trim()}`;
  const metrics = async () => (await fetch(`${daemon.url}/metrics`, { headers: { authorization } })).text();
  await until(async () => /^aegis_spans_total\{outcome="sent"\} [1-9]/m.test(await metrics()));
  expect(await daemon.stop()).toBe(0);

  const named = (name: string, about: Record<string, string> = {}) =>
    there.spans.filter(
      (each) => each.name === name && Object.entries(about).every(([key, value]) => each.about[key] === value),
    );
  const [cut] = named('cut', { 'aegis.height': '0' });
  const [open] = named('open', { 'aegis.height': '0' });
  const [sign] = named('sign', { 'aegis.height': '0' });
  for (const each of [open, sign])
    expect(each).toMatchObject({ traceId: cut!.traceId, parentSpanId: cut!.spanId, kind: 1 });
  expect(cut!.parentSpanId).toBe(undefined);
  expect(named('seal').length).toBeGreaterThan(0);
  expect(BigInt(open!.startTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(cut!.startTimeUnixNano));
  for (const each of there.spans)
    expect(BigInt(each.endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(each.startTimeUnixNano));
  const [posted] = named('POST /transactions');
  expect(posted).toMatchObject({
    kind: 2,
    about: { 'http.request.method': 'POST', 'http.response.status_code': '202', 'http.route': 'POST /transactions' },
  });
  const { envelope_id, tx_hash } = JSON.parse(sent.stdout) as { envelope_id: string; tx_hash?: string };
  const everything = there.bodies.join('\n');
  expect(everything).toContain(daemon.log_id);
  for (const secret of [envelope_id, tx_hash ?? envelope_id]) {
    expect(secret).toMatch(/^0x[0-9a-f]{64}$/);
    expect(everything).not.toContain(secret.slice(2));
  }
});

it('stands under the span that called, where that is one', async () => {
  await using there = await collector();
  const { telemetry } = exporter(there.endpoint);
  const [trace, parent] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7'];
  const wrong = [
    `01-${trace}-${parent}-01`,
    `00-${'0'.repeat(32)}-${parent}-01`,
    `00-${trace}-${parent}`,
    `00-${trace}x-${parent}-01`,
  ];
  for (const traceparent of [`00-${trace}-${parent}-01`, ...wrong]) tell({ ...span('request'), traceparent });
  await telemetry[Symbol.asyncDispose]();
  expect(there.spans[0]).toMatchObject({ traceId: trace, parentSpanId: parent });
  for (const each of there.spans.slice(1)) expect(each).not.toHaveProperty('parentSpanId');
  expect(new Set(there.spans.map(({ traceId }) => traceId)).size).toBe(1 + wrong.length);
  expect(there.spans[0]).toMatchObject({
    startTimeUnixNano: '1767225600000250000',
    endTimeUnixNano: '1767225600001750000',
  });
});

it('drops what finds no room while a collector takes its time, requests first', async () => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using there = await collector((_request, response) => void released.then(() => response.end()));
  const { telemetry, said } = exporter(there.endpoint);
  for (let i = 0; i < 10_000; i++) tell(span('request'));
  // The first 512 are on their way, so as many more fit.
  expect(telemetry.counts).toEqual({ sent: 0, dropped: 10_000 - 512 - 2_048, failed: 0 });
  for (let height = 0; height < 2_048; height++) tell(span('cut', height));
  expect(telemetry.counts.dropped).toBe(10_000 - 512 - 2_048);
  tell(span('cut', 9_999));
  expect(telemetry.counts.dropped).toBe(10_000 - 512 - 2_048 + 1);
  release();
  await until(() => telemetry.counts.sent >= 512 + 2_048);
  await telemetry[Symbol.asyncDispose]();
  expect(Math.max(...there.bodies.map(({ length }) => length))).toBeLessThan(512 * 1_024);
  expect(said).toEqual([]);
});

it('says once that a collector takes nothing, and once that it does again', async () => {
  let status = 503;
  await using there = await collector((_request, response) => void response.writeHead(status).end());
  const { telemetry, said } = exporter(there.endpoint);
  const send = async (count: number) => {
    for (let i = 0; i < 512; i++) tell(span('seal', i));
    await until(() => telemetry.counts.failed + telemetry.counts.sent === count * 512);
  };
  await send(1);
  await send(2);
  status = 200;
  await send(3);
  await telemetry[Symbol.asyncDispose]();
  expect(said.map(([message]) => message)).toEqual(['the collector takes no spans', 'the collector takes spans again']);
  expect(said[0]![1]).toMatchObject({ reason: 'HTTP 503' });
  expect(telemetry.counts).toEqual({ sent: 512, dropped: 0, failed: 1_024 });
});

it('follows no redirect, and gives up on a collector that is not there', async () => {
  await using other = await collector();
  await using there = await collector(
    (_request, response) => void response.writeHead(307, { location: `${other.endpoint}v1/traces` }).end(),
  );
  const redirected = exporter(there.endpoint);
  tell(span('seal', 1));
  await redirected.telemetry[Symbol.asyncDispose]();
  expect(redirected.telemetry.counts).toEqual({ sent: 0, dropped: 0, failed: 1 });
  expect(other.spans).toEqual([]);

  const gone = exporter('http://127.0.0.1:1');
  tell(span('seal', 1));
  await gone.telemetry[Symbol.asyncDispose]();
  expect(gone.said).toEqual([
    ['the collector takes no spans', expect.objectContaining({ reason: expect.stringMatching(/./) })],
  ]);
});

it('measures nothing while nobody listens, and tells of what failed', async () => {
  expect(listened()).toBe(false);
  let asked = 0;
  const about = () => {
    asked += 1;
    return { subject: 1 };
  };
  expect(await timed('sign', async () => 7, about)).toBe(7);
  expect(asked).toBe(0);
  const heard: unknown[] = [];
  {
    using _ = onSpan((each) => heard.push(each));
    await expect(timed('sign', () => Promise.reject(new Error('a secret')), about)).rejects.toThrow('a secret');
    await timed(
      'cut',
      async () => undefined,
      () => undefined,
    );
  }
  tell(span('seal', 1));
  expect(heard).toEqual([expect.objectContaining({ name: 'sign', subject: 1, error: 'internal_error' })]);
  expect(JSON.stringify(heard)).not.toContain('secret');
});
