// The real process under the signals and the supervisor that it has in an operator's hands: what systemd hears from start to stop, reloads
// while clients submit, and every signal early, twice and together with others. Nothing that was acknowledged is lost by any of them.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Keyset } from '../actors/keyset.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { connect } from '../daemon/cli/connection.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';
import type { Status } from '../daemon/status.ts';
import { found } from './founded.ts';
import { settings } from './house.ts';
import { itLong, LONG } from './long.ts';
import { NO_PYTHON, Supervisor } from './supervisor.ts';

const MAIN = join(import.meta.dirname, '..', 'daemon', 'main.ts');

/** Several starts each, on a machine that has other things to do. */
vi.setConfig({ testTimeout: 300_000 });

let folder: string;
let file: string;
const running: Daemon[] = [];
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-signals-'));
  await found(settings(join(folder, 'state')));
  file = join(folder, 'etc', 'sequencer.toml');
  mkdirSync(join(folder, 'etc'));
  replace('');
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((daemon) => daemon.end()));
  rmSync(folder, { recursive: true, force: true });
});

/** As editors do it. */
function replace(more: string, daemon = ''): void {
  const state_dir = JSON.stringify(join(folder, 'state'));
  const text = `[daemon]\nstate_dir = ${state_dir}\n${daemon}\n[api]\nlisten = "127.0.0.1:0"\nrate_limit_per_s = 0\n${more}`;
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

class Daemon {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown[]>;
  readonly said: string[] = [];
  readonly announced: Promise<string>;
  #wake = () => {};

  constructor(environment: NodeJS.ProcessEnv = {}, command: 'start' | 'witness' = 'start') {
    const args = ['--disable-warning=ExperimentalWarning', MAIN, command, '--json', '--config', file];
    this.child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    this.exited = once(this.child, 'exit');
    this.announced = once(createInterface({ input: this.child.stdout! }), 'line').then(
      ([line]) => (JSON.parse(line as string) as { url: string }).url,
    );
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      this.said.push(line);
      this.#wake();
    });
    running.push(this);
  }

  send(...signals: NodeJS.Signals[]): void {
    for (const signal of signals) this.child.kill(signal);
  }

  /** Waits for a line of the log and takes it and all before it away. */
  async line(part: string): Promise<string> {
    return this.said.splice(0, (await this.heard(part)) + 1).at(-1)!;
  }

  /** Waits for a line of the log, and leaves all where they are. */
  async heard(part: string): Promise<number> {
    for (;;) {
      const at = this.said.findIndex((line) => line.includes(part));
      if (at >= 0) return at;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async end(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }
}

const statusOf = async (daemon: Daemon): Promise<Status> =>
  connect({ url: await daemon.announced }).get<Status>('/sequencer/status');

/** Submits one after the other until the daemon is gone. @returns ids of what was acknowledged */
async function load(daemon: Daemon, count = 30): Promise<string[]> {
  const connection = connect({ url: await daemon.announced });
  const { keyset } = await connection.get<{ keyset: Keyset }>('/epochs/1/keyset');
  const acknowledged: string[] = [];
  try {
    for (const raw of await signTransactions(count, Number(keyset.chain_id))) {
      const envelope = await encryptEnvelope({ keyset, raw, scheme: 'ecies' });
      const { envelope_id } = await connection.post<{ envelope_id: string }>('/transactions', envelope);
      acknowledged.push(envelope_id);
    }
  } catch {
    // It stopped, as it was told to.
  }
  return acknowledged;
}

/** Linux's numbers. */
const SIGHUP = 1;
const SIGUSR2 = 12;

/** Whether the process has a handler for it: proc(5), SigCgt. */
function taken({ child }: Daemon, signal: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1];
  return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

/** Every one is known, and settled or still on its way. */
async function holds(daemon: Daemon, acknowledged: readonly string[]): Promise<void> {
  const connection = connect({ url: await daemon.announced });
  for (const id of acknowledged) await connection.get(`/transactions/${id}`);
}

const suffix = NO_PYTHON === undefined ? '' : ` (skipped: ${NO_PYTHON})`;
describe.skipIf(NO_PYTHON !== undefined)(`a supervisor${suffix}`, () => {
  it('hears of the start, readiness, beats, a reload and the stop, from the process itself', async () => {
    await using supervisor = await Supervisor.open();
    const daemon = new Daemon({ NOTIFY_SOCKET: supervisor.address, WATCHDOG_USEC: '300000' });
    const first = await supervisor.take(() => true);
    expect(first).toEqual({ pid: daemon.child.pid, lines: [expect.stringMatching(/^STATUS=Starting/)] });
    const ready = await supervisor.take(() => true);
    expect(ready.pid).toBe(daemon.child.pid);
    expect(ready.lines[0]).toBe('READY=1');
    const url = await daemon.announced;
    // It listens by then.
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect(ready.lines[1]).toContain(url);
    await supervisor.take(([line]) => line === 'WATCHDOG=1');

    daemon.send('SIGHUP');
    const { lines } = await supervisor.take(([line]) => line === 'RELOADING=1');
    expect(lines[1]).toMatch(/^MONOTONIC_USEC=\d+$/);
    await supervisor.take(([line]) => line === 'READY=1');
    replace('[ordering]\nmode = "nonsense"\n');
    const refused = await supervisor.take(([line, status]) => line === 'READY=1' && status!.includes('REFUSED'));
    expect(refused.lines[1]).toContain(url);

    daemon.send('SIGTERM');
    await supervisor.take(([line]) => line === 'STOPPING=1');
    expect(await daemon.exited).toEqual([0, null]);
    expect(supervisor.messages.filter(({ lines }) => lines[0] !== 'WATCHDOG=1')).toEqual([]);
  });

  it('hears of a witness too', async () => {
    await using supervisor = await Supervisor.open();
    const witness = new Daemon({ NOTIFY_SOCKET: supervisor.address, WATCHDOG_USEC: '300000' }, 'witness');
    const { lines } = await supervisor.take(([line]) => line === 'READY=1');
    expect(lines[1]).toContain(await witness.announced);
    await supervisor.take(([line]) => line === 'WATCHDOG=1');
    witness.send('SIGTERM');
    await supervisor.take(([line]) => line === 'STOPPING=1');
    expect(await witness.exited).toEqual([0, null]);
  });

  it('hears no beat of a main loop that stands still', async () => {
    await using supervisor = await Supervisor.open();
    const daemon = new Daemon({ NOTIFY_SOCKET: supervisor.address, WATCHDOG_USEC: '300000' });
    await supervisor.take(([line]) => line === 'WATCHDOG=1');
    daemon.send('SIGSTOP');
    // The beats of a second daemon are the clock: three of them, and none of the first.
    await using other = await Supervisor.open();
    supervisor.messages.length = 0;
    const beating = await openBeat(other.address);
    for (let beat = 0; beat < 3; beat++) await other.take(([line]) => line === 'WATCHDOG=1');
    beating.close();
    expect(supervisor.messages.length).toBeLessThanOrEqual(1);
    daemon.send('SIGCONT');
    await supervisor.take(([line]) => line === 'WATCHDOG=1');
  });
});

async function openBeat(address: string) {
  const { openNotifier } = await import('../daemon/notify.ts');
  const environment = { NOTIFY_SOCKET: address, WATCHDOG_USEC: '300000' };
  const notifier = await openNotifier({
    environment,
    onFailed: (reason) => {
      throw new Error(reason);
    },
  });
  notifier.watch(() => 'beating');
  return notifier;
}

describe('a reload of the process', () => {
  it('takes what is live under load, by the file and by SIGHUP, and keeps the old on a mistake', async () => {
    const daemon = new Daemon();
    await daemon.announced;
    const before = await statusOf(daemon);
    const loading = load(daemon);

    replace('[ordering]\nmode = "risk_aware"\n[chain]\nchain_id = 5\n');
    await daemon.line('settings reloaded');
    const after = await statusOf(daemon);
    expect(after.sequencer.ordering_mode).toBe('risk_aware');
    expect(after.settings).toMatchObject({ waiting: ['chain.chain_id'], rejected_at_ms: null });
    expect(after.settings.config_digest).not.toBe(before.settings.config_digest);
    expect(after.chain.chain_id).toBe(before.chain.chain_id);

    replace('[ordering]\nmode = "risky"\n[seal]\ninterval = 1\n');
    const refused = await daemon.line('settings refused');
    expect(refused).toContain('ordering.mode');
    expect(refused).toContain('seal.interval');
    const kept = (await statusOf(daemon)).settings;
    expect(kept).toMatchObject({ config_digest: after.settings.config_digest, rejected_at_ms: expect.any(Number) });

    replace('');
    await daemon.line('settings reloaded');
    daemon.send('SIGHUP', 'SIGHUP');
    await daemon.line('nothing to apply');
    expect((await statusOf(daemon)).settings).toMatchObject({
      config_digest: before.settings.config_digest,
      waiting: [],
      rejected_at_ms: null,
    });
    const acknowledged = await loading;
    expect(acknowledged.length).toBe(30);
    await holds(daemon, acknowledged);
  });

  itLong('turns the log down, and its own word of that is the first that is missing', async () => {
    const daemon = new Daemon();
    const before = await statusOf(daemon);
    replace('', 'log_level = "error"');
    while ((await statusOf(daemon)).settings.config_digest === before.settings.config_digest);
    replace('nonsense = 1\n', 'log_level = "error"');
    await daemon.line('listening');
    const after = [...daemon.said];
    await daemon.line('settings refused');
    expect([...after, ...daemon.said].filter((line) => line.includes('"level":"info"'))).toEqual([]);
  });
});

describe('signals', () => {
  it.runIf(process.platform === 'linux')(
    'as soon as it takes them are kept or said, and only a stop ends it',
    async () => {
      const daemon = new Daemon();
      while (!taken(daemon, SIGHUP)) await new Promise((resolve) => setImmediate(resolve));
      daemon.send('SIGHUP', 'SIGHUP');
      const url = await daemon.announced;
      await daemon.line('nothing to apply');
      daemon.send('SIGUSR2', 'SIGHUP', 'SIGUSR2', 'SIGHUP');
      // In either order: of signals that wait together, the kernel delivers the lower number first.
      // Nobody has said where clients would go on.
      await daemon.heard('SIGUSR2: no handover');
      await daemon.heard('nothing to apply');
      expect((await fetch(`${url}/health`)).status).toBe(200);
      daemon.send('SIGTERM', 'SIGTERM');
      expect(await daemon.exited).toEqual([0, null]);
    },
  );

  it('SIGTERM with all others at once, under load, stops in good order and loses nothing', async () => {
    const daemon = new Daemon();
    await daemon.announced;
    const loading = load(daemon, 200);
    while ((await statusOf(daemon)).journal_cursor < 20);
    daemon.send('SIGUSR1', 'SIGHUP', 'SIGUSR2', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGTERM');
    expect(await daemon.exited).toEqual([0, null]);
    const acknowledged = await loading;
    expect(acknowledged.length).toBeGreaterThan(0);
    await holds(new Daemon(), acknowledged);
  });

  itLong('SIGINT twice under load ends at once, and the next start has all that was acknowledged', async () => {
    const daemon = new Daemon();
    await daemon.announced;
    const loading = load(daemon, 200);
    while ((await statusOf(daemon)).journal_cursor < 20);
    daemon.send('SIGINT');
    await daemon.line('stopping');
    daemon.send('SIGINT');
    const [code] = await daemon.exited;
    // Or it was quicker than the second one.
    expect([130, 0]).toContain(code);
    await holds(new Daemon(), await loading);
  });

  const stops = LONG ? (['SIGTERM', 'SIGINT'] as const) : (['SIGTERM'] as const);
  it.runIf(process.platform === 'linux').each(stops)('%s during start-up is an end in good order', async (signal) => {
    const daemon = new Daemon();
    // Node itself takes SIGTERM and SIGINT; SIGUSR2 is taken right after ours of both, before anything is opened.
    while (!taken(daemon, SIGUSR2)) await new Promise((resolve) => setImmediate(resolve));
    expect(daemon.said).toEqual([]);
    daemon.send(signal);
    expect(await daemon.exited).toEqual([0, null]);
    await statusOf(new Daemon());
  });
});
