// `aegisd demo --risk`: a threat from calm to emergency and back, in simulated time, on a sequencer of its own. Shows the score that
// orders, a rotation at exactly the announced height, ECDSA that leaves the batches, a client of ecies that is told why, time that
// calms the score, and the signed order without which nothing is given back. Every batch is then verified by a fresh process. Exit 0
// only if all of it held.
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BatchFile } from '../../actors/batch.ts';
import { base64, hex, timestamp, utf8 } from '../../actors/encoding.ts';
import type { Scheme } from '../../actors/envelope.ts';
import type { ReportedIndicatorInput } from '../../actors/indicator.ts';
import { adminId, digestOf, ORDER_CONTEXT, type Order, type UnsignedOrder } from '../../actors/order.ts';
import { encryptEnvelope } from '../../client/seal.ts';
import { createServer } from '../api/server.ts';
import { run } from '../demo/child.ts';
import { perform, type Scene, type SceneOptions } from '../demo/scene.ts';
import { signTransactions } from '../demo/wallet.ts';
import { meta } from '../records.ts';
import { createSequencer, type Logger, type Sequencer } from '../sequencer.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { EXIT, VERSION } from './program.ts';

const TIMEOUT_MS = 60_000;
const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
/** Between the announcement of a scheduled rotation and its height. */
const DELAY_BLOCKS = 2;
const TRANSACTIONS_MAX = 32;

const SILENT: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export async function riskDemo(options: SceneOptions): Promise<number> {
  return perform(options, 'calm to emergency and back', play);
}

async function play(scene: Scene): Promise<void> {
  const { state_dir, say } = scene;
  const clock = { ahead_ms: 0 };
  const now = () => Date.now() + clock.ahead_ms;
  const admin = generateKeyPairSync('ml-dsa-87');
  const settings = {
    daemon: { state_dir },
    api: { listen: '127.0.0.1:0' },
    sequencer: { batch_interval_ms: 10 },
    seal: { interval_ms: 0 },
    rotation: { delay_blocks: DELAY_BLOCKS },
    risk: { rise_s: 0, half_life_d: 1 },
    admin: { keys: [base64(rawOf(admin.publicKey))] },
  };
  await using sequencer = await createSequencer({ settings, log: SILENT, now });
  await using server = await createServer({ sequencer, log: SILENT, version: VERSION });
  const { url } = await server.listen();
  say(`daemon    ${url}, SIMULATED platform and time`);
  const stage = new Stage({ sequencer, daemon: connect({ url }), clock, now, scene });
  await stage.calm();
  await stage.schedule();
  await stage.emergency();
  await stage.back();
  await stage.order(admin);
  await stage.verify();
}

class Stage {
  readonly #sequencer: Sequencer;
  readonly #daemon: Connection;
  readonly #clock: { ahead_ms: number };
  readonly #now: () => number;
  readonly #scene: Scene;
  readonly #files: string[] = [];
  #transactions: Uint8Array[] = [];

  constructor(modules: {
    sequencer: Sequencer;
    daemon: Connection;
    clock: { ahead_ms: number };
    now: () => number;
    scene: Scene;
  }) {
    this.#sequencer = modules.sequencer;
    this.#daemon = modules.daemon;
    this.#clock = modules.clock;
    this.#now = modules.now;
    this.#scene = modules.scene;
  }

  async calm(): Promise<void> {
    const batch = await this.#sequence('ecies');
    this.#show('calm', batch);
    this.#check('a calm batch has ECDSA and takes ecies', batch.ecdsa_sig !== null && batch.header.epoch === 1);
  }

  async schedule(): Promise<void> {
    const { store } = this.#sequencer;
    await this.#report('ecdsa');
    await this.#until(() => this.#sequencer.risk.view().rotations.at(-1)?.epoch === 2);
    const { at_height } = this.#sequencer.risk.view().rotations.at(-1)!;
    this.#scene.say(`scheduled epoch 2, announced for height ${at_height} while ${meta(store, 'heights').cut} is next`);
    const batches: BatchFile[] = [];
    do batches.push(await this.#sequence('x-wing'));
    while (batches.at(-1)!.header.height < at_height!);
    for (const batch of batches) this.#show('scheduled', batch);
    const exact = batches.every(({ header }) => header.epoch === (header.height < at_height! ? 1 : 2));
    this.#check(`the rotation came at exactly height ${at_height}`, exact && batches.length === DELAY_BLOCKS + 1);
    this.#check(
      'each header has the score that ordered it',
      batches.every(({ header }) => header.risk_score >= 6000),
    );
  }

  async emergency(): Promise<void> {
    const next = meta(this.#sequencer.store, 'heights').cut;
    await this.#report('rsa', 'bls');
    await this.#until(() => this.#sequencer.epoch.keys.epoch === 3);
    const told = await this.#sequence('ecies').catch((error: unknown) => error);
    const why = told instanceof RequestError && told.code === 'scheme_not_accepted';
    this.#scene.say(`ecies     ${told instanceof RequestError ? told.message : 'was NOT refused'}`);
    this.#check('a client of ecies is told why', why);
    const batch = await this.#sequence('x-wing');
    this.#show('emergency', batch);
    const { epoch, height, risk_score } = batch.header;
    this.#check('an emergency rotates at the next height', epoch === 3 && height === next && risk_score >= 9000);
    this.#check('ECDSA has left the batches', batch.ecdsa_sig === null && batch.keyset.secp256k1 === null);
  }

  async back(): Promise<void> {
    const { room } = this.#sequencer.risk;
    for (let day = 1; room.record.assessment.recommendation !== 'continue' && day <= 14; day++) {
      this.#clock.ahead_ms += DAY_MS;
      await room.assess();
      // The dwell time below a threshold.
      this.#clock.ahead_ms += HOUR_MS;
      await room.assess();
      const { score, recommendation } = room.record.assessment;
      this.#scene.say(`day ${String(day).padStart(2)}    score ${String(score).padStart(5)}  ${recommendation}`);
    }
    const batch = await this.#sequence('x-wing');
    this.#show('after', batch);
    this.#check('time calms the score', batch.risk_assessment.recommendation === 'continue');
    this.#check('but gives nothing back', batch.ecdsa_sig === null && batch.header.epoch === 3);
  }

  async order({ privateKey, publicKey }: { privateKey: KeyObject; publicKey: KeyObject }): Promise<void> {
    const act = { type: 'downgrade' as const, algorithms: 7 as const, schemes: ['x-wing', 'ecies'] as Scheme[] };
    const unsigned: UnsignedOrder = {
      ...{ version: 1, log_id: this.#sequencer.epoch.log.log_id, nonce: hex(new Uint8Array(randomBytes(32))), act },
      ...{ not_after_ms: this.#now() + HOUR_MS, admin: adminId(rawOf(publicKey)) },
    };
    const signature = sign(null, digestOf(unsigned), { key: privateKey, context: utf8(ORDER_CONTEXT) });
    const order: Order = { ...unsigned, signature: base64(new Uint8Array(signature)) };
    const executed = await this.#sequencer.orders.execute(order);
    await this.#sequencer.risk.room.assess();
    await this.#sequencer.rotate({ reason: 'manual', delay_blocks: 0 });
    await this.#until(() => this.#sequencer.epoch.keys.epoch === 4);
    const batch = await this.#sequence('ecies');
    this.#show('ordered', batch);
    this.#check('a signed order gives ECDSA and ecies back', executed.ok && batch.ecdsa_sig !== null);
  }

  /** All of them by one verifier, in a process that knows nothing of this one. */
  async verify(): Promise<void> {
    const at = timestamp(this.#now());
    const { code, stdout } = await run(['verify', '--allow-simulated', '--at', at, '--json', ...this.#files]);
    this.#scene.say(
      `verified  ${this.#files.length} batches of every phase by a fresh process: ${code === EXIT.ok ? 'all' : stdout}`,
    );
    this.#check('every batch verifies', code === EXIT.ok);
  }

  /** Severe, confirmed, each of another scheme. */
  async #report(...schemes: readonly string[]): Promise<void> {
    const said = schemes.map(
      (sub_category): ReportedIndicatorInput => ({
        ...{ category: 'digital_signatures', sub_category, severity: 0.97, confidence: 0.97, source: 'demo' },
        ...{ timestamp: timestamp(this.#now()), description: 'A demonstration.', era_relevance: 'fault_tolerant' },
      }),
    );
    const { score, recommendation } = await (async () => {
      const answer = await this.#sequencer.updateThreat(said);
      return answer.ok ? answer : { score: 0, recommendation: 'continue' };
    })();
    this.#scene.say(`reported  ${schemes.join(', ')}: score ${score}, ${recommendation}`);
  }

  /** One transaction over HTTP in a batch of its own, until it is sealed. @throws {RequestError} */
  async #sequence(scheme: Scheme): Promise<BatchFile> {
    const { store, keyset } = this.#sequencer;
    if (this.#transactions.length === 0) {
      this.#transactions = await signTransactions(TRANSACTIONS_MAX, Number(keyset.chain_id));
    }
    const envelope = await encryptEnvelope({ keyset, raw: this.#transactions[0]!, scheme });
    const height = meta(store, 'heights').cut;
    await this.#daemon.post('/transactions', envelope);
    this.#transactions.shift();
    await this.#until(() => this.#sequencer.batch(height)?.slh_dsa_sig != null);
    const batch = this.#sequencer.batch(height)!;
    const file = join(this.#scene.folder, `batch-${height}.json`);
    await writeFile(file, JSON.stringify(batch));
    this.#files.push(file);
    return batch;
  }

  /** Looks after each commit. */
  async #until(holds: () => boolean): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => void (holds() && resolve());
    const end = this.#sequencer.store.onCommitted(look);
    const timer = setTimeout(() => reject(new RequestError('timeout', `nothing more in ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
    look();
    await promise.finally(() => {
      clearTimeout(timer);
      end();
    });
  }

  #show(phase: string, { header, risk_assessment, ecdsa_sig }: BatchFile): void {
    const { height, epoch, risk_score } = header;
    const signatures = ecdsa_sig === null ? 'ML-DSA' : 'ML-DSA + ECDSA';
    const line = `batch ${height}  epoch ${epoch}  score ${String(risk_score).padStart(5)}  ${signatures.padEnd(14)}`;
    this.#scene.say(`${phase.padEnd(9)} ${line}  ${risk_assessment.recommendation}`);
  }

  #check(what: string, held: boolean): void {
    this.#scene.check(what, held);
  }
}

const rawOf = (key: KeyObject): Uint8Array => new Uint8Array(key.export({ format: 'raw-public' } as never) as never);
