// What commands say when the daemon is not there, is slow, or is something else: message and exit code, as a process where
// that is what a script sees, and in this one where a deadline would be waited for.
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createNetServer, type Server as NetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { hex } from '../../actors/encoding.ts';
import { type House, openHouse, signed } from '../../test/house.ts';
import { PROBLEMS, problem } from '../api/problem.ts';
import { run } from '../demo/child.ts';
import { connect, REQUEST_ERRORS, RequestError } from './connection.ts';

const folder = mkdtempSync(join(tmpdir(), 'aegis-connection-'));
const config = join(folder, 'sequencer.toml');
writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(folder)}\n`);
let house: House;
let url: string;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000, batch_size: 50 } });
  ({ url } = await house.server.listen());
});
afterAll(async () => {
  await house?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const STARTS = 'no daemon answers there; start one (`aegisd start`, `systemctl start aegisd`)';

describe('a command', () => {
  it.each([
    ['status', []],
    ['send', ['--sample']],
    ['watch', []],
  ])('%s without a daemon', async (command, more) => {
    const ended = await run([command, '--config', config, ...more]);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain(`${join(folder, 'aegisd.sock')}: ${STARTS}`);
    expect(ended.stderr.trim().split('\n')).toHaveLength(1);
  });

  it.each([
    ['status', 'nonsense'],
    ['status', 'https://127.0.0.1:5050'],
    ['send', 'http://127.0.0.1:5050/path'],
    ['watch', 'http://user:password@127.0.0.1:5050'],
    ['verify', 'http://127.0.0.1:99999'],
  ])('%s with the URL %s is wrong use', async (command, wrong) => {
    const ended = await run([command, '--url', wrong]);
    expect(ended).toMatchObject({ code: 2, stdout: '' });
    expect(ended.stderr).toContain('expected http://host:port');
    expect(ended.stderr).not.toMatch(/^\s+at /m);
  });

  it.each([
    ['no hex', ['0xzz'], 'the transaction: expected 0x and an even number of hex digits'],
    ['no transaction', ['0x010203'], 'transaction refused: malformed_transaction, '],
    ['a label that is too long', ['--sample', '--tx-id', 'x'.repeat(300)], 'tx_id: '],
  ])('send of %s says what is wrong', async (_, args, said) => {
    const ended = await run(['send', '--url', url, ...args]);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain(`${url}: ${said}`);
    expect(ended.stderr.trim().split('\n')).toHaveLength(1);
  });

  it('send to a daemon that refuses says what to do', async () => {
    house.sequencer.drain();
    const ended = await run(['send', '--url', url, hex(await signed())]);
    const [, title, remedy] = PROBLEMS.draining;
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toBe(`${url}: POST /transactions: 503 draining: ${title} ${remedy}\n`);
  });

  it('send under a policy that names another log encrypts nothing', async () => {
    const policy = join(folder, 'policy.toml');
    writeFileSync(policy, `log_id = "0x${'00'.repeat(64)}"\n`);
    const ended = await run(['send', '--sample', '--url', url, '--policy', policy]);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain('the keyset was not verified: wrong_log');
    writeFileSync(policy, 'nonsense = 1\n');
    expect(await run(['send', '--sample', '--url', url, '--policy', policy])).toMatchObject({ code: 2, stdout: '' });
  });

  it('status sends no control sequences of a server to the terminal', async () => {
    const said = house.sequencer.status();
    const found = { ...said, sequencer: { ...said.sequencer, tee_platform: '\u001b[2Jevil' } };
    await using other = await serving((_, response) => response.end(JSON.stringify(found)));
    const ended = await run(['status', '--url', other.url]);
    expect(ended.code).toBe(0);
    expect(ended.stdout).toContain(' [2Jevil');
    expect(ended.stdout).not.toContain('\u001b');
  });

  it('status says first whether the daemon is ready, and why not', async () => {
    const said = house.sequencer.status();
    const statusOf = async (readiness: typeof said.readiness) => {
      await using other = await serving((_, response) => response.end(JSON.stringify({ ...said, readiness })));
      return (await run(['status', '--url', other.url])).stdout.split('\n')[0];
    };
    expect(await statusOf({ ready: true, reasons: [] })).toMatch(/^aegisd at \S+: ready$/);
    const reasons: typeof said.readiness.reasons = ['clock_held', 'handed_over'];
    expect(await statusOf({ ready: false, reasons })).toMatch(/: NOT READY \(clock_held, handed_over\)$/);
    expect(said.readiness.reasons).toEqual(house.sequencer.ready().reasons);
  });

  it('status of another server says so', async () => {
    await using other = await serving((_, response) => response.end('{"hello":"world"}'));
    const ended = await run(['status', '--url', other.url]);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toContain('GET /sequencer/status: 200, and not as an aegisd answers; check the address');
  });
});

describe('a connection', () => {
  const failure = async (asked: Promise<unknown>): Promise<RequestError> => {
    const error = await asked.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(RequestError);
    return error as RequestError;
  };
  const get = (target: string) => connect({ url: target, timeout_ms: 100 }).get('/x', z.object({ ok: z.boolean() }));

  it.each([
    ['HTML', 502, '<html>', 'GET /x: 502, and no JSON'],
    ['null', 200, 'null', 'GET /x: 200, and not as an aegisd answers'],
    ['null for an error', 500, 'null', 'GET /x: 500, and not as an aegisd refuses'],
    ['an error of its own', 404, '{"message":"Not found"}', 'GET /x: 404, and not as an aegisd refuses'],
  ])('to a server that answers %s', async (_, status, text, said) => {
    await using other = await serving((_request, response) => response.writeHead(status).end(text));
    const { code, message } = await failure(get(other.url));
    expect([code, message]).toEqual(['unexpected_answer', `${said}; ${REQUEST_ERRORS.unexpected_answer[1]}`]);
  });

  it('to a daemon that refuses has the code of the problem, its particulars and its remedy', async () => {
    const found = problem('invalid_query', { field: 'count', detail: 'expected a number\u001b[2J' });
    await using other = await serving((_, response) => response.writeHead(400).end(JSON.stringify(found)));
    const { code, message } = await failure(get(other.url));
    const [, title, remedy] = PROBLEMS.invalid_query;
    expect(code).toBe('invalid_query');
    expect(message).toBe(`GET /x: 400 invalid_query: ${title} (count: expected a number [2J) ${remedy}`);
  });

  it('that nobody answers on ends in time', async () => {
    await using silent = await serving(() => {});
    expect(await failure(get(silent.url))).toMatchObject({
      code: 'timeout',
      message: expect.stringMatching(/^no answer in 0\.1 s; /),
    });
    await using stalling = await serving((_, response) => response.write('{'));
    expect(await failure(get(stalling.url))).toMatchObject({ code: 'timeout' });
  });

  it('that breaks, or speaks something else, says so', async () => {
    await using breaking = await listening(createNetServer((socket) => socket.destroy()));
    expect(await failure(get(breaking.url))).toMatchObject({ code: 'unreachable' });
    await using other = await listening(createNetServer((socket) => socket.end('SSH-2.0-x\r\n')));
    expect(await failure(get(other.url))).toMatchObject({
      code: 'unexpected_answer',
      message: expect.stringMatching(/^what answers does not speak HTTP; /),
    });
  });

  it('takes a daemon’s URL alone', () => {
    expect(() => connect({ url: 'http://127.0.0.1:5050/x' })).toThrow(RequestError);
    for (const good of ['http://127.0.0.1:5050', 'http://[::1]:5050/', 'http://host']) connect({ url: good });
  });
});

const serving = (answer: RequestListener) => listening(createServer(answer));

async function listening(server: Server | NetServer): Promise<AsyncDisposable & { url: string }> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      if ('closeAllConnections' in server) server.closeAllConnections();
      server.close();
    },
  };
}
