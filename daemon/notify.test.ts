/** What systemd hears, on a real datagram socket; and that nothing is said, loaded or broken where nobody listens. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { NO_PYTHON, Supervisor } from '../test/supervisor.ts';
import { Notifier, openNotifier, START_MS } from './notify.ts';

const fail = (reason: string) => {
  throw new Error(reason);
};
const suffix = NO_PYTHON === undefined ? '' : ` (skipped: ${NO_PYTHON})`;

describe.skipIf(NO_PYTHON !== undefined)(`sd_notify${suffix}`, () => {
  it.each([false, true])('says what it must in the words of sd_notify(3); abstract name: %s', async (abstract) => {
    await using supervisor = await Supervisor.open({ abstract });
    const notifier = await openNotifier({ environment: { NOTIFY_SOCKET: supervisor.address }, onFailed: fail });
    expect(notifier.open).toBe(true);
    const before = process.hrtime.bigint() / 1000n;
    notifier.status('opening the store');
    notifier.status('opening the store');
    notifier.ready('serving\nREADY=0');
    notifier.reloading();
    notifier.stopping('sealing');
    const { pid } = await supervisor.take((lines) => lines[0] === 'STATUS=opening the store');
    expect(pid).toBe(process.pid);
    expect((await supervisor.take(() => true)).lines).toEqual(['READY=1', 'STATUS=serving READY=0']);
    const { lines } = await supervisor.take(() => true);
    expect(lines).toEqual(['RELOADING=1', expect.stringMatching(/^MONOTONIC_USEC=\d+$/)]);
    const usec = BigInt(lines[1]!.split('=')[1]!);
    expect(usec >= before && usec <= process.hrtime.bigint() / 1000n).toBe(true);
    expect((await supervisor.take(() => true)).lines).toEqual(['STOPPING=1', 'STATUS=sealing']);
    for (const late of ['ready', 'status'] as const) notifier[late]('late');
    notifier.reloading();
    notifier.stopping('again');
    expect((await supervisor.take(() => true)).lines).toEqual(['STOPPING=1', 'STATUS=again']);
    notifier.close();
  });

  it('beats while the loop turns, with the status when it changes, and not once it is closed', async () => {
    await using supervisor = await Supervisor.open();
    const environment = { NOTIFY_SOCKET: supervisor.address, WATCHDOG_USEC: '30000', WATCHDOG_PID: `${process.pid}` };
    const notifier = await openNotifier({ environment, onFailed: fail });
    let status = 'first';
    notifier.watch(() => status);
    await supervisor.take(([line]) => line === 'STATUS=first');
    await supervisor.take(([line]) => line === 'WATCHDOG=1');
    status = 'second';
    await supervisor.take(([line]) => line === 'STATUS=second');
    notifier.close();
    notifier.stopping('last');
    await supervisor.take(([line]) => line === 'STOPPING=1');
    expect(supervisor.messages).toEqual([]);
  });

  it('sends no beat where another process is the watched one', async () => {
    await using supervisor = await Supervisor.open();
    const environment = { NOTIFY_SOCKET: supervisor.address, WATCHDOG_USEC: '3000', WATCHDOG_PID: '1' };
    const notifier = await openNotifier({ environment, onFailed: fail });
    let asked = 0;
    const beating = await openNotifier({ environment: { ...environment, WATCHDOG_PID: '' }, onFailed: fail });
    notifier.watch(() => `asked ${++asked}`);
    beating.watch(() => 'beating');
    for (let beat = 0; beat < 3; beat++) await supervisor.take(([line]) => line === 'WATCHDOG=1');
    expect(asked).toBe(0);
    notifier.close();
    beating.close();
  });
});

describe('without systemd', () => {
  it('says nothing and fails nothing', async () => {
    const notifier = await openNotifier({ environment: {}, onFailed: fail });
    expect(notifier.open).toBe(false);
    notifier.watch(() => fail('asked'));
    notifier.ready('ready');
    notifier.reloading();
    notifier.stopping('stopping');
    notifier.close();
  });

  it.each([
    ['vsock:2:1234', 'expected a path, or @ and an abstract name'],
    ['@', 'expected a path'],
    [`/${'a'.repeat(108)}`, 'longer than 108 bytes'],
  ])('names what is wrong with NOTIFY_SOCKET=%s, once', async (NOTIFY_SOCKET, reason) => {
    const reasons: string[] = [];
    const notifier = await openNotifier({ environment: { NOTIFY_SOCKET }, onFailed: (text) => reasons.push(text) });
    expect(notifier.open).toBe(false);
    notifier.ready('ready');
    expect(reasons).toEqual([expect.stringContaining(reason)]);
  });
});

describe('a start that waits for another machine', () => {
  afterEach(() => void vi.useRealTimers());

  it('gets a start’s time anew while the loop turns, once more when the wait is over, and none for a stop', () => {
    vi.useFakeTimers();
    const said: string[] = [];
    const notifier = new Notifier((message) => said.push(Buffer.from(message).toString()) > 0, 0, fail);
    const more = `EXTEND_TIMEOUT_USEC=${START_MS}000`;
    notifier.prolonged();
    expect(said).toEqual([]);
    notifier.prolong();
    notifier.prolong();
    expect(said.splice(0)).toEqual([more]);
    // Each before the last has run out.
    vi.advanceTimersByTime(START_MS / 2);
    expect(said.splice(0).length).toBeGreaterThanOrEqual(2);
    notifier.prolonged();
    vi.advanceTimersByTime(START_MS);
    expect(said.splice(0)).toEqual([more]);
    notifier.prolong();
    notifier.stopping('given up');
    notifier.prolong();
    vi.advanceTimersByTime(START_MS);
    expect(said).toEqual([more, 'STOPPING=1\nSTATUS=given up']);
    notifier.close();
  });
});

describe('a receiver that has no room', () => {
  it('gets everything in order once it has some', async () => {
    const taken: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    let refusals = 3;
    const send = (message: Uint8Array) => {
      if (refusals-- > 0) return false;
      taken.push(Buffer.from(message).toString());
      if (taken.length === 3) resolve();
      return true;
    };
    const notifier = new Notifier(send, 0, fail);
    notifier.status('one');
    notifier.ready('two');
    notifier.stopping('three');
    await promise;
    expect(taken).toEqual(['STATUS=one', 'READY=1\nSTATUS=two', 'STOPPING=1\nSTATUS=three']);
  });
});
