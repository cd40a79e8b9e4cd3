// The auditor as operators run it: a process of its own, against a real daemon that behaves and a server that does not.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeEnclave, NOW_MS } from '../../test/forge.ts';
import { ForgedLog, serveLog } from '../../test/forgedlog.ts';
import { enveloped, type House, openHouse } from '../../test/house.ts';
import { run } from '../demo/child.ts';

let folder: string;
let house: House;
let url: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-audit-'));
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000 } });
  url = (await house.server.listen()).url;
});
afterAll(async () => {
  await house?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const file = (name: string) => join(folder, name);
const stateOf = (name: string) => JSON.parse(readFileSync(file(name), 'utf8'));
const audit = (...args: string[]) => run(['audit', '--allow-simulated', ...args]);

let height = 0;
async function sealBatch(): Promise<void> {
  const at = height++;
  await house.sequencer.submitEncrypted(await enveloped(house.sequencer));
  await house.sequencer.createBatch();
  await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(at));
}

describe('a daemon that behaves', () => {
  it('is followed, and what was seen is kept', async () => {
    await sealBatch();
    const args = ['--url', url, '--state', file('state.json'), '--once', '--json'];
    const first = await audit(...args);
    expect({ code: first.code, stderr: first.stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(first.stdout)).toMatchObject({ ok: true, size: 2, entries: 2, batches: 1, simulated: true });
    await sealBatch();
    await sealBatch();
    const second = await audit(...args);
    expect(JSON.parse(second.stdout)).toMatchObject({ ok: true, size: 4, entries: 2, batches: 3 });
    expect(stateOf('state.json').head.seal.size).toBe(4);
    const third = await audit(...args);
    expect(JSON.parse(third.stdout)).toMatchObject({ ok: true, size: 4, entries: 0 });
    expect(readdirSync(folder)).toEqual(['state.json']);
    const since = await run(['verify', '--allow-simulated', '--since', file('state.json'), '--url', url]);
    expect(since.code).toBe(0);
  });

  it('is followed until the auditor is told to end', async () => {
    const args = ['--url', url, '--state', file('live.json'), '--interval', '1'];
    const child: ChildProcess = spawn(process.execPath, ['daemon/main.ts', 'audit', '--allow-simulated', ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toMatch(
      / {2}size 4, 4 new entries, 3 batches, epoch 1, SIMULATED: one history$/,
    );
    await sealBatch();
    expect((await lines.next()).value).toMatch(/ {2}size 5, 1 new entry, 4 batches/);
    child.kill('SIGINT');
    expect(await exited).toEqual([0, null]);
    expect(stateOf('live.json').head.seal.size).toBe(5);
  });

  it('is not accepted on the word of a simulator', async () => {
    const { code, stdout } = await run(['audit', '--url', url, '--state', file('strict.json'), '--once']);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      ok: false,
      alarm: 'head_invalid',
      message: expect.stringContaining('simulated_evidence'),
    });
  });
});

describe('a daemon that forks its history', () => {
  it('raises an alarm, and leaves what proves it', async () => {
    const honest = new ForgedLog(await makeEnclave());
    for (let i = 0; i < 3; i++) honest.batch();
    const kept = honest.seal();
    const fork = honest.fork();
    fork.entries.length = 3;
    for (let i = 0; i < 3; i++) fork.batch();
    const shown = fork.seal({ timestamp_ms: NOW_MS + 1 });
    await using server = await serveLog(honest);
    const at = new Date(NOW_MS + 1_000).toISOString();
    const args = ['--url', server.url, '--state', file('forked.json'), '--at', at];
    expect((await audit(...args, '--once')).code).toBe(0);
    const before = readFileSync(file('forked.json'), 'utf8');
    server.show = fork;
    const { code, stdout, stderr } = await audit(...args);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      ok: false,
      alarm: 'consistency_invalid',
      message: expect.stringContaining('size 4 was kept, 6 is shown'),
      url: server.url,
      at,
      evidence: file('forked.json.alarm'),
    });
    expect(stderr).toContain('ALARM consistency_invalid');
    expect(stateOf('forked.json.alarm')).toMatchObject({ alarm: 'consistency_invalid', kept, shown });
    expect(readFileSync(file('forked.json'), 'utf8')).toBe(before);
  });
});

describe('exit code 2: it could not look', () => {
  it.each([
    ['nobody answers', ['--url', 'http://127.0.0.1:1', '--state', 'none.json', '--once'], 'no daemon answers'],
    ['the state is damaged', ['--url', 'http://127.0.0.1:1', '--state', 'damaged.json'], 'expected what aegisd audit'],
    ['the state is no JSON', ['--url', 'http://127.0.0.1:1', '--state', 'noise.json'], 'not JSON'],
    ['no state is named', ['--once'], '--state'],
  ])('%s', async (_, args, message) => {
    writeFileSync(file('damaged.json'), '{"version":1}');
    writeFileSync(file('noise.json'), '{');
    const { code, stdout, stderr } = await audit(...args.map((arg) => (arg.endsWith('.json') ? file(arg) : arg)));
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(message);
  });

  it('an edited state is not gone on from', async () => {
    const state = stateOf('state.json');
    state.frontier[0] = state.frontier[0].replace(/.$/, (digit: string) => (digit === '0' ? '1' : '0'));
    writeFileSync(file('edited.json'), JSON.stringify(state));
    const { code, stderr } = await audit('--url', url, '--state', file('edited.json'), '--once');
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('does not give the root') });
  });
});
