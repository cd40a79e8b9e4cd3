// The contract between the pools and their threads: every job by name, with what it takes and gives. Both sides import it.
// Keys cross as KeyObject handles, which a thread can use and clone; results are values, because an error that crosses a
// thread loses its code.
import type { KeyObject } from 'node:crypto';
import type { CollectTask } from './collect.ts';
import type { EngineName } from './engine.ts';
import type { EvidenceResult, EvidenceTask } from './evidence.ts';
import type { ExamineOutcome, ExamineTask, ExtendOutcome, ExtendTask } from './name.ts';
import type { OpenOutcome, OpenTask } from './open.ts';
import type { RewrapResult, RewrapTask, UnwrapTask } from './wrap.ts';

/** How a signature is reported that fails its own check. Only the text of an error crosses a thread. */
export const SELF_CHECK_FAILED = 'did not verify: the machine computes wrongly';

/** What a batch is signed with; `secp256k1` is a secret KeyObject of 32 bytes, null when hybrid_ecdsa is off. */
export interface SignTask {
  /** 64 bytes, the aegis/batch/v1 digest. */
  readonly digest: Uint8Array;
  readonly height: number;
  readonly chain_id: string;
  readonly ml_dsa_87: KeyObject;
  readonly secp256k1: KeyObject | null;
}
export interface SignResult {
  readonly ml_dsa: Uint8Array;
  /** r ‖ s ‖ v, 65 bytes, low s. */
  readonly ecdsa: Uint8Array | null;
}

export interface SealTask {
  /** 64 bytes, the aegis/seal/v1 digest. */
  readonly digest: Uint8Array;
  readonly ml_dsa_87: KeyObject;
  readonly slh_dsa_sha2_256s: KeyObject;
}
export interface SealResult {
  readonly slh_dsa: Uint8Array;
  readonly ml_dsa: Uint8Array;
}

/** A checkpoint is signed by ML-DSA-87 alone: a seal covers it. */
export interface CertifyTask {
  /** 64 bytes, the aegis/checkpoint/v1 digest. */
  readonly digest: Uint8Array;
  readonly ml_dsa_87: KeyObject;
}

/** The seeds of an SLH-DSA key, 96 bytes, as a secret KeyObject. */
export interface DeriveTask {
  readonly seed: KeyObject;
}

/** Keys that were just derived, to be tried before anyone is told of them. */
export interface PairTask {
  readonly ml_dsa_87: KeyObject;
  readonly slh_dsa_sha2_256s: KeyObject;
}

export interface Jobs {
  open: { task: OpenTask; result: readonly OpenOutcome[] };
  sign: { task: readonly SignTask[]; result: readonly SignResult[] };
  seal: { task: SealTask; result: SealResult };
  certify: { task: CertifyTask; result: Uint8Array };
  derive: { task: DeriveTask; result: KeyObject };
  pair: { task: PairTask; result: null };
  evidence: { task: EvidenceTask; result: EvidenceResult };
  rewrap: { task: RewrapTask; result: RewrapResult };
  unwrap: { task: UnwrapTask; result: number | null };
  extend: { task: ExtendTask; result: readonly ExtendOutcome[] };
  examine: { task: ExamineTask; result: readonly ExamineOutcome[] };
}
export type JobName = keyof Jobs;

/** What a thread is told when it starts. */
export interface ThreadData {
  readonly nice: number;
  readonly engine: EngineName;
}

/** Every thread can do every job; `load` brings the code of some in, `collect` is for all threads at once. */
export type Message =
  | { [Name in JobName]: { job: Name; task: Jobs[Name]['task'] } }[JobName]
  | { job: 'load'; task: readonly JobName[] }
  | { job: 'collect'; task: CollectTask };

/** A job that could not be done; the pool turns it into a Fault. */
export type Answer<Name extends JobName> =
  | { readonly ok: true; readonly result: Jobs[Name]['result'] }
  | { readonly ok: false; readonly reason: string };
