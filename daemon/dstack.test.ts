// The guarded guest agent: each way to fail becomes a Fault that names the method, within its deadline, and leaves no
// connection, no timer and no byte of a key behind; and the next call works again.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { canonicalEventLog, replay } from '../actors/eventlog.ts';
import { readQuote } from '../actors/intelquote.ts';
import { reportField } from '../actors/tdx.ts';
import { type Agent, startAgent, type Trouble } from './demo/agent.ts';
import { deriveV0, makeAppKeys } from './demo/appkeys.ts';
import { GuestAgent } from './dstack.ts';
import { Fault } from './fault.ts';

const TIMEOUT_MS = 300;
const PATH = 'aegis/batch/ml-dsa-87/epoch/1';
const keys = makeAppKeys();
const { key, signature_chain } = deriveV0(keys, PATH, PATH, 'secp256k1');

let folder: string;
let agent: Agent;
let guest: GuestAgent;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-dstack-'));
  agent = await startAgent({ socket: join(folder, 's'), keys });
  guest = new GuestAgent({ socket: agent.socket, timeout_ms: TIMEOUT_MS });
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
afterEach(() => {
  agent.misbehave(undefined);
  agent.alter(undefined);
});

const ask = (of = guest) => of.getKey(PATH, PATH);

async function fault(call: Promise<unknown>): Promise<Fault> {
  const error = await call.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof Fault)) throw new Error(`not a Fault: ${error}`);
  const told = JSON.stringify({ ...error.detail, message: error.message, cause: String(error.cause) });
  expect(told).not.toContain(key.toHex().slice(0, 16));
  expect(told).not.toContain(key.toBase64().slice(0, 12));
  return error;
}

describe('a guest agent that works', () => {
  it('gives the key of the path with its chain, and who it is', async () => {
    const got = await ask();
    expect(got.key.toHex()).toBe(key.toHex());
    expect(got.key.buffer.byteLength).toBe(32);
    expect(got.signature_chain.map((link) => link.toHex())).toEqual(signature_chain.map((link) => link.toHex()));
    expect((await guest.info()).app_id).toEqual(keys.app_id);
  });

  it('may say what is not ASCII, though the SDK counts characters', async () => {
    agent.misbehave('non_ascii');
    expect((await ask()).key.toHex()).toBe(key.toHex());
    expect((await guest.info()).app_id).toEqual(keys.app_id);
  });
});

const failures: [trouble: Trouble, says: RegExp][] = [
  ['status_400', /failed GetKey: status 400: Failed to derive k256 key\./],
  ['status_404', /failed GetKey: status 404: Service not found: GetKey\./],
  ['html', /its answer is not what GetKey gives/],
  ['half', /its answer ended after \d+ of \d+ bytes/],
  ['chunked', /its answer has no Content-Length/],
  ['huge', /its answer is larger than 8388608 bytes/],
  ['reset', /failed GetKey: (?:ECONNRESET|it closed the connection without an answer)/],
  ['error_200', /failed GetKey: Failed to derive k256 key/],
  ['answer_400', /failed GetKey: status 400\./],
];

describe('a guest agent that fails', () => {
  it.each(failures)('by %s', async (trouble, says) => {
    agent.misbehave(trouble);
    const { message, detail } = await fault(ask());
    expect(message).toMatch(says);
    expect(detail).toMatchObject({ code: 'guest_agent_failed', method: 'GetKey', path: agent.socket });
    agent.misbehave(undefined);
    expect((await ask()).key.toHex()).toBe(key.toHex());
  });

  it.each(['hang', 'half_hang'] as const)('by %s, which ends at the deadline with its connection', async (trouble) => {
    agent.misbehave(trouble);
    const { detail } = await fault(ask());
    expect(detail).toMatchObject({
      code: 'guest_agent_timeout',
      method: 'GetKey',
      timeout_ms: TIMEOUT_MS,
    });
    agent.misbehave(undefined);
    expect((await ask()).key.toHex()).toBe(key.toHex());
  });

  it('leaves no timer of the SDK and no socket behind', async () => {
    const resources = () => process.getActiveResourcesInfo().filter((name) => /^(?:PipeWrap|Timeout)$/.test(name));
    await ask();
    const before = resources();
    agent.misbehave('hang');
    await Promise.all([fault(ask()), fault(guest.info()), fault(ask())]);
    agent.misbehave('half');
    await fault(ask());
    agent.misbehave(undefined);
    await ask();
    expect(resources().length).toBeLessThanOrEqual(before.length);
  });

  const shapes: [what: string, change: (answer: Record<string, unknown>) => Record<string, unknown>][] = [
    ['a key that is too short', (answer) => ({ ...answer, key: key.subarray(1).toHex() })],
    ['a key that is too long', (answer) => ({ ...answer, key: `${key.toHex()}00` })],
    ['a key that is not hex', (answer) => ({ ...answer, key: `zz${key.toHex().slice(2)}` })],
    ['a key that is no text', (answer) => ({ ...answer, key: 5 })],
    ['no key', ({ key: _, ...answer }) => answer],
    ['no chain', ({ signature_chain: _, ...answer }) => answer],
    ['half a chain', (answer) => ({ ...answer, signature_chain: (answer.signature_chain as string[]).slice(1) })],
    ['a link that is too short', (answer) => ({ ...answer, signature_chain: ['00', '00'] })],
    ['an error beside an answer', (answer) => ({ ...answer, error: `no key ${key.toHex()}` })],
  ];
  it.each(shapes)('by giving %s', async (_, change) => {
    agent.alter((_method, answer) => change(answer));
    expect((await fault(ask())).code).toBe('guest_agent_failed');
  });

  it('by an Info without a right app id', async () => {
    for (const app_id of [undefined, '', '0xabc', 'zz'.repeat(20), 7]) {
      agent.alter((_method, answer) => ({ ...answer, app_id }));
      const { message } = await fault(guest.info());
      expect(message).toContain('its answer is not what Info gives');
    }
    agent.alter((_method, answer) => ({ ...answer, tcb_info: '' }));
    expect((await fault(guest.info())).code).toBe('guest_agent_failed');
  });

  it('by not being HTTP at all', async () => {
    const path = join(folder, 'raw');
    const server = createServer((socket) => socket.end('hello\r\n\r\n')).listen(path);
    const { message } = await fault(ask(new GuestAgent({ socket: path, timeout_ms: TIMEOUT_MS })));
    expect(message).toContain('its answer is not HTTP');
    server.close();
  });
});

describe('a quote', () => {
  const data = new Uint8Array(64).map((_, i) => 255 - i);
  const quote = () => guest.quote(data);

  it('is over the bytes that were asked for, not over their text, with a log that leads to its registers', async () => {
    const asked: unknown[] = [];
    agent.alter((_method, answer, request) => {
      asked.push(request.report_data);
      return answer;
    });
    const { quote: bytes, event_log } = await quote();
    expect(asked).toEqual([data.toHex()]);
    const { report } = readQuote(bytes);
    expect(reportField(report, 'report_data')).toEqual(data);
    expect(replay(canonicalEventLog(event_log)).registers[3]).toEqual(reportField(report, 'rtmr3'));
  });

  it.each(failures)('fails by %s', async (trouble, says) => {
    agent.misbehave(trouble);
    const { message, detail } = await fault(quote());
    // What the agent itself says of GetKey, it says whatever it is asked for.
    expect(message.replaceAll('GetQuote', 'GetKey')).toMatch(says);
    expect(detail).toMatchObject({ code: 'guest_agent_failed', method: 'GetQuote', path: agent.socket });
    agent.misbehave(undefined);
    expect((await quote()).quote.length).toBeGreaterThan(4_000);
  });

  it('that never comes ends at the deadline', async () => {
    agent.misbehave('hang');
    expect((await fault(quote())).detail).toMatchObject({ code: 'guest_agent_timeout', method: 'GetQuote' });
  });

  const wrong: [what: string, change: (answer: Record<string, unknown>) => Record<string, unknown>][] = [
    ['for other report data', (answer) => ({ ...answer, report_data: '00'.repeat(64) })],
    ['for report data that is cut', (answer) => ({ ...answer, report_data: '00' })],
    ['without a quote', ({ quote: _, ...answer }) => answer],
    ['with an empty quote', (answer) => ({ ...answer, quote: '' })],
    ['with a quote that is not hex', (answer) => ({ ...answer, quote: 'zz' })],
    ['with a quote that is too large', (answer) => ({ ...answer, quote: '00'.repeat(32_769) })],
    ['without an event log', ({ event_log: _, ...answer }) => answer],
    ['with an event log that is too large', (answer) => ({ ...answer, event_log: ' '.repeat(1_048_577) })],
  ];
  it.each(wrong)('%s is none', async (_, change) => {
    agent.alter((_method, answer) => change(answer));
    expect((await fault(quote())).detail).toMatchObject({ code: 'guest_agent_failed', method: 'GetQuote' });
  });

  it('without an echo, as early agents give it, is one', async () => {
    agent.alter((_method, { report_data: _, ...answer }) => answer);
    expect((await quote()).event_log).toContain('compose-hash');
  });
});

describe('a socket', () => {
  it('that is missing, or is a file, is said to be', async () => {
    const missing = new GuestAgent({ socket: join(folder, 'none'), timeout_ms: TIMEOUT_MS });
    expect((await fault(ask(missing))).message).toContain('there is no such socket');
    const file = new GuestAgent({ socket: import.meta.filename, timeout_ms: TIMEOUT_MS });
    expect((await fault(ask(file))).message).toContain('nobody listens on its socket');
  });

  it('on which nobody listens is said to be, and works again once somebody does', async () => {
    await agent.die();
    await expect(new Promise((_, reject) => connect(agent.socket).on('error', reject))).rejects.toThrow('ECONNREFUSED');
    const { message, cause } = await fault(ask());
    expect(message).toContain('nobody listens on its socket');
    expect(cause).toMatchObject({ code: 'ECONNREFUSED' });
    await agent.rise();
    expect((await ask()).key.toHex()).toBe(key.toHex());
  });
});

describe('many calls', () => {
  it('are right, each its own, over few connections', async () => {
    const patient = new GuestAgent({ socket: agent.socket, timeout_ms: 25_000 });
    const paths = Array.from({ length: 1_000 }, (_, n) => `aegis/test/${n}`);
    const got = await Promise.all(paths.map((path) => patient.getKey(path, path)));
    expect(got.map(({ key }) => key.toHex())).toEqual(
      paths.map((path) => deriveV0(keys, path, path, 'secp256k1').key.toHex()),
    );
    expect(agent.connections_max).toBeLessThanOrEqual(8 + 2);
  });

  it('that wait behind calls that hang are late within their own deadline, and leave the line free', async () => {
    agent.misbehave('hang');
    const codes = await Promise.all(Array.from({ length: 50 }, async () => (await fault(ask())).code));
    expect(new Set(codes)).toEqual(new Set(['guest_agent_timeout']));
    agent.misbehave(undefined);
    const again = await Promise.all(Array.from({ length: 20 }, () => ask()));
    expect(new Set(again.map(({ key }) => key.toHex()))).toEqual(new Set([key.toHex()]));
  });

  it('are bounded in number', async () => {
    agent.misbehave('hang');
    const calls = Array.from({ length: 4_096 + 8 + 1 }, () => ask().catch((error: Fault) => error.message));
    const messages = (await Promise.all(calls)).map(String);
    expect(messages.filter((message) => message.includes('failed any call: 4096 calls wait for it'))).toHaveLength(1);
    expect(
      messages.filter((message) => message.includes('did not answer GetKey within 300 ms')).length,
    ).toBeGreaterThan(4_000);
  });
});
