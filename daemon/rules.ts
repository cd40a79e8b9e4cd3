// `[attestation.policy]`: what evidence of hardware is held to before the daemon publishes it. The keys are those of a verifier's
// policy file, so that an operator can demand of the own platform what its clients will. sequencer.ts asks at start,
// `aegisd check-config` before. Promises: the rules as the verifier takes them, or a ConfigError that names the key.
import { z } from 'zod';
import { UNRATED } from '../actors/amd.ts';
import type { EvidencePolicy } from '../actors/evidence.ts';
import { fieldPath } from '../client/json.ts';
import { EVIDENCE_RULES, evidencePolicy } from '../client/policy.ts';
import { ConfigError } from '../config/error.ts';
import type { Config } from '../config/schema.ts';

const KEY = 'attestation.policy';
const Rules = z.strictObject(EVIDENCE_RULES);

/** Anything of a maker's that still attests; the status is published, and it is for verifiers to judge it. */
const TCB_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  UNRATED,
];

/** @throws {ConfigError} */
export function evidenceRules({
  attestation,
}: Pick<Config, 'attestation'>): Omit<EvidencePolicy, 'now_ms' | 'report_data'> {
  const { policy } = attestation;
  const parsed = Rules.safeParse({ tcb_statuses: TCB_STATUSES, ...policy });
  if (parsed.success) return evidencePolicy(parsed.data);
  const issues = parsed.error.issues.map((issue) => {
    const extra = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
    const key = `${KEY}.${fieldPath([...issue.path, ...extra])}`;
    return { file: `[${KEY}]`, line: 0, column: 0, key, message: issue.message };
  });
  throw new ConfigError(issues);
}
