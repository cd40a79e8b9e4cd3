// The verifier of batch files (DESIGN §3 "The batch file"), for anyone who holds a file and a policy: browsers import it,
// `aegisd verify` runs it. Pure and synchronous, 40 to 120 ms for a sealed batch. Promises: an `ok` means that every value
// in the file, but those that DESIGN lists as unsigned, is bound by a check that held; a refusal names the check and the
// value; no input makes it throw. It concludes that the batch is in one attested head of the log, and nothing more.
import { BatchFile } from '../actors/batch.ts';
import { batchDigest, keysetDigest, sealDigest } from '../actors/digest.ts';
import { hex, timestamp } from '../actors/encoding.ts';
import { endedBefore } from '../actors/handover.ts';
import {
  checkExecution,
  checkHeader,
  checkOrder,
  checkPolicy,
  checkRefused,
  checkSenders,
  checkTransactions,
} from './content.ts';
import { fieldPath } from './json.ts';
import { DEFAULT_POLICY } from './policy.ts';
import { checkAttestation, checkEcdsa, checkKeyset, checkMlDsa, checkSeal, checkSlhDsa } from './proof.ts';
import {
  type Accepted,
  CHECKS,
  type Check,
  type CheckName,
  type Failure,
  fail,
  LIMITS,
  SEALED_STATEMENT,
  SIGNED_STATEMENT,
  SIMULATED_NOTE,
  type Subject,
  type Verdict,
  type VerifyOptions,
} from './verdict.ts';

export type { Accepted, CheckName, Failure, FailureCode, Refusal, Verdict, VerifyOptions } from './verdict.ts';

const STEPS: Record<Exclude<CheckName, 'schema'>, Check> = {
  header: checkHeader,
  policy: (subject) => checkPolicy(subject) ?? checkEnded(subject),
  order: checkOrder,
  refused: checkRefused,
  transactions: checkTransactions,
  execution: checkExecution,
  keyset: checkKeyset,
  seal: checkSeal,
  ml_dsa: checkMlDsa,
  senders: checkSenders,
  slh_dsa: checkSlhDsa,
  ecdsa: checkEcdsa,
  attestation: checkAttestation,
};

/**
 * ```ts
 * const verdict = verifyBatch(await response.json(), { policy, now_ms: Date.now() });
 * if (!verdict.ok) throw new Error(`${verdict.field}: ${verdict.message}`);
 * ```
 *
 * @param file  parsed JSON. `parseStrict` (json.ts) refuses what JSON.parse hides, such as a key that is there twice
 */
export function verifyBatch(file: unknown, options: VerifyOptions): Verdict {
  const policy = options.policy ?? DEFAULT_POLICY;
  const read = checkTime(options.now_ms) ?? readFile(file);
  if ('code' in read) return refusal(read, policy.signatures, [], NOTHING_FOUND);
  const subject: Subject = {
    file: read.file,
    policy,
    allow_simulated: options.allow_simulated ?? false,
    now_ms: options.now_ms,
    handovers: options.handovers ?? [],
    digest: batchDigest(read.file.header),
    keyset_digest: keysetDigest(read.file.keyset),
    head_digest: read.file.slh_dsa_sig === null ? new Uint8Array(64) : sealDigest(read.file.slh_dsa_sig.seal),
    found: { ...NOTHING_FOUND, simulated: null, tcb_status: null },
  };
  const checks: CheckName[] = ['schema'];
  for (const name of Object.keys(CHECKS) as CheckName[]) {
    if (name === 'schema') continue;
    const failure = STEPS[name](subject);
    if (failure !== null) return refusal(failure, policy.signatures, checks, subject.found);
    checks.push(name);
  }
  return accepted(subject, checks);
}

/** Neither the batch nor the seal over it is signed by keys that had ended. */
function checkEnded({ file: { header, slh_dsa_sig }, handovers, ...subject }: Subject): Failure | null {
  if (slh_dsa_sig === null) return null;
  const { seal, leaf_index } = slh_dsa_sig;
  const batch = { ...header, size: leaf_index + 1, keyset_digest: hex(subject.keyset_digest) };
  const places = { 'header.epoch': batch, 'slh_dsa_sig.seal.epoch': seal };
  for (const [field, place] of Object.entries(places)) {
    const by = endedBefore(handovers, place);
    if (by !== undefined) return fail('keyset_ended', field, `its keys ended by the handover at leaf ${by.leaf_index}`);
  }
  return null;
}

const YEAR_10000_MS = 253_402_300_800_000;

const NOTHING_FOUND = { ml_dsa_valid: null, slh_dsa_valid: null, ecdsa_valid: null };

/** NaN would pass every comparison with a date, and what has no RFC 3339 form can't be reported. */
export function checkTime(now_ms: number): Failure | null {
  if (Number.isSafeInteger(now_ms) && now_ms >= 0 && now_ms < YEAR_10000_MS) return null;
  return fail('now_invalid', 'now_ms', 'expected the milliseconds since 1970 of a time before the year 10000');
}

function readFile(file: unknown): { file: BatchFile } | Failure {
  const parsed = BatchFile.safeParse(file);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const extra = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
    return fail('malformed', fieldPath([...issue.path, ...extra]), issue.message);
  }
  // The one number that JSON can write in two ways and a schema takes for another.
  const zero = negativeZero(file, []);
  return zero === null ? { file: parsed.data } : fail('malformed', fieldPath(zero), 'expected 0 without a sign');
}

/** Of data whose schema holds, so its depth is bounded. */
function negativeZero(value: unknown, path: PropertyKey[]): PropertyKey[] | null {
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? path : null;
  for (const [key, member] of Object.entries(value)) {
    const found = negativeZero(member, [...path, Array.isArray(value) ? Number(key) : key]);
    if (found !== null) return found;
  }
  return null;
}

function refusal(
  failure: Failure,
  mode: Verdict['mode'],
  checks: readonly CheckName[],
  { ml_dsa_valid, slh_dsa_valid, ecdsa_valid }: Subject['found'] | typeof NOTHING_FOUND,
): Verdict {
  return { ok: false, ...failure, mode, ml_dsa_valid, slh_dsa_valid, ecdsa_valid, checks };
}

function accepted({ file, policy, keyset_digest, found }: Subject, checks: readonly CheckName[]): Accepted {
  const { header } = file;
  const seal = file.slh_dsa_sig?.seal ?? null;
  const simulated = found.simulated === true;
  return {
    ok: true,
    mode: policy.signatures,
    status: seal === null ? 'signed' : 'sealed',
    statement: seal === null ? SIGNED_STATEMENT : SEALED_STATEMENT,
    batch_id: file.batch_id,
    chain_id: header.chain_id,
    log_id: header.log_id,
    height: header.height,
    parent_digest: header.parent_digest,
    epoch: header.epoch,
    keyset_digest: `0x${keyset_digest.toHex()}`,
    tx_count: header.tx_count,
    refused_count: file.refused.length,
    size: seal?.size ?? null,
    root: seal?.root ?? null,
    leaf_index: file.slh_dsa_sig?.leaf_index ?? null,
    sealed_at: seal === null ? null : timestamp(seal.timestamp_ms),
    tcb_status: found.tcb_status,
    simulated,
    ml_dsa_valid: found.ml_dsa_valid,
    slh_dsa_valid: found.slh_dsa_valid,
    ecdsa_valid: found.ecdsa_valid,
    checks,
    notes: [LIMITS, ...(simulated ? [SIMULATED_NOTE] : [])],
  };
}
