// Which platforms stand behind which settings; that opening them asks no device; and that nothing passes for one that isn't it.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Evidence } from '../../actors/evidence.ts';
import { loadConfig } from '../../config/load.ts';
import type { Settings } from '../../config/schema.ts';
import { GramineEmulator, TsmEmulator } from '../../test/devices.ts';
import { makeSgxCollateral, makeSgxQuote } from '../../test/platforms.ts';
import { createPool, type Pool } from '../../workers/pool.ts';
import type { Devices } from './device.ts';
import { type OpenOptions, openPlatforms } from './open.ts';
import { makePki } from './pki.ts';
import { makeCollateral, makeQuote } from './tdx.ts';

const END_MS = Date.UTC(2036, 0, 1);
const DATA = new Uint8Array(64).fill(3);
let folder: string;
let pool: Pool;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'aegis-open-'));
  pool = createPool({ open_threads: 1, sign_threads: 1, queue_max: 64, task_timeout_ms: 30_000, seal_nice: 0 });
});
afterAll(async () => {
  await pool.close();
  rmSync(folder, { recursive: true });
});

const pki = makePki();
const collateral = async ({ quote_type }: Pick<Evidence, 'quote_type'>) =>
  quote_type === 'SGX' ? makeSgxCollateral(pki, END_MS) : makeCollateral(pki, END_MS);

function open(
  attestation: NonNullable<Settings['attestation']>,
  more: Partial<OpenOptions> = {},
  daemon: NonNullable<Settings['daemon']> = {},
) {
  const keys = { source: 'credential' } as const;
  const { config } = loadConfig({ settings: { attestation, daemon, keys }, environment: {} });
  const policy = { roots: [pki.certificates.root], tcb_statuses: ['UpToDate'] };
  const options = { config, state_dir: folder, pool, now: Date.now, collateral, policy, environment: {} };
  return openPlatforms({ ...options, ...more });
}

/** Fails on any call. */
const untouchable = new Proxy({} as Devices, {
  get: (_, name) => {
    throw new Error(`${String(name)} was called`);
  },
});

describe('the platforms of a configuration', () => {
  it.each(['tsm', 'sgx', 'dstack', 'simulator'] as const)('%s is opened without asking it', async (primary) => {
    const socket = join(folder, 'none');
    const { primary: opened, redundancy } = await open({ primary, dstack_socket: socket }, { devices: untouchable });
    expect([opened.provider.providerName, opened.provider.simulated]).toEqual([primary, primary === 'simulator']);
    expect(opened.state.state).toBe('unknown');
    expect(redundancy).toBeUndefined();
    expect(await opened.provider.isAvailable()).toBe(primary === 'simulator');
  });

  it('may be two, each told of by its role', async () => {
    const [tsm_path, sgx_path] = [join(folder, 'tsm'), join(folder, 'sgx')];
    mkdirSync(tsm_path);
    const quote = (report_data: Uint8Array) => makeQuote(pki, { report_data });
    const tsm = new TsmEmulator({ folder: tsm_path, provider: 'tdx_guest', quote });
    const gramine = new GramineEmulator(sgx_path, (report_data) => makeSgxQuote(pki, { report_data }));
    // One kernel that has both.
    const of = (path: string) => (path.startsWith(tsm_path) ? tsm : gramine);
    const devices: Devices = {
      mkdir: (path) => of(path).mkdir(path),
      rmdir: (path) => of(path).rmdir(path),
      read: (path, bytes_max) => of(path).read(path, bytes_max),
      write: (path, bytes) => of(path).write(path, bytes),
    };
    const changes: string[] = [];
    const onChange: OpenOptions['onChange'] = (role, { state }) => changes.push(`${role} ${state}`);
    const settings = { primary: 'tsm', redundancy: 'sgx', tsm_path, sgx_path } as const;
    const { primary, redundancy } = await open(settings, { devices, onChange });
    expect((await primary.attest(DATA)).evidence.quote_type).toBe('TDX');
    expect((await redundancy!.attest(DATA)).evidence.quote_type).toBe('SGX');
    expect(changes).toEqual(['primary working', 'redundancy working']);
  });

  it("take no simulator's evidence in production, though the policy names its root", async () => {
    const tsm_path = join(folder, 'production');
    mkdirSync(tsm_path);
    const quote = (report_data: Uint8Array) => makeQuote(pki, { report_data });
    const devices = new TsmEmulator({ folder: tsm_path, provider: 'tdx_guest', quote });
    const { primary } = await open({ primary: 'tsm', tsm_path }, { devices }, { environment: 'production' });
    await expect(primary.attest(DATA)).rejects.toThrow('daemon.environment = "production" refuses');
  });

  it('have no stand-in for dstack', async () => {
    const environment = { DSTACK_SIMULATOR_ENDPOINT: 'http://127.0.0.1:1' };
    await expect(open({ primary: 'dstack' }, { environment })).rejects.toMatchObject({ code: 'simulator_endpoint' });
    expect((await open({ primary: 'tsm' }, { environment })).primary.provider.providerName).toBe('tsm');
  });
});
