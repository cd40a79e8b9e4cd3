// A handover between two real processes on two simulated platforms, with as much state as is asked for, and SIGKILL for either of them
// when a message passes. Whatever happens, the same must be true at its end: one enclave has ended and the other goes on, the log is
// one history, and everything that was acknowledged is there. The short one runs in `npm test`, the long one in `npm run test:long`.
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import type { HandoverStatus } from '../actors/handover.ts';
import type { AuditState } from '../client/auditor.ts';
import { verifyHandover } from '../client/handover.ts';
import { DEFAULT_POLICY } from '../client/policy.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { verifyBatch } from '../client/verify.ts';
import { connect } from '../daemon/cli/connection.ts';
import { attestedKeyset } from '../daemon/cli/keyset.ts';
import { look } from '../daemon/cli/look.ts';
import { type Child, type ChildSuccessor, startDaemon, startSuccessor } from '../daemon/demo/child.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';
import { cutting, type Moment } from './cutting.ts';
import { until } from './house.ts';
import { admin, measurementOf, Platforms } from './succession.ts';

/** When which of the two is killed. */
export interface Kill {
  readonly side: 'old' | 'new';
  readonly path: string;
  readonly moment: Moment;
  /** Which message of this path; the first where left out. */
  readonly nth?: number;
}

export interface Wish {
  readonly pending: number;
  readonly assets: number;
  readonly kill?: Kill;
}

export interface Outcome {
  readonly killed: boolean;
  /** From the pause of admission until the successor listens. */
  readonly pause_ms: number;
  /** Every promise that was broken, in words. */
  readonly broken: readonly string[];
}

const GOES_ON = 'http://127.0.0.1:9';
const FREE = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };
const BODY = 100;

function settings(platforms: Platforms, image: string): string {
  const roots = JSON.stringify(Object.values(platforms.roots));
  return `rate_limit_per_s = 0
envelopes_max = 256
[admin]
keys = ["${admin.public_key}"]
[sequencer]
batch_interval_ms = 60000
batch_size = 10000
max_transactions_per_batch = 10000
open_max = 10000
[mempool]
capacity = 200000
[seal]
interval_ms = 0
[migration]
checkpoint_interval = 0
[attestation]
simulator_image = "${image}"
policy = { roots = ${roots} }
[handover]
delay_ms = 0
idle_timeout_ms = 20000
`;
}

export async function handOver({ pending, assets, kill }: Wish): Promise<Outcome> {
  await using platforms = new Platforms();
  const folder = (name: string) => join(platforms.folder, name);
  const start = () => startDaemon(folder('old'), join(platforms.folder, 'old.log'), settings(platforms, 'old'));
  let old: Child = await start();
  let successor: ChildSuccessor | undefined;
  await using _processes = {
    async [Symbol.asyncDispose]() {
      await successor?.kill();
      await old.kill();
    },
  };
  const ids = await load(old, pending, assets);
  const kept = (await look(connect({ url: old.url }), null, judgement())) as { state: AuditState };
  const measurement = await measurementOf(platforms, 'new');
  const act = { type: 'allow_measurement', measurement, in_force_after_ms: 0 } as const;
  const order = admin.order(old.log_id, act);
  await ask(old, 'POST', '/admin/orders', order);
  const open = () => ask(old, 'POST', '/admin/handover', { successor_url: GOES_ON });
  await open();

  let killed = false;
  let paused = 0;
  const act_on = async (path: string, moment: Moment, nth: number): Promise<boolean> => {
    if (path === '/handover/open' && moment === 'before') paused = performance.now();
    if (kill === undefined || killed || path !== kill.path || moment !== kill.moment || nth !== (kill.nth ?? 1))
      return false;
    killed = true;
    if (kill.side === 'new') {
      await successor!.kill();
      successor = take();
    } else {
      await old.kill();
      old = await start();
      // As its operator would; one that has ended needs no more of it.
      if ((await status(old)).state !== 'ended') await open();
    }
    return true;
  };
  await using network = await cutting(() => old.url, act_on);
  const take = () =>
    startSuccessor(folder('new'), join(platforms.folder, 'new.log'), settings(platforms, 'new'), network.url);
  successor = take();
  const next = await listening(() => successor!);
  const pause_ms = performance.now() - paused;
  const broken = await judge(old, next, kept.state, ids, assets);
  return { killed, pause_ms, broken };
}

/** The one that was killed never does; the one after it may. */
async function listening(current: () => ChildSuccessor): Promise<Child> {
  for (;;) {
    const successor = current();
    const found = await successor.listening.catch((error: unknown) => {
      if (current() === successor) throw error;
      return undefined;
    });
    if (found !== undefined) return found;
  }
}

const judgement = () => ({ policy: DEFAULT_POLICY, allow_simulated: true, now_ms: Date.now() });
const status = ({ url }: Child) => connect({ url }).get<HandoverStatus>('/handover');

/** Over the unix socket, as an operator. */
async function ask({ socket: socketPath }: Child, method: string, path: string, body: unknown): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const headers = { 'content-type': 'application/json' };
  const request = httpRequest({ socketPath, method, path, headers }, async (response) => {
    let text = '';
    for await (const chunk of response) text += chunk;
    if (response.statusCode! < 300) resolve(JSON.parse(text));
    else reject(new Error(`${path}: ${text}`));
  });
  request.on('error', reject);
  request.end(JSON.stringify(body));
  return promise;
}

/** @returns the ids of envelopes that wait to be ordered */
async function load(old: Child, pending: number, assets: number): Promise<string[]> {
  const daemon = connect({ url: old.url });
  const { keyset } = await attestedKeyset(daemon);
  const raws = await signTransactions(pending, Number(keyset.chain_id));
  const ids: string[] = [];
  for (let at = 0; at < pending; at += BODY) {
    const body = raws.slice(at, at + BODY).map((raw) => encryptEnvelope({ keyset, raw, scheme: 'ecies' }));
    const answers = await daemon.post<{ status: number; envelope_id: string }[]>(
      '/transactions',
      await Promise.all(body),
    );
    for (const { status, envelope_id } of answers) if (status === 202) ids.push(envelope_id);
  }
  if (ids.length !== pending) throw new Error(`${ids.length} of ${pending} were admitted`);
  const register = async (from: number, step: number) => {
    for (let i = from; i < assets; i += step) {
      const asset = { asset_id: `file-${i}`, asset_type: 'OffChainFile', access_policy: FREE };
      await ask(old, 'POST', '/assets/register', asset);
    }
  };
  await Promise.all(Array.from({ length: 16 }, (_, i) => register(i, 16)));
  daemon.close();
  return ids;
}

interface Status {
  sequencer: { mempool_size: number; ordered_queue: number; batch_count: number };
  log: { size: number; sealed: number };
}

async function judge(
  old: Child,
  next: Child,
  kept: AuditState,
  ids: readonly string[],
  assets: number,
): Promise<string[]> {
  const broken: string[] = [];
  const [before, after] = [connect({ url: old.url }), connect({ url: next.url })];
  await until(async () => (await status(old)).newest !== null);
  const { state, newest } = await status(old);
  if (state !== 'ended') broken.push(`the predecessor is ${state}`);
  const proved = verifyHandover(newest, judgement());
  if (!proved.ok) return [...broken, `the handover does not verify: ${proved.message}`];
  const { size } = (await before.get<Status>('/sequencer/status')).log;
  if (size !== proved.size) broken.push(`the predecessor's log has ${size} entries, its last seal ${proved.size}`);
  if (proved.handover.asset_count !== assets) broken.push(`${proved.handover.asset_count} of ${assets} assets came`);

  const sealed = async () => {
    const { sequencer, log } = await after.get<Status>('/sequencer/status');
    return sequencer.ordered_queue === 0 && log.size === log.sealed;
  };
  while ((await after.get<Status>('/sequencer/status')).sequencer.mempool_size > 0) {
    await ask(next, 'POST', '/batches/cut', {});
  }
  await until(sealed);
  const found = await look(after, kept, judgement());
  if (!found.ok) broken.push(`an auditor raises an alarm: ${found.alarm.code}`);
  const { batch_count } = (await after.get<Status>('/sequencer/status')).sequencer;
  const sequenced = new Set<string>();
  for (let height = 0; height < batch_count; height++) {
    const batch = await after.get<never>(`/batches/${height}`);
    const verdict = verifyBatch(batch, { ...judgement(), handovers: [proved.handover] });
    if (!verdict.ok || verdict.status !== 'sealed') broken.push(`batch ${height} does not verify`);
    const { transactions } = batch as { transactions: { envelope_id: string }[] };
    for (const { envelope_id } of transactions) {
      if (sequenced.has(envelope_id)) broken.push(`${envelope_id} is there twice`);
      sequenced.add(envelope_id);
    }
  }
  const lost = ids.filter((id) => !sequenced.has(id));
  if (lost.length > 0) broken.push(`${lost.length} of ${ids.length} envelopes with a receipt are lost`);
  before.close();
  after.close();
  return broken;
}
