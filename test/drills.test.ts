// Drills for an operator's bad days: a disk that fills, a clock that is set, clients at their worst, a process at its limits, a
// platform that is dead for an hour. Each time the daemon degrades, says so, recovers by itself, and loses nothing that it has
// acknowledged. A witness that is gone is drilled in daemon/witnessed.test.ts, the largest numbers in drills.long.test.ts.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startAgent } from '../daemon/demo/agent.ts';
import { makeAppKeys } from '../daemon/demo/appkeys.ts';
import { createSequencer } from '../daemon/sequencer.ts';
import { openSimulator } from '../daemon/tee/simulator.ts';
import { idleClients } from './crowd.ts';
import { Drilled } from './drilled.ts';
import { enveloped, journaled, quiet, settings, until } from './house.ts';
import { LONG } from './long.ts';
import { needed } from './supervisor.ts';

const MIB = 1024 * 1024;
const linux = process.platform === 'linux';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-drills-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.runIf(linux)('clients at their worst', () => {
  const TOML = `[api]
listen = "127.0.0.1:0"
rate_limit_per_s = 0
request_timeout_ms = 1000
client_connections_max = 600
[feed]
client_max = 500
`;
  let daemon: Drilled;
  beforeAll(async () => {
    daemon = await Drilled.start({ state_dir: join(folder, 'clients'), toml: TOML });
  });
  afterAll(async () => {
    expect(await daemon.lost()).toEqual([]);
    expect(await daemon.stop()).toBe(0);
    await daemon[Symbol.asyncDispose]();
  });

  it('five hundred that follow the feed and say nothing hear each entry', async () => {
    await idleClients(daemon, 500);
  });

  it('slow ones are cut with an answer, and hold up nobody', async () => {
    const slow = Array.from({ length: 300 }, () => daemon.connect('127.0.0.9'));
    const said = slow.map(async (socket) => {
      let text = '';
      socket.on('data', (chunk) => {
        text += String(chunk);
      });
      await once(socket, 'close');
      return text;
    });
    const dripping = setInterval(() => {
      for (const socket of slow) if (socket.writable) socket.write('x');
    }, 100);
    const head =
      'POST /transactions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n';
    for (const socket of slow) socket.write(head);
    try {
      expect(await daemon.submit('127.0.0.8')).toMatchObject({ status: 202 });
      for (const text of await Promise.all(said)) expect(text).toMatch(/^HTTP\/1\.1 (408|429) /);
    } finally {
      clearInterval(dripping);
    }
    expect(await daemon.ready()).toMatchObject({ ready: true });
  });

  it.each([
    ['announced', `Content-Length: ${1024 * MIB}`],
    ['in chunks', 'Transfer-Encoding: chunked'],
  ])('a body of a gigabyte, %s, is refused before it is here', async (_, how) => {
    const before = daemon.peakMebibytes;
    const socket = daemon.connect();
    let said = '';
    socket.on('data', (chunk) => {
      said += String(chunk);
    });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.write(`POST /transactions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${how}\r\n\r\n`);
    const piece = Buffer.alloc(MIB, 'a');
    const chunk = how.startsWith('T') ? Buffer.concat([Buffer.from('100000\r\n'), piece, Buffer.from('\r\n')]) : piece;
    let sent = 0;
    for (; sent < 1024 && socket.writable; sent++) {
      if (!socket.write(chunk)) await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
    }
    socket.destroySoon();
    await closed;
    expect(said === '' || said.startsWith('HTTP/1.1 413 ')).toBe(true);
    expect(sent).toBeLessThan(1024);
    expect(daemon.peakMebibytes - before).toBeLessThan(128);
    expect(await daemon.submit()).toMatchObject({ status: 202 });
  });

  it('so many that no file can be opened any more leave those who are in their places', async () => {
    const held = daemon.connect();
    await once(held, 'connect');
    const alive = async () => {
      held.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n');
      const [chunk] = await once(held, 'data');
      return String(chunk).startsWith('HTTP/1.1 200 ');
    };
    expect(await alive()).toBe(true);
    const open = readdirSync(`/proc/${daemon.pid}/fd`).length;
    execFileSync('prlimit', ['--pid', String(daemon.pid), `--nofile=${open + 10}:`]);
    const crowd = Array.from({ length: 60 }, () => daemon.connect());
    // Those that it can't take are closed at once.
    await until(() => crowd.filter((socket) => socket.closed).length >= 40);
    expect(await alive()).toBe(true);
    for (const socket of crowd) socket.destroy();
    held.destroy();
    await until(async () => (await daemon.submit().catch(() => undefined))?.status === 202);
    expect(await daemon.ready()).toMatchObject({ ready: true });
  });
});

const NO_MOUNT = linux && process.getuid?.() === 0 ? undefined : 'only root mounts';
describe.skipIf(NO_MOUNT !== undefined)(
  `a disk that fills${NO_MOUNT === undefined ? '' : ` (skipped: ${NO_MOUNT})`}`,
  () => {
    it('stops admission first, then everything, says which, and goes on when there is room', async () => {
      const disk = join(folder, 'disk');
      mkdirSync(disk);
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', disk]);
      try {
        const filler = join(disk, 'filler');
        const state_dir = join(disk, 'state');
        const toml = `[api]\nlisten = "127.0.0.1:0"\n[store]\nfree_bytes_min = ${8 * MIB}\nretry_ms = 100\n`;
        await using daemon = await Drilled.start({ state_dir, toml });
        expect(await daemon.submit()).toMatchObject({ status: 202 });
        const free = () => Number(execFileSync('df', ['--output=avail', '-B1', disk]).toString().split('\n')[1]);
        writeFileSync(filler, Buffer.alloc(free() - 4 * MIB));
        await until(async () => (await daemon.ready()).reasons.includes('disk_low'));
        expect(await daemon.submit()).toMatchObject({ status: 503, json: { code: 'disk_low' } });
        fillUp(filler, free());
        // What still comes to be written finds no room, sooner or later; nothing more is promised meanwhile.
        expect(await daemon.submit()).toMatchObject({ status: 503 });
        expect((await daemon.ready()).ready).toBe(false);
        rmSync(filler);
        await until(async () => (await daemon.ready()).ready);
        expect(await daemon.submit()).toMatchObject({ status: 202 });
        const { acknowledged } = daemon;
        expect(await daemon.stop()).toBe(0);
        await using again = await Drilled.start({ state_dir, toml });
        expect(await again.lost(acknowledged)).toEqual([]);
      } finally {
        execFileSync('umount', ['-l', disk]);
      }
    });
  },
);

/** The daemon may have taken some of that meanwhile: then what is left is as much as can be written. */
function fillUp(file: string, bytes: number): void {
  try {
    writeFileSync(file, Buffer.alloc(bytes), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

const NO_FAKETIME = linux ? needed('faketime', ['--version']) : 'only on Linux';
describe.skipIf(NO_FAKETIME !== undefined)(
  `a clock that is set${NO_FAKETIME === undefined ? '' : ` (skipped: ${NO_FAKETIME})`}`,
  () => {
    const steps = LONG ? ['+1d', '-1d'] : ['-1d'];
    it.each(steps)('by %s under the process is held and said, while envelopes come in', async (step) => {
      const clock = join(folder, `clock${step}`);
      writeFileSync(clock, '+0\n');
      const preload = execFileSync('faketime', ['-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
      const environment = {
        LD_PRELOAD: preload.replace('libfaketime.so', 'libfaketimeMT.so'),
        FAKETIME_TIMESTAMP_FILE: clock,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
        DONT_FAKE_MONOTONIC: '1',
      };
      const toml = '[api]\nlisten = "127.0.0.1:0"\n';
      await using daemon = await Drilled.start({ state_dir: join(folder, `clocked${step}`), toml, environment });
      expect(await daemon.submit()).toMatchObject({ status: 202 });
      writeFileSync(clock, `${step}\n`);
      await until(async () => (await daemon.ready()).reasons.includes('clock_held'));
      const answer = await daemon.submit();
      expect(answer).toMatchObject({ status: 202 });
      // The receipt has the time that was believed, which is ours.
      expect(Math.abs(answer.json.receipt.timestamp_ms - Date.now())).toBeLessThan(3_600_000);
      writeFileSync(clock, '+0\n');
      await until(async () => (await daemon.ready()).ready);
      expect(await daemon.lost()).toEqual([]);
    });
  },
);

describe.runIf(linux)('a process that may have little memory', () => {
  it('takes no more bodies than it has room for, and goes on', async () => {
    const toml = '[api]\nlisten = "127.0.0.1:0"\nrate_limit_per_s = 0\n';
    const node = ['--max-old-space-size=96'];
    await using daemon = await Drilled.start({ state_dir: join(folder, 'memory'), toml, node });
    expect(await daemon.submit()).toMatchObject({ status: 202 });
    // Each is parsed whole, and all of them at once would be more than it may have.
    const body = Array.from({ length: 40_000 }, (_, i) => ({ a: String(i).padStart(90, 'a') }));
    const answers = await Promise.all(
      Array.from({ length: 24 }, () => daemon.ask('/transactions', body).catch(() => null)),
    );
    for (const answer of answers) if (answer !== null) expect([400, 413, 429, 503]).toContain(answer.status);
    expect(daemon.isRunning).toBe(true);
    expect(await daemon.submit()).toMatchObject({ status: 202 });
    expect(await daemon.lost()).toEqual([]);
  });
});

describe('a guest agent that is dead for an hour', () => {
  it('holds seals and says so, not admission and batches; when it is back, one seal covers all', async () => {
    const state_dir = join(folder, 'agent');
    const hands = { ms: Date.now() };
    const now = () => hands.ms;
    const platform = openSimulator(join(folder, 'platform'), now);
    const agentOptions = { socket: join(folder, 'agent.sock'), keys: makeAppKeys(), quote: platform.quoteOf };
    let agent = await startAgent(agentOptions);
    const { collateral } = await platform.quote(new Uint8Array(64));
    mkdirSync(join(folder, 'collateral'));
    writeFileSync(join(folder, 'collateral', 'tdx-414547495300-platform.json'), JSON.stringify(collateral));
    const config = settings(state_dir, {
      seal: { interval_ms: 0 },
      attestation: {
        primary: 'dstack',
        dstack_socket: agent.socket,
        collateral_dir: join(folder, 'collateral'),
        pccs_url: '',
        quote_lifetime_s: 600,
        policy: { roots: [platform.root.toBase64()] },
      },
    });
    const fatal = (error: unknown) => {
      throw error;
    };
    const sequencer = await createSequencer({ config, log: quiet, now, fatal });
    try {
      const batch = async () => {
        expect(await sequencer.submitEncrypted(await enveloped(sequencer))).toMatchObject({ ok: true });
        const height = await sequencer.createBatch();
        await journaled(sequencer, 'batch_created', (data) => data.height === height);
        return height!;
      };
      const covers = (height: number) =>
        journaled(sequencer, 'seal_created', ({ heights }) => (heights as number[]).includes(height));
      await covers(await batch());
      await agent[Symbol.asyncDispose]();
      const heights = [];
      for (let minute = 0; minute < 60; minute += 20) {
        heights.push(await batch());
        hands.ms += 20 * 60_000;
      }
      await until(() => sequencer.ready().reasons.includes('not_attested'));
      expect(sequencer.ready()).toMatchObject({ ready: false, failing: [{ role: 'primary', provider: 'dstack' }] });
      expect(sequencer.status().log).not.toMatchObject({ size: sequencer.status().log.sealed });
      agent = await startAgent(agentOptions);
      await Promise.all(heights.map(covers));
      await until(() => sequencer.ready().ready);
    } finally {
      await sequencer.close(0);
      await agent[Symbol.asyncDispose]();
    }
  });
});
