// Verification of hardware evidence (DESIGN §6): a quote, its collateral and event log against a policy. Called by the
// verification pool, by `aegisd verify` and, in browsers, by the client library: pure, synchronous (about 20 ms), without
// clock. Promises: an `ok` names a root that the policy trusts, every signature under it was checked, and no byte of quote,
// collateral or log can be changed without a refusal, so evidence must come in its canonical form. intel.ts judges TDX and
// SGX quotes, amd.ts SEV-SNP reports, requirement.ts what the policy asks of either; check.ts names the checks.
import { sha256 } from '@noble/hashes/sha2.js';
import { judgeSnp } from './amd.ts';
import { isSelfSigned, readAmdChain } from './amdchain.ts';
import { isIssuedBy, readPckChain } from './certificate.ts';
import { Refused, refuse } from './check.ts';
import { hex } from './encoding.ts';
import {
  type Evidence,
  type EvidencePolicy,
  isAmong,
  isHardwareRoot,
  QUOTE_TYPES,
  type RefusedEvidence,
  type VerifiedEvidence,
} from './evidence.ts';
import { judgeIntel } from './intel.ts';
import { readQuote } from './intelquote.ts';
import { requireContent, requireFresh, requireLog, requireStatus } from './requirement.ts';

/** Checks everything but expected content first, so that a content code means: genuine, but not what was asked for. */
export function verifyEvidence(evidence: Evidence, policy: EvidencePolicy): VerifiedEvidence | RefusedEvidence {
  return outcome(() => verify(evidence, policy));
}

/**
 * The root that evidence itself claims, for a reader who names none. It is signed by itself, so that not a bit of it is free.
 *
 * @returns its DER
 */
export function claimedRoot({
  quote_type,
  quote,
  collateral,
}: Evidence): { ok: true; der: Uint8Array } | RefusedEvidence {
  return outcome(() => {
    const certificate = quote_type === 'SEV-SNP' ? amdRoot(collateral) : intelRoot(quote);
    if (certificate === null) throw new Refused('chain_invalid', 'the root certificate is not signed by itself');
    return { ok: true, der: certificate };
  });
}

function amdRoot(collateral: Evidence['collateral']): Uint8Array | null {
  if (collateral === null) throw new Refused('collateral_missing', 'a report needs the certificates of its chip');
  if (!('certificate_chain' in collateral)) throw new Refused('collateral_malformed', "expected AMD's collateral");
  const root = refuse('chain_malformed', 'certificate_chain', () => readAmdChain(collateral.certificate_chain))[2];
  return isSelfSigned(root) ? root.der : null;
}

function intelRoot(quote: Uint8Array): Uint8Array | null {
  const root = readPckChain(refuse('quote_malformed', 'quote', () => readQuote(quote)).pck_chain)[2]!;
  return isIssuedBy(root, root) ? root.der : null;
}

function outcome<T>(act: () => T): T | RefusedEvidence {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ok: false, code: error.code, message: error.message };
  }
}

const JUDGES = { TDX: judgeIntel, SGX: judgeIntel, 'SEV-SNP': judgeSnp } as const;

function verify(evidence: Evidence, policy: EvidencePolicy): VerifiedEvidence {
  const { quote_type } = evidence;
  if (!Object.hasOwn(JUDGES, quote_type)) {
    throw new Refused('unsupported_quote_type', `expected one of ${QUOTE_TYPES.join(', ')}`);
  }
  if (policy.quote_types?.includes(quote_type) === false) {
    throw new Refused('quote_type_refused', `${quote_type}, expected one of ${policy.quote_types.join(', ')}`);
  }
  // NaN and undefined would pass every comparison with a date, and what has no date can't be named.
  if (!Number.isSafeInteger(policy.now_ms) || policy.now_ms < 0 || policy.now_ms > DATE_MAX_MS) {
    throw new Refused('now_invalid', 'the time to judge by is not a whole number of milliseconds');
  }
  const genuine = JUDGES[quote_type](evidence, policy, (root) => isAmong(root, policy.roots));
  requireFresh(genuine, policy);
  requireStatus(genuine, policy);
  const log = requireLog(evidence.event_log, genuine, policy);
  requireContent(genuine, log, policy);
  const { status, advisory_ids, report_data, measurements, claims, platform_id } = genuine;
  return {
    ok: true,
    status,
    advisory_ids,
    report_data,
    measurements,
    claims,
    compose_hash: log?.compose_hash ? hex(log.compose_hash) : null,
    root_sha256: hex(sha256(genuine.root)),
    simulated: !isHardwareRoot(genuine.root),
    platform_id,
    collateral_not_after_ms: genuine.not_after_ms,
  };
}

/** ECMA-262 §21.4.1.1. */
const DATE_MAX_MS = 8.64e15;
