// The enclave that goes on (DESIGN §8, `aegisd start --successor-of`). It judges its predecessor by `[attestation.policy]`, takes the state
// into a store that is empty, verifies it, and says so; then it stays inactive until the predecessor has ended for it: until it
// holds the sealed entry that names its own keyset, on top of the very log that it took. Only then, in one commit, do its keys sign.
// What it took before is worthless to it and harmless: before its predecessor's end it is dropped and taken anew, whatever broke.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { keysetDigest } from '../../actors/digest.ts';
import { fromBase64, fromHex, hex, timestamp, utf8 } from '../../actors/encoding.ts';
import {
  digestOfHandover,
  type HandoverStatus,
  OFFER_CONTEXT,
  offerDigest,
  predecessorSubject,
  type SealedHandover,
  type SuccessionOffer,
  secretInfo,
  successorSubject,
} from '../../actors/handover.ts';
import type { Keyset } from '../../actors/keyset.ts';
import { logLeaf, verifyInclusion } from '../../actors/tree.ts';
import type { Config } from '../../config/schema.ts';
import type { Engine } from '../../workers/engine.ts';
import type { Pool } from '../../workers/pool.ts';
import type { Attester } from '../attester.ts';
import { EPOCH, inGrace } from '../epoch.ts';
import { Fault } from '../fault.ts';
import { deriveHandover, type EpochKeys, keysetOf } from '../keys/keyring.ts';
import type { KeySource } from '../keys/source.ts';
import { logRoot } from '../log.ts';
import { meta, putMeta, type SealRecord } from '../records.ts';
import { rotations } from '../rotation.ts';
import type { Runtime, Step } from '../runtime.ts';
import { SCHEMA_VERSION } from '../schema.ts';
import type { Store } from '../store.ts';
import { type Judge, judgeEnd, judgeSeal } from '../witness/judgement.ts';
import { Adoption, Unfit } from './adoption.ts';
import { box, openSecret, type TransferKeys, unbox } from './channel.ts';
import { Questions, type Said } from './question.ts';
import { appendHandover, type Inheritance, inheritance } from './record.ts';

interface Modules {
  readonly url: string;
  readonly config: Config;
  readonly store: Store;
  readonly runtime: Runtime;
  readonly source: KeySource;
  readonly pool: Pool;
  readonly attester: Attester;
  readonly judge: Judge;
  readonly engine: Engine;
  /** Derives and proves, off the main thread. */
  readonly derive: (epoch: number) => Promise<EpochKeys>;
  readonly now: () => number;
  readonly log: { info(detail: object, message: string): void; warn(detail: object, message: string): void };
  /** The start is given up. */
  readonly signal: AbortSignal;
  /** Told what it waits for or does, in words. */
  readonly onStage: (stage: string) => void;
}

/** `again`: what was taken is of no use; another try needs an empty store. */
export type Succession = 'active' | 'again';

/** Between two looks at a predecessor that has not opened the handover, or not ended yet. */
const LOOK_MS = 1_000;
const SOON_MS = 50;
/** While clients wait for it. */
const AGAIN_MS = 400;
/** The predecessor drops a successor that is silent for longer than its `handover.idle_timeout_ms`, so patience beyond it is vain. */
const PATIENCE_MS = 30_000;
/** At the predecessor, what is in hand is sealed before it answers. */
const DRAIN_MS = 600_000;

interface Met {
  readonly predecessor: Keyset;
  readonly from_keyset_digest: string;
  readonly keys: EpochKeys;
  readonly keyset: Keyset;
  readonly keyset_digest: string;
  readonly offer: SuccessionOffer;
  readonly transfer: TransferKeys;
}

const failed = (url: string, reason: string) => new Fault({ code: 'succession_failed', url, reason });

export class Successor {
  readonly #modules: Modules;
  readonly #ask: Questions;
  /** Made once: deriving takes a second. */
  #keys: EpochKeys | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    this.#ask = new Questions({ url: modules.url, signal: modules.signal, patience_ms: PATIENCE_MS });
  }

  /**
   * Takes the state and waits until it may go on with it, for as long as that takes.
   *
   * @throws {Fault} succession_failed where another try would fail as well, or the start was given up; admins_changed
   */
  async succeed(): Promise<Succession> {
    const { store, log, url, signal } = this.#modules;
    const before = inheritance(store);
    if (before?.state === 'importing') return 'again';
    if (before === undefined) {
      const met = await this.#meet();
      try {
        await this.#take(met);
      } catch (error) {
        if (!(error instanceof Unfit) && !(error instanceof Lost)) throw error;
        log.warn({ reason: error.message, url }, 'the state was not taken; it is asked for anew');
        await delay(LOOK_MS, undefined, { signal }).catch(() => {});
        return 'again';
      }
    }
    return this.#await(inheritance(store) as Imported);
  }

  /** Until a predecessor has opened its handover and offers its state. @throws {Fault} */
  async #meet(): Promise<Met> {
    const { log, url, signal, onStage } = this.#modules;
    let said = '';
    onStage('looking for the predecessor');
    while (!signal.aborted) {
      const met = await this.#tryToMeet();
      if ('predecessor' in met) return met;
      if (met.code === 'handover_ended') throw failed(url, 'it has ended already, for another successor');
      if (met.message !== said) {
        log.info({ url, reason: met.message }, 'waiting for the predecessor');
        onStage(`waiting for the predecessor: ${met.message}`);
      }
      said = met.message;
      await delay(LOOK_MS, undefined, { signal }).catch(() => {});
    }
    throw failed(url, 'the start was given up');
  }

  async #tryToMeet(): Promise<Met | { code: string; message: string }> {
    const { url, config, source, judge, attester, now } = this.#modules;
    const own_nonce = hex(randomBytes(32));
    const greeting = await this.#ask.hello({ version: 1, schema: SCHEMA_VERSION, nonce: own_nonce });
    if (!greeting.ok) return greeting;
    const { keyset: predecessor, nonce, attestation } = greeting.value;
    const { chain_id, log_id } = predecessor;
    if (chain_id !== String(config.chain.chain_id)) throw failed(url, `it is of chain ${chain_id}`);
    const from_digest = keysetDigest(predecessor);
    const nonces = { predecessor: nonce, successor: own_nonce };
    const greeted = { log_id, from_keyset_digest: hex(from_digest), nonces };
    const judged = await judgeEnd(judge, attestation, {
      ...{ purpose: 'handover', subject: predecessorSubject(greeted), keyset_digest: from_digest },
      nonce: fromHex(own_nonce),
    });
    if (!judged.ok) return { code: judged.code, message: judged.message };

    const keys = await this.#derived(predecessor.epoch + 1);
    const { keyset, digest: keyset_digest } = keysetOf(keys, source.name, { chain_id, log_id }, now());
    const about = { ...greeted, to_keyset_digest: keyset_digest };
    const own = await attester.attest({
      ...{ purpose: 'handover', subject: successorSubject(about), keyset, nonce: fromHex(nonce) },
      not_after_ms: attester.notAfter(now()),
    });
    const offered = await this.#ask.open(
      { ...{ nonce, successor_nonce: own_nonce }, keyset, attestation: own },
      DRAIN_MS,
    );
    if (!offered.ok) return offered;
    const offer = offered.value;
    const transfer = await this.#accepts(offer, predecessor, about);
    if (transfer === undefined) return { code: 'offer_invalid', message: 'its offer does not verify' };
    return { predecessor, from_keyset_digest: hex(from_digest), keys, keyset, keyset_digest, offer, transfer };
  }

  async #derived(epoch: number): Promise<EpochKeys> {
    if (this.#keys?.epoch !== epoch) this.#keys = await this.#modules.derive(epoch);
    return this.#keys;
  }

  /** The offer is the predecessor's, over a head that its enclave has sealed. @returns undefined otherwise */
  async #accepts(
    { head, sealed, signature }: SuccessionOffer,
    predecessor: Keyset,
    about: Omit<Parameters<typeof secretInfo>[0], 'head_digest'>,
  ): Promise<TransferKeys | undefined> {
    const { source, judge, engine } = this.#modules;
    if (head.seal.keyset_digest !== about.from_keyset_digest || !(await judgeSeal(judge, head)).ok) return undefined;
    const all = { ...about, head_digest: head.digest };
    const secret = fromBase64(sealed);
    const key = fromBase64(predecessor.ml_dsa_87);
    const digest = offerDigest(all, secret);
    if (!engine.ml_dsa_87.verify(key, digest, utf8(OFFER_CONTEXT), fromBase64(signature))) return undefined;
    const handover = await deriveHandover(source, predecessor.epoch + 1);
    return openSecret(handover, secret, secretInfo(all)) ?? undefined;
  }

  /** @throws {Unfit | Lost | Fault} */
  async #take(met: Met): Promise<void> {
    const { store, log, config, source, pool, onStage } = this.#modules;
    onStage('taking the state of the predecessor');
    const { session, head } = met.offer;
    store.adopt([metaRow('inheritance', { state: 'importing' } satisfies Inheritance)]);
    const adoption = new Adoption({ store, source, pool, config, keys: met.keys });
    // The next chunk is on its way while this one is written.
    let coming = this.#chunk(met, 0);
    let index = 0;
    for (; ; index++) {
      const { bytes, last } = await coming;
      if (!last) {
        coming = this.#chunk(met, index + 1);
        coming.catch(() => {});
      }
      await adoption.take(bytes);
      if (last) break;
    }
    const { transcript, ...state } = await this.#ask.keepAlive(session, index, adoption.finish(head));
    const imported: Inheritance = {
      ...{ state: 'imported', from_keyset_digest: met.from_keyset_digest },
      ...{ keyset: met.keyset, keyset_digest: met.keyset_digest, head_digest: head.digest, ...state },
    };
    store.adopt([metaRow('inheritance', imported)]);
    if (adoption.unopened > 0) log.warn({ wraps: adoption.unopened }, 'wraps that do not open stay as they are');
    log.info({ log_size: head.seal.size, assets: state.asset_count }, 'the state is taken and verified');
    const said = utf8(JSON.stringify({ transcript, ...state }));
    const boxed = box(met.transfer, { side: 'successor', session, index: 0, last: true }, said);
    // Whatever becomes of this answer, the predecessor says next whether it has ended.
    await this.#ask.accept(session, boxed.toBase64());
  }

  async #chunk({ offer: { session }, transfer }: Met, index: number): Promise<{ bytes: Uint8Array; last: boolean }> {
    const said = await this.#ask.chunk(session, index);
    if (!said.ok) throw new Lost(said.message);
    const { last, box: boxed } = said.value;
    const bytes = unbox(transfer, { side: 'predecessor', session, index, last }, fromBase64(boxed));
    if (bytes === null) throw new Unfit(`chunk ${index} does not open`);
    return { bytes, last };
  }

  /**
   * Until the predecessor has ended for this enclave, or can't any more: what it offers anew, attested and signed over a fresh
   * nonce, it can end for only by that. Nobody else's word drops what may be the only state that can go on.
   */
  async #await(imported: Imported): Promise<Succession> {
    const { signal, log, url, onStage } = this.#modules;
    let said = '';
    onStage('the state is taken; waiting for the predecessor to end');
    for (let wait_ms = SOON_MS; !signal.aborted; wait_ms = Math.min(AGAIN_MS, 2 * wait_ms)) {
      const status = await this.#ask.status();
      const outcome = status.ok ? await this.#look(status, imported) : status.message;
      if (outcome === 'active' || outcome === 'again') return outcome;
      if (outcome !== said) {
        log.info({ url, reason: outcome }, 'inactive: the predecessor has not ended yet');
        onStage(`the state is taken; waiting for the predecessor to end: ${outcome}`);
      }
      said = outcome;
      await delay(wait_ms, undefined, { signal }).catch(() => {});
    }
    throw failed(url, 'the start was given up');
  }

  /** @returns why it has to wait, where it has */
  async #look(
    { value: { state, newest } }: Extract<Said<HandoverStatus>, { ok: true }>,
    imported: Imported,
  ): Promise<Succession | string> {
    if (state === 'ended') {
      if (newest === null || newest.handover.from_keyset_digest !== imported.from_keyset_digest) {
        return 'its end is not sealed yet';
      }
      return this.#goOn(newest, imported);
    }
    const met = await this.#tryToMeet();
    if (!('predecessor' in met)) return met.message;
    if (met.from_keyset_digest !== imported.from_keyset_digest) return 'another enclave answers there';
    const { store, url } = this.#modules;
    const { size } = meta(store, 'log');
    const { seal } = met.offer.head;
    // What was taken may be the only copy of what came after; an operator has to look.
    const isOlder = seal.size < size || (seal.size === size && seal.root !== logRoot(store, size));
    if (isOlder)
      throw failed(url, `it was put back: it has ${seal.size} entries of the log, and the state taken ${size}`);
    return 'again';
  }

  /** The predecessor has ended. @returns why this can't go on by it, where it can't. @throws {Fault} when it has ended for another */
  async #goOn(newest: SealedHandover, imported: Imported): Promise<'active' | string> {
    const { runtime, judge, config, now, log, url } = this.#modules;
    const { handover, sealed } = newest;
    if (handover.to_keyset_digest !== imported.keyset_digest) {
      throw failed(url, 'it has ended for another successor than this one');
    }
    const wrong = this.#contradiction(newest, imported);
    if (wrong !== undefined) return wrong;
    const judged = await judgeSeal(judge, sealed);
    if (!judged.ok) return judged.message;
    await runtime.commit((step) => activate(step, newest, imported, config.rotation.grace_s * 1000, now()));
    log.info({ epoch: handover.to_epoch }, 'the predecessor has ended: this enclave goes on');
    return 'active';
  }

  /** What of the entry, or of the log that its seal is over, is not what was taken. */
  #contradiction(
    { handover, keyset, sealed: { seal }, inclusion_path }: SealedHandover,
    imported: Imported,
  ): string | undefined {
    const { store } = this.#modules;
    const { size } = meta(store, 'log');
    const expected = {
      log_id: meta(store, 'genesis').log_id,
      leaf_index: size + 1,
      from_epoch: imported.keyset.epoch - 1,
      from_keyset_digest: imported.from_keyset_digest,
      to_epoch: imported.keyset.epoch,
      to_keyset_digest: imported.keyset_digest,
      head_digest: imported.head_digest,
      state_hash: imported.state_hash,
      asset_count: imported.asset_count,
      timestamp_ms: handover.timestamp_ms,
    };
    if (!isDeepStrictEqual(handover, expected)) return 'its entry is about another state';
    if (!isDeepStrictEqual(keyset, imported.keyset)) return 'its entry is about another keyset';
    const { from_keyset_digest } = imported;
    if (seal.keyset_digest !== from_keyset_digest || seal.size !== size + 2 || seal.log_id !== expected.log_id) {
      return 'its last seal is not over its end';
    }
    const leaf = logLeaf('handover', digestOfHandover(handover));
    const isIn = verifyInclusion(leaf, size + 1, seal.size, inclusion_path.map(fromHex), fromHex(seal.root));
    return isIn ? undefined : 'its entry is not in its last seal';
  }
}

type Imported = Extract<Inheritance, { state: 'imported' }>;

/** The predecessor does not give the state any more: it has dropped this successor, or is gone. */
class Lost extends Error {}

const metaRow = (name: string, value: object) =>
  ({ table: 'meta', key: utf8(name), value: utf8(JSON.stringify(value)) }) as const;

/** One commit: the log as the predecessor has sealed it, and the epoch that signs from here on. @throws {Error} on another root */
function activate(
  step: Step,
  { handover, sealed, successor_url }: SealedHandover,
  { keyset, keyset_digest }: Imported,
  grace_ms: number,
  now_ms: number,
): void {
  const { from_epoch, to_epoch, leaf_index } = handover;
  appendHandover(step, { handover, keyset, successor_url });
  const { size } = meta(step, 'log');
  if (logRoot(step, size) !== sealed.seal.root) throw new Error('the last seal is over another log');
  const { attestation, digest, seal: head } = sealed;
  const signed = { slh_dsa: sealed.slh_dsa_sig.signature, ml_dsa: sealed.ml_dsa_sig.signature, attestation };
  const { not_after_ms } = attestation;
  step.put('seals', size, { head, digest, not_after_ms, quoted: null, signed } satisfies SealRecord);
  step.put('watermarks', `head/${size}`, { digest });
  putMeta(step, 'log', { size, sealed: size, sealing: null });

  step.put('keysets', to_epoch, { keyset, digest: keyset_digest, leaf_index: leaf_index - 1 });
  step.begin(EPOCH, to_epoch, { epoch: to_epoch });
  const grace_ends_ms = now_ms + grace_ms;
  step.send(EPOCH, from_epoch, { type: 'superseded', grace_ends_ms });
  step.send(EPOCH, to_epoch, { type: 'activated' });
  putMeta(step, 'epoch', { active: to_epoch, grace: [...inGrace(step), from_epoch] });
  const first_height = meta(step, 'heights').cut;
  step.put('rotations', to_epoch, {
    ...{ from_epoch, to_epoch, reason: 'cvm_update', announced_at_ms: handover.timestamp_ms },
    ...{ at_height: first_height, deadline_ms: handover.timestamp_ms, first_height, executed_at_ms: now_ms },
  });
  const rotated = rotations(step);
  putMeta(step, 'rotated', { ...rotated, cvm_update: rotated.cvm_update! + 1 });
  step.remove('meta', 'inheritance');

  step.journal('handover_completed', { ...handover, size, successor_url }, now_ms);
  const entry = { from_epoch, to_epoch, keyset_digest, leaf_index: leaf_index - 1, reason: 'cvm_update', first_height };
  const times = { grace_ends_at: timestamp(grace_ends_ms), created_at: timestamp(now_ms) };
  step.journal('rotation_executed', { ...entry, ...times }, now_ms);
  const { root, epoch, providers, freshness } = head;
  step.journal('seal_created', { size, root, digest, epoch, freshness, providers, heights: [] }, now_ms);
}
