// Kills a real daemon with SIGKILL under load, again and again, and holds what is left against every receipt that a client
// got; where it is asked to, in the middle of rotations of its keys. The short count runs in `npm test`, the long one in
// `npm run test:long`.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import WebSocket from 'ws';
import type { BatchFile } from '../actors/batch.ts';
import type { Envelope } from '../actors/envelope.ts';
import type { Keyset } from '../actors/keyset.ts';
import type { Receipt } from '../actors/receipt.ts';
import { DEFAULT_POLICY } from '../client/policy.ts';
import { checkReceipt } from '../client/receipt.ts';
import { encryptEnvelope } from '../client/seal.ts';
import { verifyBatch } from '../client/verify.ts';
import type { Rotation } from '../daemon/api/rotation.ts';
import { connect } from '../daemon/cli/connection.ts';
import { type Child, startDaemon } from '../daemon/demo/child.ts';
import { signTransactions } from '../daemon/demo/wallet.ts';

export interface Outcome {
  readonly kills: number;
  readonly receipts: number;
  readonly batches: number;
  readonly epochs: number;
  /** Kills that came between the announcement of a rotation and its end. */
  readonly cut_short: number;
  /** Every promise that was broken, in words; empty when all held. */
  readonly broken: readonly string[];
}

const ENVELOPES = 40;
const BODY = 4;

/** Settings that make much happen in little time, and fast seals. */
const SETTINGS = `rate_limit_per_s = 0
[sequencer]
batch_interval_ms = 20
batch_size = 5
max_transactions_per_batch = 8
[seal]
interval_ms = 0
`;

/** Due at the next batch or a second later: announced, held and executed within one life or over several. */
const ROTATING = `[rotation]
delay_blocks = 1
delay_max_s = 1
`;
/** What a life waits for at most before it is killed. */
const ROTATION_MS = 30_000;

/** What a client heard over the feed, in all lives of the daemon. One number must never have two digests. */
class Witness {
  readonly broken: string[] = [];
  announced = 1;
  executed = 1;
  #waiting: (() => void)[] = [];
  readonly #digests = new Map<string, string>();

  hear(kind: string, number: number, digest: string): void {
    const name = `${kind} ${number}`;
    const known = this.#digests.get(name);
    if (known !== undefined && known !== digest) this.broken.push(`${name} has two digests`);
    this.#digests.set(name, digest);
  }

  watch(url: string): WebSocket {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/feed?cursor=0`);
    socket.on('error', () => {});
    socket.on('message', (message) => this.read(JSON.parse(String(message))));
    return socket;
  }

  read({ cursor, type, data }: { cursor: number; type: string; data: Record<string, unknown> }): void {
    this.hear('cursor', cursor, JSON.stringify([type, data]));
    if (type === 'batch_created') this.hear('height', data.height as number, data.batch_id as string);
    if (type === 'seal_created') this.hear('head', data.size as number, data.digest as string);
    if (type !== 'rotation_scheduled' && type !== 'rotation_executed') return;
    const { to_epoch, keyset_digest } = data as { to_epoch: number; keyset_digest: string };
    this.hear('epoch', to_epoch, keyset_digest);
    if (type === 'rotation_scheduled') this.announced = Math.max(this.announced, to_epoch);
    else this.executed = Math.max(this.executed, to_epoch);
    for (const tell of this.#waiting.splice(0)) tell();
  }

  /** Until what was heard of rotations is so, or a life's time is over. */
  async until(holds: () => boolean): Promise<void> {
    const limit = AbortSignal.timeout(ROTATION_MS);
    const over = new Promise<void>((resolve) => limit.addEventListener('abort', () => resolve(), { once: true }));
    while (!holds() && !limit.aborted) {
      await Promise.race([new Promise<void>((resolve) => this.#waiting.push(resolve)), over]);
    }
  }
}

export async function crash(
  kills: number,
  random: () => number,
  { rotating = false }: { rotating?: boolean } = {},
): Promise<Outcome> {
  const state_dir = await mkdtemp(join(tmpdir(), 'aegis-crash-'));
  const settings = rotating ? `${SETTINGS}${ROTATING}` : SETTINGS;
  const start = () => startDaemon(state_dir, join(state_dir, 'daemon.log'), settings);
  const receipts = new Map<string, Receipt>();
  const witness = new Witness();
  let cut_short = 0;
  try {
    let envelopes: Envelope[] = [];
    for (let kill = 0; kill < kills; kill++) {
      const daemon = await start();
      const socket = witness.watch(daemon.url);
      if (envelopes.length < ENVELOPES) envelopes.push(...(await encrypted(daemon, (kills - kill) * ENVELOPES)));
      const load = submit(daemon, envelopes.splice(0, ENVELOPES), receipts);
      const rotation = rotating ? rotate(join(state_dir, 'sequencer.toml'), random() * 300) : undefined;
      if (rotating) await phase(kill, witness);
      else await Promise.race([load, delay(random() * 700)]);
      // With the load still on, or a seal on its way after it.
      await delay(random() * 100);
      await daemon.kill();
      await Promise.all([load, rotation]);
      socket.terminate();
      if (witness.announced > witness.executed) cut_short += 1;
      if (kill % 7 === 6) envelopes = envelopes.slice(ENVELOPES / 2);
    }
    const daemon = await start();
    const socket = witness.watch(daemon.url);
    const broken = await judge(daemon, receipts, witness);
    socket.terminate();
    const batches = await heights(daemon);
    await daemon.stop();
    const { executed: epochs } = witness;
    return { kills, receipts: receipts.size, batches, epochs, cut_short, broken: [...witness.broken, ...broken] };
  } finally {
    await rm(state_dir, { recursive: true, force: true });
  }
}

/** Where in a rotation the kill comes: while keys are derived, once they are announced, or once they sign. */
async function phase(kill: number, witness: Witness): Promise<void> {
  const { executed } = witness;
  if (kill % 3 === 1) await witness.until(() => witness.announced > witness.executed);
  if (kill % 3 === 2) await witness.until(() => witness.executed > executed);
}

/** Announces an epoch, unless one is announced or the daemon is gone by then. */
async function rotate(config: string, after_ms: number): Promise<void> {
  await delay(after_ms);
  await connect({ config })
    .post('/epochs/rotate', {})
    .catch(() => {});
}

const keysetOf = async (daemon: Child, epoch: number): Promise<Keyset> =>
  (await connect({ url: daemon.url }).get<{ keyset: Keyset }>(`/epochs/${epoch}/keyset`)).keyset;

/** To the first epoch, whose grace lasts. */
async function encrypted(daemon: Child, count: number): Promise<Envelope[]> {
  const keyset = await keysetOf(daemon, 1);
  const raws = await signTransactions(count, Number(keyset.chain_id));
  const envelopes: Envelope[] = [];
  // ecies is the faster one to encrypt; some X-Wing for the way through both.
  for (const [i, raw] of raws.entries()) {
    envelopes.push(await encryptEnvelope({ keyset, raw, scheme: i % 5 === 0 ? 'x-wing' : 'ecies' }));
  }
  return envelopes;
}

/** Until everything is sent or the daemon is gone. */
async function submit(daemon: Child, envelopes: readonly Envelope[], receipts: Map<string, Receipt>): Promise<void> {
  const connection = connect({ url: daemon.url });
  const bodies = Array.from({ length: ENVELOPES / BODY }, (_, i) => envelopes.slice(i * BODY, (i + 1) * BODY));
  const one = async () => {
    for (let body = bodies.shift(); body !== undefined; body = bodies.shift()) {
      const answers = await connection
        .post<{ status: number; envelope_id: string; receipt: Receipt }[]>('/transactions', body)
        .catch(() => undefined);
      if (answers === undefined) return;
      for (const { status, envelope_id, receipt } of answers) if (status === 202) receipts.set(envelope_id, receipt);
    }
  };
  await Promise.all([one(), one()]);
}

interface Status {
  sequencer: { batch_count: number; mempool_size: number; ordered_queue: number };
  log: { size: number; sealed: number };
}

const heights = async (daemon: Child): Promise<number> =>
  (await connect({ url: daemon.url }).get<Status>('/sequencer/status')).sequencer.batch_count;

async function judge(daemon: Child, receipts: Map<string, Receipt>, witness: Witness): Promise<string[]> {
  const connection = connect({ url: daemon.url, keepAlive: true });
  const broken: string[] = [];
  for (;;) {
    const { sequencer, log } = await connection.get<Status>('/sequencer/status');
    if (sequencer.mempool_size + sequencer.ordered_queue === 0 && log.size === log.sealed) break;
    await delay(50);
  }
  const count = await heights(daemon);
  const { rotations } = await connection.get<{ rotations: Rotation[] }>('/epochs/rotations');
  const keysets = new Map<number, Keyset>();
  for (let epoch = 1; epoch <= rotations.length + 1; epoch++) keysets.set(epoch, await keysetOf(daemon, epoch));
  const places = new Map<string, number[]>();
  let parent = `0x${'0'.repeat(128)}`;
  for (let height = 0; height < count; height++) {
    const batch = await connection.get<BatchFile>(`/batches/${height}`);
    witness.hear('height', height, batch.batch_id);
    const verdict = verifyBatch(batch, { policy: DEFAULT_POLICY, allow_simulated: true, now_ms: Date.now() });
    if (!verdict.ok || verdict.status !== 'sealed') broken.push(`height ${height} does not verify`);
    const epoch = 1 + rotations.filter(({ first_height }) => first_height !== null && first_height <= height).length;
    if (batch.header.epoch !== epoch) broken.push(`height ${height} is of epoch ${batch.header.epoch}, not ${epoch}`);
    if (batch.refused.length > 0) broken.push(`height ${height} refuses what was right`);
    if (batch.height !== height || batch.header.parent_digest !== parent)
      broken.push(`height ${height} has a gap before it`);
    if (batch.slh_dsa_sig === null) broken.push(`height ${height} is not sealed`);
    parent = batch.batch_id;
    const settled = [...batch.transactions, ...batch.refused].map(({ envelope_id }) => envelope_id);
    for (const id of settled) places.set(id, [...(places.get(id) ?? []), height]);
  }
  for (const [id, receipt] of receipts) {
    if (!checkReceipt(receipt, keysets.get(receipt.epoch)!).ok) broken.push(`${id} has a receipt that does not verify`);
    const at = places.get(id) ?? [];
    if (at.length !== 1) broken.push(`${id} has a receipt and is in ${at.length} batches`);
    if (at.some((height) => height > Number(receipt.order_by_height))) {
      broken.push(`${id} came at ${at.join()} and was promised by ${receipt.order_by_height}`);
    }
  }
  for (const [id, at] of places) if (at.length > 1) broken.push(`${id} is in batches ${at.join()}`);
  return broken;
}
