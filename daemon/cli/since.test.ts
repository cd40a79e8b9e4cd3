// `verify --since`: a kept head against later ones, from a daemon, from batch files, with proofs from either.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_POLICY } from '../../client/policy.ts';
import { COLLATERAL_END_MS, type Enclave, makeEnclave, makeSealed, NOW_MS } from '../../test/forge.ts';
import { ForgedLog, type LogServer, serveLog } from '../../test/forgedlog.ts';
import { UsageError } from './file.ts';
import { checkSince, type SinceReport } from './since.ts';

const judgement = { policy: DEFAULT_POLICY, allow_simulated: true, now_ms: NOW_MS + 1_000 };

let folder: string;
let enclave: Enclave;
let log: ForgedLog;
let fork: ForgedLog;
let server: LogServer;
const file = (name: string) => join(folder, name);
const write = (name: string, value: unknown) => writeFileSync(file(name), JSON.stringify(value));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-since-'));
  enclave = await makeEnclave();
  log = new ForgedLog(enclave);
  for (let i = 0; i < 3; i++) log.batch();
  log.seal();
  write('kept.json', log.answer('/log/head', {}));
  write('bare.json', log.seals[0]);
  fork = log.fork();
  fork.entries.length = 3;
  for (let i = 0; i < 2; i++) fork.batch();
  fork.seal({ timestamp_ms: NOW_MS + 2 });
  for (let i = 0; i < 4; i++) log.batch();
  log.seal({ timestamp_ms: NOW_MS + 1 });
  write('newest.json', log.seals[1]);
  write('proof.json', log.answer('/log/consistency', { from: 4, to: 8 }));
  server = await serveLog(log);
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  server.show = log;
});

const codeOf = (report: SinceReport) =>
  'code' in report ? report.code : report.grown.map((one) => (one.ok ? 'grown' : one.code)).join();

const sealAt = (of: ForgedLog, i: number) => ({ file: `seal ${i}`, seal: of.seals[i]!.seal });
const against = (since: string, files = [] as { file: string; seal: ForgedLog['seals'][0]['seal'] }[]) =>
  checkSince({ since: file(since), url: server.url }, judgement, files).then(codeOf);

describe('a kept head', () => {
  it.each(['kept.json', 'bare.json'])('%s is continued by what the daemon shows', async (name) => {
    const report = await checkSince({ since: file(name), url: server.url }, judgement, []);
    expect(report).toMatchObject({ ok: true, size: 4, grown: [{ of: server.url, size: 8, ok: true }] });
  });

  it('is judged at its own time, the newer one now', async () => {
    const late = { ...judgement, now_ms: COLLATERAL_END_MS + 1_000 };
    const report = await checkSince({ since: file('kept.json'), url: server.url }, late, []);
    expect(codeOf(report)).toMatch(/expired|crl|collateral|tcb_info|qe_identity/);
    expect(report).toMatchObject({ ok: false, size: 4 });
    expect(await against('newest.json')).toBe('grown');
  });

  it('history_shrank: a daemon that has less', async () => {
    server.show = fork;
    expect(await against('newest.json')).toBe('history_shrank');
    server.show = new ForgedLog(enclave);
    expect(await against('newest.json')).toBe('history_shrank');
  });

  it('history_forked: the same size and another root', async () => {
    const twin = fork.fork();
    twin.entries.length = 3;
    twin.batch();
    twin.seal();
    server.show = twin;
    expect(await against('kept.json')).toBe('history_forked');
  });

  it('consistency_invalid: more entries, and other ones', async () => {
    const other = fork.fork();
    for (let i = 0; i < 2; i++) other.batch();
    other.seal();
    server.show = other;
    expect(await against('kept.json')).toBe('consistency_invalid');
  });

  it('wrong_log', async () => {
    const other = new ForgedLog(await makeEnclave());
    for (let i = 0; i < 8; i++) other.batch();
    other.seal();
    server.show = other;
    expect(await against('kept.json')).toBe('wrong_log');
  });

  it('that does not verify is refused itself', async () => {
    write('altered.json', { ...log.seals[0], ml_dsa_sig: log.seals[1]!.ml_dsa_sig });
    expect(await against('altered.json')).toBe('seal_ml_dsa_invalid');
  });
});

describe('heads of batch files', () => {
  it('are compared in either direction of time', async () => {
    expect(await against('newest.json', [sealAt(log, 0)])).toBe('grown,grown');
    expect(await against('kept.json', [sealAt(log, 1)])).toBe('grown,grown');
  });

  it('history_shrank: smaller, and sealed later', async () => {
    expect(await against('newest.json', [sealAt(fork, 1)])).toBe('history_shrank,grown');
  });

  it('take a proof from a file', async () => {
    const given = { since: file('kept.json'), proof: [file('proof.json')] };
    expect(codeOf(await checkSince(given, judgement, [sealAt(log, 1)]))).toBe('grown');
    const wrong = { ...(log.answer('/log/consistency', { from: 4, to: 8 }) as object), consistency_path: [] };
    write('wrong.json', wrong);
    const lie = { since: file('kept.json'), proof: [file('wrong.json')] };
    expect(codeOf(await checkSince(lie, judgement, [sealAt(log, 1)]))).toBe('consistency_invalid');
  });

  it('may be what was kept', async () => {
    const batch = await makeSealed(enclave, { height: 3 });
    write('batch.json', batch);
    const same = { file: 'the same', seal: batch.slh_dsa_sig!.seal };
    const report = await checkSince({ since: file('batch.json') }, judgement, [same]);
    expect(report).toMatchObject({ ok: true, size: 6, grown: [{ ok: true }] });
  });

  it.each([
    ['no proof', { proof: [] }, 'needs --url, or --proof FILE with the answer of GET /log/consistency?from=4&to=8'],
    ['an unreadable proof', { proof: ['kept.json'] }, 'expected an answer of GET /log/consistency'],
    ['no daemon', { url: 'http://127.0.0.1:1' }, 'no daemon answers there'],
  ])('with %s: nothing is judged', async (_, { proof, url }: { proof?: string[]; url?: string }, message) => {
    const given = { since: file('kept.json'), ...(proof && { proof: proof.map(file) }), ...(url && { url }) };
    const asked = checkSince(given, judgement, [sealAt(log, 1)]);
    await expect(asked).rejects.toThrow(UsageError);
    await expect(asked).rejects.toThrow(message);
  });
});

it.each([
  ['no head', { size: 1 }],
  ['nothing sealed', { log_id: 'x', sealed: null }],
  ['a list', []],
])('a file with %s is no kept head', async (_, value) => {
  write('none.json', value);
  await expect(against('none.json')).rejects.toThrow(UsageError);
});

describe('aegisd verify --since', () => {
  const run = (...args: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
      const given = ['daemon/main.ts', 'verify', '--allow-simulated', '--at', new Date(NOW_MS + 500).toISOString()];
      execFile(process.execPath, [...given, ...args], (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
    });

  it('exits with 0 when history has grown, with 1 when it has not', async () => {
    const grown = await run('--since', file('kept.json'), '--url', server.url);
    expect({ code: grown.code, stderr: grown.stderr }).toEqual({ code: 0, stderr: '' });
    expect(grown.stdout).toContain(`kept.json: head of size 4, sealed ${new Date(NOW_MS).toISOString()}: verified`);
    expect(grown.stdout).toContain(`${server.url}: size 8, the same history`);
    server.show = fork;
    const forked = await run('--json', '--since', file('newest.json'), '--url', server.url);
    expect(forked.code).toBe(1);
    expect(JSON.parse(forked.stdout)).toMatchObject({
      ok: false,
      files: [],
      since: { size: 8, grown: [{ of: server.url, size: 5, ok: false, code: 'history_shrank' }] },
    });
  });

  it.each([
    [[], 'expected batch files, or --since with --url'],
    [['--since', 'kept.json'], 'expected a later head'],
    [['--url', 'http://x', 'batch.json'], 'go with --since'],
  ])('exits with 2 on %j', async (args, message) => {
    const { code, stderr } = await run(...args);
    expect({ code, said: stderr.includes(message) }).toEqual({ code: 2, said: true });
  });
});
