// The simulated guest agent speaks the wire protocol of the real one: raw requests over its socket, the SDK's own client, and
// quotes that verify with their event log. What its keys are, keys/chain.test.ts holds against the published vectors.
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DstackClient } from '@phala/dstack-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalEventLog, replay } from '../../actors/eventlog.ts';
import { verifyEvidence } from '../../actors/verification.ts';
import { openSimulator } from '../tee/simulator.ts';
import { type Agent, startAgent } from './agent.ts';
import { openAppKeys } from './appkeys.ts';
import { run } from './child.ts';

const APPKEYS = new URL('../../test/fixtures/tee/dstack/appkeys.json', import.meta.url).pathname;
const keys = openAppKeys(APPKEYS);
const NOW_MS = Date.UTC(2026, 0, 1);

let folder: string;
let agent: Agent;
let newer: Agent;
let simulator: ReturnType<typeof openSimulator>;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-agent-'));
  simulator = openSimulator(join(folder, 'pki'), () => NOW_MS);
  agent = await startAgent({ socket: join(folder, 'old'), keys, quote: simulator.quoteOf });
  newer = await startAgent({ socket: join(folder, 'new'), keys, release: '0.6.0' });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await newer[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

interface Raw {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly body: Record<string, unknown>;
}

async function post(path: string, body: unknown, to = agent): Promise<Raw> {
  const { promise, resolve, reject } = Promise.withResolvers<Raw>();
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const asked = request({ socketPath: to.socket, path, method: 'POST' }, async (response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const answer = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
    resolve({ status: response.statusCode!, headers: response.headers, body: answer });
  });
  asked.on('error', reject).end(text);
  return promise;
}

describe('the wire', () => {
  it('is JSON with its length, bytes as lowercase hex, on a socket for its owner alone', async () => {
    const { status, headers, body } = await post('/GetKey', { path: 'test' });
    expect([status, headers['content-type'], headers.connection]).toEqual([200, 'application/json', 'keep-alive']);
    expect(Number(headers['content-length'])).toBe(JSON.stringify(body).length);
    expect(body.key).toBe('133e8ca6e532ead3e38f00347408771da296e9c70e8e3e362f485154e64ef4e8');
    expect(statSync(agent.socket).mode & 0o777).toBe(0o600);
  });

  it('says what is wrong with 400 and an error', async () => {
    const wrong: [path: string, body: unknown, error: string][] = [
      ['/GetKey', { algorithm: 'rsa' }, 'Unsupported algorithm'],
      ['/GetKey', { algorithm: 'secp256k1_prehashed' }, 'Unsupported algorithm'],
      ['/GetKey', { path: 5 }, 'invalid path'],
      ['/GetKey', '{', 'Failed to parse request'],
      ['/GetQuote', { report_data: '00'.repeat(65) }, 'Report data is too long'],
      ['/GetQuote', { report_data: 'xyz' }, 'invalid report_data'],
      ['/Sign', { algorithm: '', data: '00' }, 'Unsupported algorithm'],
      ['/Nothing', {}, 'Service not found: Nothing'],
      ['/constructor', {}, 'Service not found: constructor'],
    ];
    for (const [path, body, error] of wrong) {
      expect(await post(path, body)).toMatchObject({ status: 400, body: { error } });
    }
    for (const method of ['GetTlsKey', 'Attest']) {
      const { status, body } = await post(`/${method}`, {});
      expect([status, body.error]).toEqual([400, expect.stringContaining('is not supported by this simulated')]);
    }
  });

  it('of 0.6 has v0 twice and v1 beside it, and 404 for what is not there', async () => {
    const v0 = await post('/GetKey', { path: 'test', purpose: 'signing' }, newer);
    expect(v0).toMatchObject(
      await post('/GetKey', { path: 'test', purpose: 'signing' }).then(({ body }) => ({ body })),
    );
    expect((await post('/v0/GetKey', { path: 'test', purpose: 'signing' }, newer)).body).toEqual(v0.body);
    const v1 = await post('/v1/GetKey', { domain: 'test', algorithm: 'secp256k1' }, newer);
    expect(v1.body.key).toBe('5aeb09419e6e6b3bb4740d55387cee303f7df646379dc7884f6ce248bdde60e6');
    expect(await post('/Nothing', {}, newer)).toMatchObject({
      status: 404,
      body: { error: 'Service not found: Nothing' },
    });
    expect(await post('/EmitEvent', { event: 'x' }, newer)).toMatchObject({ status: 400 });
    expect((await post('/v1/GetKey', { domain: 'test', algorithm: 'secp256k1' })).status).toBe(404);
  });
});

describe('the SDK', () => {
  it('reads every answer', async () => {
    const client = new DstackClient(agent.socket);
    const info = await client.info();
    expect(info.app_id).toBe(agent.app_id);
    expect(info.tcb_info.event_log.map(({ event }) => event)).toContain('system-ready');
    expect((await client.version()).version).toBe('0.5.11');
    const { key } = await client.getKey('test', 'signing', 'ed25519');
    expect(key.toHex()).toBe('133e8ca6e532ead3e38f00347408771da296e9c70e8e3e362f485154e64ef4e8');
    for (const [algorithm, data] of [
      ['ed25519', 'message'],
      ['secp256k1', 'message'],
      ['secp256k1_prehashed', new Uint8Array(32).fill(7)],
    ] as const) {
      const { signature, public_key, signature_chain } = await client.sign(algorithm, data);
      expect(signature_chain).toHaveLength(3);
      expect((await client.verify(algorithm, data, signature, public_key)).valid).toBe(true);
      expect((await client.verify(algorithm, new Uint8Array(32), signature, public_key)).valid).toBe(false);
    }
  });
});

describe('a quote', () => {
  const evidence = async (report_data: string) => {
    const { body } = await post('/GetQuote', { report_data });
    const { collateral } = await simulator.quote(new Uint8Array(64));
    const event_log = canonicalEventLog(String(body.event_log));
    return { body, event_log, quote: Uint8Array.fromHex(String(body.quote)), collateral };
  };
  const judge = ({ quote, event_log, collateral }: Awaited<ReturnType<typeof evidence>>, report_data: Uint8Array) =>
    verifyEvidence(
      { quote_type: 'TDX', quote, event_log, collateral },
      { roots: [simulator.root], now_ms: NOW_MS, report_data, tcb_statuses: ['UpToDate'] },
    );

  it('verifies over its report data with its event log, and the padded report data comes back', async () => {
    const given = '12'.repeat(20);
    const padded = Uint8Array.fromHex(given.padEnd(128, '0'));
    const quoted = await evidence(`0x${given}`);
    expect(quoted.body.report_data).toBe(padded.toHex());
    expect(judge(quoted, padded)).toMatchObject({ ok: true });
    expect(judge(quoted, new Uint8Array(64))).toMatchObject({ ok: false });
    expect(replay(quoted.event_log).compose_hash?.toHex()).toBe((await post('/Info', {})).body.compose_hash);
  });

  it('holds what was emitted, and no log without it', async () => {
    const before = await evidence('');
    expect((await post('/EmitEvent', { event: 'note', payload: 'ab' })).status).toBe(200);
    const after = await evidence('');
    expect(judge(after, new Uint8Array(64))).toMatchObject({ ok: true });
    expect(judge({ ...after, event_log: before.event_log }, new Uint8Array(64))).toMatchObject({ ok: false });
  });
});

describe('aegisd guest-agent', () => {
  it('is refused where the settings say production', async () => {
    const config = join(folder, 'production.toml');
    writeFileSync(config, 'daemon.environment = "production"\nkeys.source = "sgx"\n');
    const { code, stderr } = await run(['guest-agent', '--socket', join(folder, 'no'), '--config', config]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/production/);
  });

  it('says when its socket is taken', async () => {
    const { code, stderr } = await run(['guest-agent', '--socket', agent.socket]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('something else is there')]);
  });
});
