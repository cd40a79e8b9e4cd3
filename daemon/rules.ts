// `[attestation.policy]`: what evidence of hardware is held to before the daemon publishes it. The keys are those of a verifier's
// policy file, so that an operator can demand of the own platform what its clients will. The loader is given `ruleFlaws` wherever
// there is a file, and says where each stands. Promises: the rules as the verifier takes them, or a ConfigError that names the key.
import { z } from 'zod';
import { type EvidencePolicy, UNRATED } from '../actors/evidence.ts';
import { fieldPath } from '../client/json.ts';
import { EVIDENCE_RULES, evidencePolicy } from '../client/policy.ts';
import { ConfigError } from '../config/error.ts';
import type { Flaw } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { nearest } from '../config/suggestion.ts';

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

type Given = Pick<Config, 'attestation'>;

/** For the loader, which knows where it stands: what is wrong with the rules. */
export function ruleFlaws({ attestation }: Given): Flaw[] {
  const parsed = read(attestation.policy);
  return parsed.success ? [] : parsed.error.issues.flatMap(flaws);
}

/** @throws {ConfigError} where the loader was not asked for its flaws: what a program gives by itself has no lines */
export function evidenceRules({ attestation }: Given): Omit<EvidencePolicy, 'now_ms' | 'report_data'> {
  const parsed = read(attestation.policy);
  if (parsed.success) return evidencePolicy(parsed.data);
  const issues = parsed.error.issues.flatMap(flaws).map(({ path, message }) => {
    return { file: `[${KEY}]`, line: 0, column: 0, key: fieldPath(path), message };
  });
  throw new ConfigError(issues);
}

const read = (policy: Config['attestation']['policy']) => Rules.safeParse({ tcb_statuses: TCB_STATUSES, ...policy });

function flaws({ path, message, ...issue }: z.core.$ZodIssue): Flaw[] {
  const at = [...KEY.split('.'), ...(path as (string | number)[])];
  if (issue.code !== 'unrecognized_keys') return [{ path: at, message }];
  return issue.keys.map((key) => {
    const meant = path.length === 0 ? nearest(key, Object.keys(EVIDENCE_RULES)) : undefined;
    const hint = meant === undefined ? '' : `, did you mean ${meant}?`;
    return { path: [...at, key], message: `unknown key${hint}`, unknown: true };
  });
}
