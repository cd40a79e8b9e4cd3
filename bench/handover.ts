// How long nothing is admitted while a log is handed over to another enclave: two real processes, one with as many assets as its operator
// has. From the pause of the old one until the new one answers. Floor: the two SLH-DSA signatures that the pause waits for, one over what
// was in hand and one over the end.
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HandoverStatus } from '../actors/handover.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { connect } from '../daemon/cli/connection.ts';
import { attestedKeyset } from '../daemon/cli/keyset.ts';
import { type Child, startDaemon, startSuccessor } from '../daemon/demo/child.ts';
import { makeEnclaves } from '../daemon/demo/enclaves.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';
import type { Figure } from './figure.ts';
import { bareSlhDsa } from './pipeline.ts';

const ASSETS = 10_000;
const REACH_MS = 5_000;
const AT_ONCE = 32;
const POLL_MS = 5;
const SETTINGS = 'rate_limit_per_s = 0\n[migration]\ncheckpoint_interval = 0\n';

export async function run(assets = ASSETS): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'aegis-bench-'));
  const enclaves = makeEnclaves(folder);
  const old = await startDaemon(
    enclaves.folderOf('old'),
    join(folder, 'old.log'),
    enclaves.settingsOf('old', SETTINGS),
  );
  let next: Child | undefined;
  try {
    await register(old, assets);
    await sealed(old);
    const admin = connect({ config: join(enclaves.folderOf('old'), 'sequencer.toml') });
    await admin.post('/admin/orders', await enclaves.order(old.log_id));
    const settings = enclaves.settingsOf('new', SETTINGS);
    await admin.post('/admin/handover', { successor_url: 'http://127.0.0.1:9' });
    const { listening } = startSuccessor(enclaves.folderOf('new'), join(folder, 'new.log'), settings, old.url);
    const paused = pausedAt(old);
    next = await listening;
    const pause_ms = performance.now() - (await paused);
    const floor = 2 * bareSlhDsa();
    const name = `handover, nothing admitted, ${assets} assets`;
    const reach = `< ${REACH_MS} ms`;
    return [{ name, value: pause_ms, unit: 'ms', floor, ratio: pause_ms / floor, reach, met: pause_ms < REACH_MS }];
  } finally {
    await next?.kill();
    await old.kill();
    await rm(folder, { recursive: true, force: true });
  }
}

async function pausedAt({ url }: Child): Promise<number> {
  const daemon = connect({ url });
  for (;;) {
    const { state } = await daemon.get('/handover', HandoverStatus);
    if (state === 'transferring' || state === 'ended') return performance.now();
    await delay(POLL_MS);
  }
}

/** As it is where batches go on: a seal covers nearly all of the log. */
async function sealed({ url }: Child): Promise<void> {
  const daemon = connect({ url });
  const { keyset } = await attestedKeyset(daemon);
  const [raw] = await signTransactions(1, Number(keyset.chain_id));
  await daemon.post('/transactions', await encryptEnvelope({ keyset, raw: raw!, scheme: 'x-wing' }));
  for (;;) {
    const { log } = await daemon.get<{ log: { size: number; sealed: number } }>('/sequencer/status');
    if (log.sealed > 1 && log.size === log.sealed) return;
    await delay(100);
  }
}

/** Over the unix socket, some at once. */
async function register({ socket: socketPath }: Child, count: number): Promise<void> {
  const access_policy = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };
  const post = (i: number) =>
    new Promise<void>((resolve, reject) => {
      const headers = { 'content-type': 'application/json' };
      const request = httpRequest({ socketPath, method: 'POST', path: '/assets/register', headers }, (response) => {
        response.resume().once('end', resolve).once('error', reject);
      });
      request.once('error', reject);
      request.end(JSON.stringify({ asset_id: `file-${i}`, asset_type: 'OffChainFile', access_policy }));
    });
  const some = async (from: number) => {
    for (let i = from; i < count; i += AT_ONCE) await post(i);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => some(i)));
}

if (import.meta.main) console.table(await run());
