// docs/tutorial.md as a newcomer goes it: its shell blocks in order, in a copy of the checkout as it was cloned. The first block
// is the first terminal's, all others are one shell's. What differs here: the packages are linked, not installed again, and the
// daemon listens on a free port, because other tests and other daemons may run beside.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LONG } from './long.ts';

const root = join(import.meta.dirname, '..');
const DEFAULT = '127.0.0.1:5050';
const TIMEOUT_MS = 300_000;

let folder: string;
let address: string;
let daemon: ChildProcess | undefined;
let log = '';

const blocks = () => {
  const text = readFileSync(join(root, 'docs/tutorial.md'), 'utf8');
  return [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block]) => block!);
};

/** Nothing of the npm that runs these tests. */
const environment = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(?!config_(registry|cache))/.test(name)));

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

const isAlive = ({ exitCode, signalCode }: ChildProcess) => exitCode === null && signalCode === null;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-tutorial-'));
  const left = /^(\.git|node_modules|dist|state|coverage|my-wallet)(\/|$)/;
  cpSync(root, folder, { recursive: true, filter: (path) => !left.test(relative(root, path)) });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  address = `127.0.0.1:${await freePort()}`;
  const settings = join(folder, 'sequencer.toml');
  writeFileSync(settings, readFileSync(settings, 'utf8').replace(DEFAULT, address));
});

afterAll(async () => {
  // A group of its own: npm, its shell, the daemon.
  if (daemon?.pid !== undefined && isAlive(daemon)) process.kill(-daemon.pid, 'SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

describe('docs/tutorial.md', () => {
  it('begins with a daemon', async () => {
    expect(blocks()[0]).toBe('npm ci\nnpm start\n');
    daemon = spawn('npm', ['start'], {
      cwd: folder,
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    daemon.stderr!.setEncoding('utf8').on('data', (line: string) => {
      log += line;
    });
    for await (const said of daemon.stdout!.iterator({ destroyOnReturn: false })) {
      if (String(said).includes(`listens on http://${address}`)) break;
    }
    expect(isAlive(daemon)).toBe(true);
    daemon.stdout!.resume();
  });

  it('goes to a verified batch, and on', { timeout: TIMEOUT_MS }, async () => {
    const all = blocks().slice(1);
    // A package that is packed and installed, with a wallet on it, is in every run of package.test.ts.
    const packing = all.findIndex((block) => block.startsWith('npm pack\n'));
    expect(packing).toBeGreaterThan(0);
    const script = all
      .slice(0, LONG ? all.length : packing)
      .join('\n')
      .replaceAll(DEFAULT, address);
    // As typed, but that it ends at the first failure and that npm asks nobody.
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: folder,
      env: {
        ...environment(),
        npm_config_audit: 'false',
        npm_config_fund: 'false',
        npm_config_prefer_offline: 'true',
        npm_config_ignore_scripts: 'false',
      },
      maxBuffer: 2 ** 26,
    });
    for (const said of [
      'chain      31337, no batch yet',
      'is number 0 of batch 0',
      '"tx_id":"my second","status":"sequenced","height":1',
      'batch.json: verified',
      'simulated: this proves nothing about hardware',
      'batch.json: REFUSED simulated_evidence',
      'forged.json: REFUSED batch_id_mismatch',
      'refused with exit code 1',
      'ok: true',
      'the same history',
      ...(LONG ? ['promised by height', 'is in batch 3'] : []),
    ]) {
      expect(stdout).toContain(said);
    }
  });

  it('ends with everything sealed', async () => {
    const closed = once(daemon!, 'close');
    // As a terminal does it: to npm, its shell and the daemon.
    process.kill(-daemon!.pid!, 'SIGINT');
    await closed;
    expect(log).toContain('everything in hand is sealed');
  });
});
