// The promise of the verifier: no value of a batch file can be altered unnoticed, but those that DESIGN §3 lists as
// unsigned, not even by someone who repairs everything that takes no key. And each thing that a file can be without
// being forged (unsealed, simulated, of another log, out of date) has its own code.
import { isDeepStrictEqual } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import type { BatchFile } from '../actors/batch.ts';
import { EVIDENCE_CODES } from '../actors/collateral.ts';
import { keysetDigest } from '../actors/digest.ts';
import { base64, hex } from '../actors/encoding.ts';
import { alterations, altered } from '../test/alteration.ts';
import {
  type Enclave,
  makeEnclave,
  makeSealed,
  makeSigned,
  NOW_MS,
  repair,
  sealBatch,
  signBatch,
} from '../test/forge.ts';
import { VerificationPolicy, type VerificationPolicyInput } from './policy.ts';
import { CHECKS, FAILURE_CODES, SEALED_STATEMENT, SIMULATED_NOTE } from './verdict.ts';
import { type Verdict, type VerifyOptions, verifyBatch } from './verify.ts';

let enclave: Enclave;
let signed: BatchFile;
let sealed: BatchFile;

beforeAll(async () => {
  enclave = await makeEnclave();
  signed = await makeSigned(enclave);
  sealed = sealBatch(enclave, structuredClone(signed));
});

/** As a reader gets it: from JSON. */
function verify(file: unknown, policy: VerificationPolicyInput = {}, options: Partial<VerifyOptions> = {}): Verdict {
  return verifyBatch(JSON.parse(JSON.stringify(file)), {
    policy: VerificationPolicy.parse(policy),
    allow_simulated: true,
    now_ms: NOW_MS,
    ...options,
  });
}

/** The code, or what was accepted. */
const codeOf = (verdict: Verdict) => (verdict.ok ? `accepted as ${verdict.status}` : verdict.code);

function change(file: BatchFile, edit: (copy: BatchFile) => unknown): BatchFile {
  const copy = structuredClone(file);
  edit(copy);
  return copy;
}

describe('a valid batch', () => {
  it('is accepted with every check made, and says what that means', () => {
    const verdict = verify(sealed);
    expect(verdict).toMatchObject({
      ok: true,
      status: 'sealed',
      statement: SEALED_STATEMENT,
      batch_id: sealed.batch_id,
      height: 7,
      log_id: enclave.keyset.log_id,
      size: 6,
      simulated: true,
      tcb_status: 'UpToDate',
      ml_dsa_valid: true,
      slh_dsa_valid: true,
      ecdsa_valid: true,
      checks: Object.keys(CHECKS),
    });
    expect(verdict.ok && verdict.notes).toContain(SIMULATED_NOTE);
  });

  it('is accepted under a policy that names all it can', () => {
    const { measurements } = sealed.attestation!;
    const policy: VerificationPolicyInput = {
      roots: [base64(enclave.pki.certificates.root)],
      measurements: [{ ...measurements, mrtd: hex(new Uint8Array(48)) }, measurements],
      log_id: enclave.keyset.log_id,
      chain_id: enclave.keyset.chain_id,
      key_sources: ['simulator'],
      keysets: [hex(keysetDigest(enclave.keyset))],
    };
    expect(codeOf(verify(sealed, policy))).toBe('accepted as sealed');
  });

  it('may be the first, may have no ECDSA, may refuse everything', async () => {
    expect(codeOf(verify(await makeSealed(enclave, { height: 0 })))).toBe('accepted as sealed');
    expect(verify(await makeSealed(enclave, { ecdsa: false }))).toMatchObject({ ok: true, ecdsa_valid: null });
    const empty = change(signed, (file) => {
      file.transactions = [];
      file.refused = file.order.map(({ envelope_id }) => ({ envelope_id, code: 8, reason: 'replayed' }));
    });
    expect(verify(sealBatch(enclave, signBatch(enclave, repair(empty))))).toMatchObject({ ok: true, tx_count: 0 });
  });
});

/** DESIGN §3: "Signed by nobody": `tx_id`, `risk_assessment` beyond its score, `checked_at`, `advisory_ids`. */
const UNSIGNED = [
  'attestation.aegis_verification.advisory_ids',
  'attestation.aegis_verification.checked_at',
  'risk_assessment.category_breakdown',
  'risk_assessment.category_breakdown[].category',
  'risk_assessment.category_breakdown[].score',
  'risk_assessment.timestamp',
  'transactions[].tx_id',
];
const CODES = new Set<string>([...FAILURE_CODES, ...EVIDENCE_CODES]);

/** What got through, by leaf. Every refusal has a code of the table and a field. */
function unnoticed(document: BatchFile, prepare: (copy: BatchFile) => BatchFile | null): Map<string, string[]> {
  const through = new Map<string, string[]>();
  for (const alteration of alterations(document)) {
    const copy = prepare(altered(document, alteration));
    if (copy === null) continue;
    const verdict = verifyBatch(copy, { allow_simulated: true, now_ms: NOW_MS });
    if (verdict.ok) {
      through.set(alteration.leaf, [...(through.get(alteration.leaf) ?? []), alteration.name]);
      continue;
    }
    if (!CODES.has(verdict.code) || verdict.field === '') throw new Error(`${alteration.name}: ${verdict.code}`);
  }
  return through;
}

describe('one altered value', () => {
  it('is refused by name, whatever it is, but for those that nobody signs', () => {
    expect([...unnoticed(sealed, (copy) => copy).keys()].sort()).toEqual(UNSIGNED);
    // Words of a list can't be met by altering a character.
    const others = { recommendation: 'schedule_rotation', current_era: 'fault_tolerant' } as const;
    for (const word of Object.entries(others)) {
      const file = change(sealed, ({ risk_assessment }) => Object.assign(risk_assessment, Object.fromEntries([word])));
      expect(codeOf(verify(file))).toBe('accepted as sealed');
    }
  });

  it('is refused with all unkeyed hashes repaired, too', () => {
    const through = unnoticed(sealed, (copy) => {
      const repaired = repair(copy);
      return isDeepStrictEqual(repaired, sealed) ? null : repaired;
    });
    expect([...through.keys()].filter((leaf) => !UNSIGNED.includes(leaf))).toEqual([]);
  });
});
