// Assembles both sides of a handover from the configuration. Called by the sequencer at start: `succeed` before there are keys, where a
// predecessor's state is to be taken; `refuseHandedOver` before anything could sign, where a successor may be there already; and
// `openPredecessor` with the other rooms.
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { keysetDigest, sealDigest } from '../../actors/digest.ts';
import { fromBase64, fromHex, hex, utf8 } from '../../actors/encoding.ts';
import { digestOfHandover, HandoverStatus } from '../../actors/handover.ts';
import { logLeaf, verifyInclusion } from '../../actors/tree.ts';
import { ask } from '../../client/exchange.ts';
import type { Config } from '../../config/schema.ts';
import { type Engine, loadEngine } from '../../workers/engine.ts';
import type { Pool } from '../../workers/pool.ts';
import { openAttester } from '../attestation.ts';
import { syncFolder } from '../environment.ts';
import { Fault } from '../fault.ts';
import type { KeySource } from '../keys/source.ts';
import { provenKeys } from '../proof.ts';
import { keysetRecord, meta } from '../records.ts';
import { evidenceRules } from '../rules.ts';
import type { Runtime } from '../runtime.ts';
import type { Store } from '../store.ts';
import type { Judge } from '../witness/judgement.ts';
import { Predecessor } from './predecessor.ts';
import { hasEnded, inheritance } from './record.ts';
import { type Succession, Successor } from './successor.ts';

interface Basics {
  readonly config: Config;
  readonly store: Store;
  readonly pool: Pool;
  readonly source: KeySource;
  readonly now: () => number;
  readonly log: { info(detail: object, message: string): void; warn(detail: object, message: string): void };
  readonly fatal: (error: unknown) => void;
}

function judgeOf({ config, pool, now }: Basics, engine: Engine): Judge {
  const production = config.daemon.environment === 'production';
  return { pool, engine, policy: evidenceRules(config), production, now };
}

type Rooms = ConstructorParameters<typeof Predecessor>[0];

export async function openPredecessor(
  modules: Basics & Omit<Rooms, keyof Basics | 'judge' | 'engine' | 'options'>,
): Promise<Predecessor> {
  const { config } = modules;
  const engine = await loadEngine(config.signing.engine);
  return new Predecessor({ ...modules, engine, judge: judgeOf(modules, engine), options: () => config.handover });
}

/** @throws {Fault} succession_unfinished where a start without its predecessor's URL finds such a store */
export function needsPredecessor(store: Store, url: string | undefined): boolean {
  const isOpen = inheritance(store) !== undefined;
  if (url === undefined && isOpen) throw new Fault({ code: 'succession_unfinished', path: store.folder });
  return url !== undefined && (isOpen || store.get('meta', 'genesis') === undefined);
}

/** One try. @throws {Fault} succession_failed and whatever else another try would not mend */
export async function succeed(
  modules: Basics & {
    readonly url: string;
    readonly runtime: Runtime;
    /** `daemon.state_dir`, absolute. */
    readonly state_dir: string;
    readonly onFault: (fault: Fault) => void;
    readonly signal: AbortSignal;
    readonly onStage: (stage: string) => void;
  },
): Promise<Succession> {
  const { config, source, pool } = modules;
  const engine = await loadEngine(config.signing.engine);
  const attester = await openAttester(modules);
  const derive = (epoch: number) => provenKeys({ source, pool }, epoch, config.quantum.hybrid_ecdsa);
  return new Successor({ ...modules, attester, judge: judgeOf(modules, engine), engine, derive }).succeed();
}

/** A store that is of no use, once it is closed. What was whole is kept beside, once: nobody can say that it is never wanted. */
export function setAside(folder: string, whole: boolean): void {
  const aside = join(folder, 'store.abandoned');
  const store = join(folder, 'store');
  if (!existsSync(store)) return;
  if (whole) {
    rmSync(aside, { recursive: true, force: true });
    renameSync(store, aside);
  } else {
    rmSync(store, { recursive: true, force: true });
  }
  syncFolder(folder);
}

const ANSWER_BYTES_MAX = 8 * 1_048_576;
const TIMEOUT_MS = 3_000;

/**
 * Asks the successor's address whether this enclave has ended: a store that was restored from before doesn't know. What it says
 * counts only with both signatures of this very enclave. Nobody there, or no answer, says nothing.
 *
 * @throws {Fault} handed_over
 */
export async function refuseHandedOver({ config, store, log }: Basics): Promise<void> {
  const url = config.handover.successor_url;
  if (url === '' || store.get('meta', 'genesis') === undefined || hasEnded(store)) return;
  const question = { path: 'handover', answer: HandoverStatus, bytes_max: ANSWER_BYTES_MAX };
  const said = await ask(url, question, { timeout_ms: TIMEOUT_MS });
  if (!said.ok) {
    log.info({ url, reason: said.message }, 'nobody says at handover.successor_url that this enclave has ended');
    return;
  }
  const { newest } = said.value;
  if (newest === null) return;
  const { handover, sealed, inclusion_path } = newest;
  const own = keysetRecord(store, handover.from_epoch)?.keyset;
  if (own === undefined || handover.log_id !== meta(store, 'genesis').log_id) return;
  const keyset_digest = hex(keysetDigest(own));
  const { seal } = sealed;
  if (handover.from_keyset_digest !== keyset_digest || seal.keyset_digest !== keyset_digest) return;
  const { ml_dsa_87, slh_dsa_sha2_256s } = await loadEngine(config.signing.engine);
  const [digest, context] = [sealDigest(seal), utf8('aegis/seal/v1')];
  const [ml, slh] = [sealed.ml_dsa_sig.signature, sealed.slh_dsa_sig.signature].map(fromBase64) as [
    Uint8Array,
    Uint8Array,
  ];
  const isSigned =
    ml_dsa_87.verify(fromBase64(own.ml_dsa_87), digest, context, ml) &&
    slh_dsa_sha2_256s.verify(fromBase64(own.slh_dsa_sha2_256s), digest, context, slh);
  const leaf = logLeaf('handover', digestOfHandover(handover));
  const path = inclusion_path.map(fromHex);
  const isIn = verifyInclusion(leaf, handover.leaf_index, seal.size, path, fromHex(seal.root));
  // This enclave's own epochs are those above what it has inherited: only of them it has the keys that signed.
  if (isSigned && isIn && isActive(store, handover.from_epoch)) throw new Fault({ code: 'handed_over', url });
}

const isActive = (store: Store, epoch: number): boolean => meta(store, 'epoch').active === epoch;
