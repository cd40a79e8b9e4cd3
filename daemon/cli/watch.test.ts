// The command as it runs in a terminal: a process of its own, over the unix socket, while the daemon's doors close and open.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer as createHttp } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { enveloped, type House, openHouse, quiet } from '../../test/house.ts';
import { createServer, type Listening, type Server } from '../api/server.ts';
import { describeEntry } from './entry.ts';

let house: House;
let server: Server;
let at: Listening;
let config: string;
beforeAll(async () => {
  house = await openHouse({ sequencer: { batch_interval_ms: 60_000 } });
  server = house.server;
  at = await server.listen();
  config = join(house.state_dir, 'watch.toml');
  writeFileSync(config, `[daemon]\nstate_dir = ${JSON.stringify(house.state_dir)}\n`);
  await sealBatch();
});
afterAll(async () => {
  await server?.close();
  await house?.[Symbol.asyncDispose]();
});

let height = 0;
async function sealBatch(): Promise<void> {
  const here = height++;
  await house.sequencer.submitEncrypted(await enveloped(house.sequencer));
  await house.sequencer.createBatch();
  await house.journaled('seal_created', ({ heights }) => (heights as number[]).includes(here));
}

const newest = () => house.sequencer.store.journalHead().cursor;
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

class Watch {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  readonly said: string[] = [];
  readonly exited: Promise<unknown[]>;
  #wake = () => {};

  constructor(...args: string[]) {
    const daemon = args.includes('--url') ? [] : ['--config', config];
    this.child = spawn(process.execPath, ['daemon/main.ts', 'watch', ...daemon, ...args], { stdio: 'pipe' });
    this.exited = once(this.child, 'close');
    for (const [stream, to] of [
      [this.child.stdout, this.lines],
      [this.child.stderr, this.said],
    ] as const) {
      createInterface({ input: stream! }).on('line', (line) => {
        to.push(line);
        this.#wake();
      });
    }
    watches.push(this);
  }

  /** Until `reached` holds after a line of either stream. */
  async until(reached: () => boolean): Promise<void> {
    while (!reached()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  get cursors(): number[] {
    return this.lines.map((line) => (JSON.parse(line) as { cursor: number }).cursor);
  }
}
const watches: Watch[] = [];
afterEach(() => {
  for (const { child } of watches.splice(0)) child.kill('SIGKILL');
});

describe('aegisd watch', () => {
  it('shows entries in words, and ends with 0 on Ctrl-C', async () => {
    const watch = new Watch('--cursor', '0');
    await watch.until(() => watch.lines.length === newest());
    const day = '\\d\\d:\\d\\d:\\d\\d\\.\\d{3}';
    const expected = [
      'rotated    epoch 1: genesis',
      'sealed     the first 1 log entry',
      'admitted   envelope 0x\\w{8}…\\w{8}, number \\d+, epoch 1',
      'ordered    1 envelope into batch 0',
      'signed     batch 0 0x\\w{8}…\\w{8}: 1 transaction',
      'sealed     the first 2 log entries, batch 0',
    ];
    for (const words of expected) expect(watch.lines).toContainEqual(expect.stringMatching(`^${day} +\\d+  ${words}$`));
    watch.child.kill('SIGINT');
    expect(await watch.exited).toEqual([0, null]);
    expect(watch.said).toEqual([]);
  });

  it('goes on behind its cursor when the connection ends, without a gap or a double', async () => {
    const from = newest();
    const all = new Watch('--json', '--cursor', String(from - 1));
    // Without a cursor it begins with what comes once it is there.
    const some = new Watch('--json', '--types', 'batch_created,seal_created');
    while (some.lines.length === 0) await sealBatch();
    await server.close();
    await sealBatch();
    await Promise.all([all, some].map((watch) => watch.until(() => watch.said.length > 0)));
    expect(all.said[0]).toMatch(/the connection ended \(server_closing\); connecting again behind cursor \d+$/);
    server = await createServer({ sequencer: house.sequencer, log: quiet, version: '0' });
    at = await server.listen();
    await sealBatch();
    await all.until(() => all.cursors.at(-1) === newest());
    await some.until(() => some.cursors.at(-1) === newest());
    expect(all.cursors).toEqual(range(from, newest()));
    const { entries } = (await server.app.inject(`/feed/entries?limit=1000&after=${some.cursors[0]! - 1}`)).json() as {
      entries: { cursor: number; type: string }[];
    };
    const wanted = entries.filter(({ type }) => type === 'batch_created' || type === 'seal_created');
    expect(some.cursors).toEqual(wanted.map(({ cursor }) => cursor));
    expect([all.said.length, some.said.length]).toEqual([1, 1]);
  });

  it('speaks TCP where it is told to', async () => {
    const watch = new Watch('--url', at.url, '--cursor', '0', '--types', 'rotation_executed', '--json');
    await watch.until(() => watch.lines.length === 1);
    expect(JSON.parse(watch.lines[0]!)).toMatchObject({ cursor: 1, type: 'rotation_executed', data: { to_epoch: 1 } });
  });

  it.each([
    ['a cursor of another daemon', ['--cursor', '999999'], 1, 'no entry has cursor 999999 yet'],
    ['no daemon', ['--url', 'http://127.0.0.1:1'], 1, 'no daemon answers there'],
    ['an unknown type', ['--types', 'nope'], 2, 'expected a comma-separated list of status'],
    ['no cursor', ['--cursor', '-1'], 2, 'expected an integer from 0'],
  ])('ends on %s', async (_, args, code, message) => {
    const watch = new Watch(...args);
    expect(await watch.exited).toEqual([code, null]);
    expect(watch.said.join('\n')).toContain(message);
    expect(watch.lines).toEqual([]);
  });

  it('ends when what answers is no daemon', async () => {
    const other = createHttp((_request, response) => response.writeHead(404).end());
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const watch = new Watch('--cursor', '0', '--url', `http://127.0.0.1:${port}`);
    expect(await watch.exited).toEqual([1, null]);
    expect(watch.said[0]).toContain('refused with 404');
    other.close();
  });

  it('ends when its reader goes', async () => {
    const watch = new Watch('--cursor', '0');
    await watch.until(() => watch.lines.length > 0);
    watch.child.stdout!.destroy();
    await sealBatch();
    expect(await watch.exited).toEqual([0, null]);
  });
});

describe('an entry in words', () => {
  const entry = (type: string, data: unknown, at_ms = 0) => describeEntry({ cursor: 7, type, at_ms, data });

  it('counts refusals', () => {
    const refused = ['unopenable', 'unopenable', 'replayed'].map((reason) => ({ reason }));
    expect(entry('batch_created', { height: 3, batch_id: '0x12', tx_count: 2, refused })).toBe(
      '00:00:00.000       7  signed     batch 3 0x12: 2 transactions, 3 refused (unopenable 2, replayed)',
    );
    expect(entry('txs_ordered', { height: 3, from: 5, order: [1, 2] })).toMatch(/2 more envelopes into batch 3$/);
    expect(entry('seal_created', { size: 9, heights: [4, 5, 6] })).toMatch(/9 log entries, batches 4 to 6$/);
  });

  it('is shown as it came where it is unknown, and never reaches for the terminal', () => {
    expect(entry('qrm_update', { score: 3 })).toBe('00:00:00.000       7  qrm_update {"score":3}');
    expect(entry('batch_created', { height: 'x' })).toBe('00:00:00.000       7  batch_created {"height":"x"}');
    expect(entry('\u001b[2Jx', undefined, 2 ** 53 - 1)).toBe('--:--:--.---       7   [2Jx      ');
    expect(entry('rotation_executed', { from_epoch: null, to_epoch: 1, reason: '\u009b1m\u202e' })).toMatch(
      /: {2}1m $/,
    );
    expect(entry('status', 'x'.repeat(1_000)).length).toBeLessThan(250);
  });
});
