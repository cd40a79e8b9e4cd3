// `aegisd verify-quote`: judges one piece of hardware evidence, whatever brought it: a raw quote or report, its hex or base64,
// a guest agent's GetQuote answer with its event log, or the `attestation` of one of our files. Prints every check with its
// outcome. Exit codes: 0 all that the policy asks holds, 1 a check failed, 2 a file can't be read, and then nothing was judged.
import { checkOf, EVIDENCE_CHECKS, type EvidenceCheck } from '../../actors/check.ts';
import { hex } from '../../actors/encoding.ts';
import {
  type Evidence,
  type EvidencePolicy,
  isHardwareRoot,
  type RefusedEvidence,
  type VerifiedEvidence,
} from '../../actors/evidence.ts';
import { claimedRoot, verifyEvidence } from '../../actors/verification.ts';
import { DEFAULT_POLICY, evidencePolicy, type VerificationPolicy } from '../../client/policy.ts';
import { printable } from './entry.ts';
import { readEvidence } from './evidence.ts';
import { readPolicy, readTime, reportUsage, UsageError } from './file.ts';
import { EXIT } from './program.ts';

export interface Options {
  /** Files, a folder, or the URL of a service; in place of what the file itself has. */
  readonly collateral?: readonly string[];
  /** RFC 3339. */
  readonly at?: string;
  readonly policy?: string;
  /** 1 to 64 bytes in hex, padded with zeros as platforms pad it. */
  readonly reportData?: string;
  readonly allowSimulated?: boolean;
  readonly json?: boolean;
}

/** What became of a check. `not_asked`: the policy says nothing about it. `not_judged`: one before it failed. */
type Outcome = 'held' | 'failed' | 'not_asked' | 'not_judged';
type Outcomes = Readonly<Record<EvidenceCheck, Outcome>>;

/** @returns the exit code */
export async function verifyQuote(file: string, options: Options): Promise<number> {
  try {
    const rules = options.policy === undefined ? DEFAULT_POLICY : readPolicy(options.policy);
    const now_ms = options.at === undefined ? Date.now() : readTime(options.at);
    const evidence = await readEvidence(file, options.collateral ?? []);
    const policy = policyFor(evidence, rules, { ...options, now_ms });
    const found = verifyEvidence(evidence, policy);
    const outcomes = outcomesOf(found, evidence, policy);
    const judged: Judged = { file, evidence, found, outcomes, judged_at: new Date(now_ms).toISOString() };
    process.stdout.write(options.json ? document(judged) : report(judged));
    return found.ok ? EXIT.ok : EXIT.refused;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    reportUsage(error, options.json ?? false);
    return EXIT.usage;
  }
}

interface Judged {
  readonly file: string;
  readonly evidence: Evidence;
  readonly found: VerifiedEvidence | RefusedEvidence;
  readonly outcomes: Outcomes;
  readonly judged_at: string;
}

function policyFor(
  evidence: Evidence,
  rules: VerificationPolicy,
  options: Options & { readonly now_ms: number },
): EvidencePolicy {
  const asked = { ...evidencePolicy(rules), now_ms: options.now_ms };
  const root = claimedRoot(evidence);
  // A simulator's root is its own; that nobody vouches for it is what --allow-simulated grants.
  const own = options.allowSimulated && rules.roots === undefined && root.ok && !isHardwareRoot(root.der);
  const roots = own ? [root.der] : asked.roots;
  if (options.reportData === undefined) return { ...asked, roots };
  return { ...asked, roots, report_data: readReportData(options.reportData) };
}

function readReportData(text: string): Uint8Array {
  const digits = /^(?:0x)?((?:[0-9a-fA-F]{2}){1,64})$/.exec(text)?.[1];
  if (digits === undefined) throw new UsageError('--report-data', '', 'expected 1 to 64 bytes in hex');
  return Uint8Array.fromHex(digits.padEnd(128, '0'));
}

function outcomesOf(found: VerifiedEvidence | RefusedEvidence, evidence: Evidence, policy: EvidencePolicy): Outcomes {
  const failed = found.ok ? undefined : checkOf(found.code);
  const names = Object.keys(EVIDENCE_CHECKS) as EvidenceCheck[];
  const at = failed === undefined ? names.length : names.indexOf(failed);
  const silent = notAsked(evidence, policy);
  return Object.fromEntries(
    names.map((name, i): [EvidenceCheck, Outcome] => {
      if (name === failed) return [name, 'failed'];
      if (silent.includes(name)) return [name, 'not_asked'];
      return [name, i < at ? 'held' : 'not_judged'];
    }),
  ) as Outcomes;
}

/** Checks that would hold whatever the evidence is. */
function notAsked(evidence: Evidence, policy: EvidencePolicy): EvidenceCheck[] {
  const { events, app_ids, compose_hashes, kms_roots } = policy;
  const silent: Partial<Record<EvidenceCheck, boolean>> = {
    advisories: policy.advisories === undefined,
    event_log: evidence.event_log === null && policy.event_log !== 'required',
    report_data: policy.report_data === undefined,
    measurements: policy.measurements === undefined,
    application: [events, app_ids, compose_hashes, kms_roots].every((rule) => rule === undefined),
  };
  return (Object.keys(silent) as EvidenceCheck[]).filter((name) => silent[name]);
}

function document({ file, evidence, found, outcomes, judged_at }: Judged): string {
  const checks = Object.entries(outcomes).map(([check, outcome]) => ({ check, outcome }));
  const { ok, ...rest } = found;
  const said = found.ok ? { ...rest, report_data: hex(found.report_data) } : rest;
  return `${JSON.stringify({ ok, file, quote_type: evidence.quote_type, judged_at, ...said, checks }, null, 2)}\n`;
}

const WORDS: Record<Outcome, string> = { held: 'ok', failed: 'FAILED', not_asked: '-', not_judged: '?' };

function report({ file, evidence, found, outcomes, judged_at }: Judged): string {
  const head = found.ok ? 'all that the policy asks holds' : `REFUSED ${found.code}`;
  const lines = [`${file}: ${evidence.quote_type}, ${head}`];
  for (const [name, { says }] of Object.entries(EVIDENCE_CHECKS)) {
    const outcome = outcomes[name as EvidenceCheck];
    const silent = outcome === 'not_asked' ? ' (not asked by the policy)' : '';
    lines.push(`  ${WORDS[outcome].padEnd(6)}  ${name}: ${says}${silent}`);
    if (outcome === 'failed' && !found.ok) lines.push(`          ${printable(found.message)}`);
  }
  lines.push('', ...(found.ok ? facts(found) : []), `judged at ${judged_at}`);
  return `${lines.join('\n')}\n`;
}

function facts(found: VerifiedEvidence): string[] {
  const { status, advisory_ids, claims, compose_hash, collateral_not_after_ms } = found;
  return [
    `TCB status ${status}, advisories: ${advisory_ids.length === 0 ? 'none' : advisory_ids.map(printable).join(', ')}`,
    ...Object.entries(claims).map(([name, value]) => `${name} = ${value}`),
    `report_data = ${hex(found.report_data)}`,
    ...(compose_hash === null ? [] : [`compose_hash = ${compose_hash}`]),
    `platform = ${found.platform_id}`,
    `root (SHA-256) = ${found.root_sha256}`,
    `collateral ends at ${new Date(collateral_not_after_ms).toISOString()}`,
    ...(found.simulated ? ['simulated: the root is not that of a maker of hardware'] : []),
  ];
}
