// What is checked of hardware evidence, in the order in which it is checked, and the codes of what can fail in each check.
// The files that judge evidence throw a Refused with one of these codes, `verifyEvidence` returns it as a value, and
// `aegisd verify-quote` prints the checks one by one. Promises: every code belongs to one check, and when a check fails,
// all those before it have held. Codes are stable: scripts may depend on them.

import type { z } from 'zod';

interface Check {
  /** For people: what holds once the check has passed. */
  readonly says: string;
  readonly codes: readonly string[];
}

export const EVIDENCE_CHECKS = {
  format: {
    says: 'the quote is of a known type and version, in its one spelling',
    codes: ['unsupported_quote_type', 'quote_type_refused', 'now_invalid', 'quote_malformed'],
  },
  collateral: {
    says: 'the collateral is there and of its shape',
    codes: ['collateral_missing', 'collateral_malformed'],
  },
  chain: {
    says: 'every certificate is signed, in date and in its role, under one trusted root',
    codes: ['root_untrusted', 'chain_malformed', 'chain_invalid', 'certificate_expired'],
  },
  revocation: {
    says: 'the revocation lists are signed and in date, and nothing is on them',
    codes: ['crl_missing', 'crl_malformed', 'crl_invalid', 'crl_expired', 'certificate_revoked'],
  },
  platform: {
    says: 'certificate and collateral are for the platform that the quote is from',
    codes: ['platform_mismatch', 'chip_masked'],
  },
  freshness: {
    says: 'the collateral is in date, and no older than the policy allows',
    codes: ['collateral_expired', 'collateral_stale'],
  },
  signature: {
    says: 'the signatures lead from the certificates to the quote',
    codes: [
      'tcb_info_signature_invalid',
      'qe_identity_signature_invalid',
      'qe_report_signature_invalid',
      'qe_binding_invalid',
      'qe_identity_mismatch',
      'quote_signature_invalid',
      'quote_refused',
    ],
  },
  tcb: {
    says: 'the versions of the platform are listed, and not revoked',
    codes: ['tcb_level_missing', 'tcb_mismatch', 'tdx_module_refused', 'tcb_revoked'],
  },
  attributes: {
    says: 'nobody can debug it, move it elsewhere or look into it',
    codes: ['debug_enabled', 'migration_enabled', 'vmpl_refused', 'attributes_refused'],
  },
  status: { says: 'the TCB status is one that the policy accepts', codes: ['tcb_status_refused'] },
  advisories: { says: 'every security advisory is one that the policy accepts', codes: ['advisory_refused'] },
  event_log: {
    says: 'the event log, with digests computed anew, leads to the registers of the quote',
    codes: ['event_log_missing', 'event_log_malformed', 'event_log_mismatch'],
  },
  report_data: { says: 'the quote was made over the expected report data', codes: ['report_data_mismatch'] },
  measurements: { says: 'it is an enclave that the policy names', codes: ['measurements_refused'] },
  application: {
    says: 'the application, its compose file and its KMS are those that the policy names',
    codes: ['event_refused', 'app_id_refused', 'compose_hash_refused', 'kms_root_refused'],
  },
} as const satisfies Record<string, Check>;

export type EvidenceCheck = keyof typeof EVIDENCE_CHECKS;
export type EvidenceCode = (typeof EVIDENCE_CHECKS)[EvidenceCheck]['codes'][number];

export const EVIDENCE_CODES: readonly EvidenceCode[] = Object.values(EVIDENCE_CHECKS).flatMap(({ codes }) => codes);

/** The check that a code belongs to. */
export function checkOf(code: EvidenceCode): EvidenceCheck {
  const names = Object.keys(EVIDENCE_CHECKS) as EvidenceCheck[];
  return names.find((name) => (EVIDENCE_CHECKS[name].codes as readonly string[]).includes(code))!;
}

/** A failed check inside this family of files. Thrown there, returned as a value by `verifyEvidence`. */
export class Refused extends Error {
  readonly code: EvidenceCode;
  constructor(code: EvidenceCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** Readers throw SyntaxErrors; here they get the code of the check that they belong to. */
export function refuse<T>(code: EvidenceCode, where: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof Refused) throw cause;
    throw new Refused(code, `${where}: ${cause instanceof Error ? cause.message : 'unreadable'}`);
  }
}

/** Collateral of whichever maker. @throws {Refused} collateral_missing with this sentence, collateral_malformed with the field */
export function requireCollateral<T extends z.ZodType>(schema: T, collateral: unknown, missing: string): z.output<T> {
  if (collateral === null) throw new Refused('collateral_missing', missing);
  const parsed = schema.safeParse(collateral);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Refused('collateral_malformed', `collateral.${issue?.path.join('.')}: ${issue?.message}`);
}

interface Dated {
  readonly commonName: string;
  readonly not_before_ms: number;
  readonly not_after_ms: number;
}

/** @throws {Refused} certificate_expired */
export function requireInDate({ commonName, not_before_ms, not_after_ms }: Dated, now_ms: number): void {
  if (now_ms < not_before_ms || now_ms > not_after_ms) {
    throw new Refused('certificate_expired', `${commonName} is not valid at ${new Date(now_ms).toISOString()}`);
  }
}
