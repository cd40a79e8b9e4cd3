// `aegisd demo --epochs`: keys that come and go, on a daemon of its own whose keys a simulated guest agent derives. Wallets submit
// without a pause while the keys rotate five times and SIGKILL comes in between. Then grace ends: a wallet that has slept through all
// of it is told what to do, the old keys are searched for in the daemon's memory, and a fresh process verifies every batch of every
// epoch. Exit 0 only if all of it held.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { BatchFile } from '../../actors/batch.ts';
import type { Keyset } from '../../actors/keyset.ts';
import { checkReceipt } from '../../client/receipt.ts';
import { submitTransaction } from '../../client/rotation.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { Epochs } from '../api/epochs.ts';
import type { Rotation } from '../api/rotation.ts';
import { startAgent } from '../demo/agent.ts';
import { type AppKeys, deriveV0, makeAppKeys } from '../demo/appkeys.ts';
import { type Child, run, startDaemon } from '../demo/child.ts';
import { secretsOf } from '../demo/derived.ts';
import { type Heard, heard } from '../demo/following.ts';
import { Load } from '../demo/load.ts';
import { Search } from '../demo/memorysearch.ts';
import { perform, type Scene, type SceneOptions } from '../demo/scene.ts';
import { signTransactions } from '../demo/wallet.ts';
import type { Status } from '../status.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { attestedKeyset } from './keyset.ts';
import { EXIT } from './program.ts';

/** When SIGKILL comes in each rotation: at the next entry of this type behind its announcement. */
const KILLS = ['rotation_scheduled', 'txs_ordered', 'seal_created', 'rotation_executed', undefined] as const;
const ROTATIONS = KILLS.length;
/** Long enough for a wallet that hears of a rotation late, on a slow machine too. */
const GRACE_S = 30;
const TIMEOUT_MS = 120_000;
const POLL_MS = 250;
/** Keys are collected right behind what lets them go; a busy machine takes its time. */
const COLLECTED_MS = 30_000;

export async function epochDemo(options: SceneOptions): Promise<number> {
  return perform(options, `${ROTATIONS} rotations under load with SIGKILL in between`, async (scene) => {
    const keys = makeAppKeys();
    await using agent = await startAgent({ socket: join(scene.state_dir, 'guest.sock'), keys });
    const stage = new Stage(scene, settings(agent), keys);
    try {
      await stage.open();
      for (const [i, moment] of KILLS.entries()) await stage.rotate(i + 2, moment);
      await stage.end();
      await stage.wakeSleeper();
      await stage.searchMemory();
      await stage.verify();
    } finally {
      await stage.close();
    }
  });
}

function settings({ socket, kms_root, app_id }: { socket: string; kms_root: string; app_id: string }): string {
  return `rate_limit_per_s = 0
[sequencer]
batch_interval_ms = 250
[seal]
interval_ms = 0
[rotation]
delay_blocks = 3
delay_max_s = 5
grace_s = ${GRACE_S}
[keys]
source = "dstack"
dstack_socket = ${JSON.stringify(socket)}
kms_root = "${kms_root}"
app_id = "${app_id}"
`;
}

class Stage {
  readonly #scene: Scene;
  readonly #settings: string;
  readonly #keys: AppKeys;
  readonly #keysets = new Map<number, Keyset>();
  #daemon!: Child;
  /** Over the unix socket, whose path every life of the daemon has. */
  #admin!: Connection;
  #load!: Load;
  /** The last entry of the feed that was waited for. */
  #cursor = 0;
  #kills = 0;

  constructor(scene: Scene, settings: string, keys: AppKeys) {
    this.#scene = scene;
    this.#settings = settings;
    this.#keys = keys;
  }

  async open(): Promise<void> {
    const { state_dir, say } = this.#scene;
    await this.#start();
    this.#admin = connect({ config: join(state_dir, 'sequencer.toml') });
    const { keyset } = await attestedKeyset(this.#admin);
    this.#keysets.set(1, keyset);
    const { url, log_id } = this.#daemon;
    say(`daemon    ${url}, log ${log_id.slice(0, 18)}…, SIMULATED platform and guest agent`);
    this.#load = new Load({ url, keyset, body_envelopes: 4, pause_ms: 100 });
  }

  async rotate(epoch: number, moment: (typeof KILLS)[number]): Promise<void> {
    const { say, check } = this.#scene;
    const before = this.#load.receipts.size;
    const wanted = (type: string) => (entry: Heard) => entry.type === type && entry.data.to_epoch === epoch;
    await this.#admin.post('/epochs/rotate', { reason: 'manual' });
    const announced = await this.#heard(wanted('rotation_scheduled'));
    if (moment !== undefined) {
      if (moment !== 'rotation_scheduled') await this.#heard(({ type }) => type === moment, announced.cursor);
      await this.#restart();
    }
    const executed = await this.#heard(wanted('rotation_executed'), announced.cursor);
    const { keyset } = await attestedKeyset(this.#admin);
    this.#keysets.set(epoch, keyset);
    this.#load.keyset = keyset;
    const killed = moment === undefined ? '' : `, SIGKILL at ${moment}`;
    const took = `${executed.at_ms - announced.at_ms} ms after its announcement`;
    const height = `from height ${executed.data.first_height}`;
    say(`epoch ${epoch}   signs ${height}, ${took}; ${this.#load.receipts.size - before} receipts meanwhile${killed}`);
    check(`epoch ${epoch} is active under a verified quote`, keyset.epoch === epoch);
  }

  /** The load ends, and so does the grace of every epoch but the last; with one more SIGKILL while it does. */
  async end(): Promise<void> {
    const { say, check } = this.#scene;
    const { receipts, refused } = this.#load;
    await this.#load.stop();
    say(
      `load      ${receipts.size} receipts, ${refused.length} refused, ${this.#load.unanswered} unanswered by a dead daemon`,
    );
    check('no envelope was refused under load', refused.length === 0 && receipts.size > 0);
    const retired = (epoch: number) => (entry: Heard) => entry.type === 'epoch_retired' && entry.data.epoch === epoch;
    await this.#heard(retired(1), 0);
    const held = this.#inMemory([ROTATIONS]);
    if (held !== undefined) {
      say(`memory    of epoch ${ROTATIONS}, whose grace lasts: ${held.length} secrets, as there should be`);
      check('the search finds the keys of an epoch that opens', held.length > 0);
    }
    await this.#restart();
    await this.#heard(retired(ROTATIONS), 0);
    const { epochs } = await this.#admin.get('/epochs', Epochs);
    const old = epochs.filter(({ epoch }) => epoch <= ROTATIONS);
    say(
      `grace     is over: ${old.map(({ epoch, status }) => `${epoch} ${status}`).join(', ')}; SIGKILL came ${this.#kills} times`,
    );
    const gone = old.every(({ status, admits, backlog }) => status === 'retired' && !admits && backlog === 0);
    check('every old epoch has retired', old.length === ROTATIONS && gone);
  }

  /** A wallet that kept the first keyset. */
  async wakeSleeper(): Promise<void> {
    const { say, check } = this.#scene;
    const { url } = this.#daemon;
    const codes: string[] = [];
    const raws = await signTransactions(ROTATIONS + 1, Number(this.#load.keyset.chain_id));
    for (let epoch = 1; epoch <= ROTATIONS; epoch++) {
      const envelope = await encryptEnvelope({
        keyset: this.#keysets.get(epoch)!,
        raw: raws[epoch]!,
        scheme: 'x-wing',
      });
      const told = await connect({ url })
        .post('/transactions', envelope)
        .catch((error: unknown) => error);
      codes.push(told instanceof RequestError ? told.code : 'admitted');
      if (epoch === 1) say(`sleeper   ${told instanceof RequestError ? told.message : 'was NOT refused'}`);
    }
    check(
      'nothing of an old epoch is taken',
      codes.every((code) => code === 'epoch_not_accepted'),
    );
    const request = { keyset: this.#keysets.get(1)!, raw: raws[0]!, scheme: 'x-wing' as const };
    const followed = await submitTransaction(url, request, { allow_simulated: true });
    const epoch = followed.ok ? followed.keyset.epoch : undefined;
    say(`sleeper   does so, and finds epoch ${epoch ?? `nothing: ${JSON.stringify(followed)}`} in the sealed log`);
    check('a wallet that slept finds its way', epoch === ROTATIONS + 1);
    if (followed.ok) this.#load.receipts.set(followed.envelope_id, followed.receipt);
  }

  async searchMemory(): Promise<void> {
    const { say, check } = this.#scene;
    const old = Array.from({ length: ROTATIONS }, (_, i) => i + 1);
    const until = performance.now() + COLLECTED_MS;
    let held = this.#inMemory(old);
    while (held !== undefined && held.length > 0 && performance.now() < until) {
      await delay(POLL_MS);
      held = this.#inMemory(old);
    }
    const active = this.#inMemory([ROTATIONS + 1]);
    if (held === undefined || active === undefined) {
      say('memory    NOT searched: this system does not let one process read another');
      return;
    }
    say(`memory    of ${ROTATIONS} retired epochs: ${held.length} secrets; of the active one: ${active.length}`);
    check(`no key of a retired epoch is in memory: ${held.join()}`, held.length === 0);
    check('the search finds the keys in use', active.length > 0);
  }

  async verify(): Promise<void> {
    const { folder, say, check } = this.#scene;
    const count = await this.#settled();
    const { rotations } = await this.#admin.get<{ rotations: Rotation[] }>('/epochs/rotations');
    const epochAt = (height: number) => 1 + rotations.filter(({ first_height }) => first_height! <= height).length;
    const places = new Map<string, number>();
    const files: string[] = [];
    let doubled = 0;
    let astray = 0;
    let refused = 0;
    for (let height = 0; height < count; height++) {
      const batch = await this.#admin.get<BatchFile>(`/batches/${height}`);
      const file = join(folder, `batch-${height}.json`);
      await writeFile(file, JSON.stringify(batch));
      files.push(file);
      if (batch.header.epoch !== epochAt(height)) astray += 1;
      for (const { envelope_id } of [...batch.transactions, ...batch.refused]) {
        doubled += places.has(envelope_id) ? 1 : 0;
        places.set(envelope_id, height);
      }
      refused += batch.refused.length;
    }
    const receipts = [...this.#load.receipts];
    const lost = receipts.filter(
      ([id, { order_by_height }]) => !((places.get(id) ?? Infinity) <= Number(order_by_height)),
    );
    const unsigned = receipts.filter(([, receipt]) => !checkReceipt(receipt, this.#keysets.get(receipt.epoch)!).ok);
    const { code } = await run(['verify', '--allow-simulated', '--json', ...files]);
    const all = code === EXIT.ok ? 'all of them' : 'NOT all of them';
    say(`verified  ${count} batches of ${ROTATIONS + 1} epochs by a fresh process: ${all}`);
    check('every batch of every epoch verifies', count > 0 && code === EXIT.ok);
    check('every batch is of the epoch that its height belongs to', astray === 0 && rotations.length === ROTATIONS);
    check('every receipt is signed by the epoch that it names', unsigned.length === 0);
    check('every receipt was kept, once and in time', lost.length === 0 && doubled === 0);
    check('every envelope opened', refused === 0);
  }

  async close(): Promise<void> {
    await this.#load?.stop().catch(() => {});
    await this.#daemon?.kill();
  }

  async #start(): Promise<void> {
    const { state_dir, folder } = this.#scene;
    this.#daemon = await startDaemon(state_dir, join(folder, 'daemon.log'), this.#settings);
  }

  async #restart(): Promise<void> {
    await this.#daemon.kill();
    this.#kills += 1;
    await this.#start();
    this.#load.url = this.#daemon.url;
  }

  async #heard(fits: (entry: Heard) => boolean, after = this.#cursor): Promise<Heard> {
    const entry = await heard(this.#daemon.url, after, fits, TIMEOUT_MS);
    this.#cursor = Math.max(this.#cursor, entry.cursor);
    return entry;
  }

  /** Names of the epochs' secrets that the daemon's memory holds; undefined where it can't be read. */
  #inMemory(epochs: readonly number[]): string[] | undefined {
    if (process.platform !== 'linux') return undefined;
    const given = (path: string) => deriveV0(this.#keys, path, path, 'secp256k1').key;
    const search = new Search(Object.assign({}, ...epochs.map((epoch) => secretsOf(given, epoch))));
    try {
      return [...search.inMemory(this.#daemon.pid).keys()];
    } catch (error) {
      // Where ptrace is forbidden, as in some containers.
      if (['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw error;
    }
  }

  /** Waits until everything is sealed. @returns how many batches there are */
  async #settled(): Promise<number> {
    const until = performance.now() + TIMEOUT_MS;
    for (;;) {
      const { sequencer, log } = await this.#admin.get<Status>('/sequencer/status');
      const { mempool_size, ordered_queue, batch_count } = sequencer;
      if (mempool_size + ordered_queue === 0 && log.size === log.sealed) return batch_count;
      if (performance.now() > until) throw new RequestError('timeout', `not everything was sealed in ${TIMEOUT_MS} ms`);
      await delay(POLL_MS);
    }
  }
}
