// An attestation of every type, as files carry it, against what its evidence yields: each has the measurements of its own type,
// and what it says of itself is recomputed. Whole batches, and everything about TDX, are in verify.test.ts.
import { beforeAll, describe, expect, it } from 'vitest';
import { timestamp } from '../actors/encoding.ts';
import type { Evidence } from '../actors/evidence.ts';
import type { Keyset } from '../actors/keyset.ts';
import { Attestation, attest, identityOf, readAttestation } from '../actors/quote.ts';
import { verifyEvidence } from '../actors/verification.ts';
import { makePki } from '../daemon/tee/pki.ts';
import { makeCollateral } from '../daemon/tee/tdx.ts';
import { type AmdPki, makeAmdPki, makeSgxCollateral, makeSgxQuote, makeSnp, makeTdx5Quote } from '../test/platforms.ts';
import { judgeAttestation } from './attestation.ts';
import { VerificationPolicy, type VerificationPolicyInput } from './policy.ts';

const NOW_MS = Date.UTC(2026, 5, 1);
const END_MS = Date.UTC(2026, 6, 1);
const pki = makePki();
const report_data = new Uint8Array(64).fill(0x77);
/** Only where its keys come from is looked at here. */
const keyset = { key_source: 0 } as Keyset;

let amd: AmdPki;
let evidences: Record<'TDX' | 'SGX' | 'SEV-SNP', Evidence>;
beforeAll(() => {
  amd = makeAmdPki();
  const bare = { event_log: null } as const;
  evidences = {
    TDX: {
      ...{ ...bare, quote_type: 'TDX', collateral: makeCollateral(pki, END_MS) },
      quote: makeTdx5Quote(pki, { report_data, tee_tcb_svn_2: new Uint8Array(16) }),
    },
    SGX: {
      ...{ ...bare, quote_type: 'SGX', collateral: makeSgxCollateral(pki, END_MS) },
      quote: makeSgxQuote(pki, { report_data }),
    },
    'SEV-SNP': makeSnp(amd, { fields: { report_data } }),
  };
}, 120_000);

function attested(type: keyof typeof evidences): Attestation {
  const roots = [pki.certificates.root, amd.ark];
  const found = verifyEvidence(evidences[type], { roots, now_ms: NOW_MS, tcb_statuses: ['UpToDate', 'Unrated'] });
  if (!found.ok) throw new Error(`${found.code}: ${found.message}`);
  return attest(evidences[type], found, NOW_MS + 1_000, timestamp(NOW_MS));
}

function judge(
  attestation: Attestation,
  rules: VerificationPolicyInput = {},
  of: Partial<Parameters<typeof judgeAttestation>[0]> = {},
) {
  const policy = VerificationPolicy.parse({ tcb_statuses: ['UpToDate', 'Unrated'], ...rules });
  const found = { simulated: null, tcb_status: null };
  const subject = { attestation, keyset, report_data, policy, allow_simulated: true, now_ms: NOW_MS, found, ...of };
  const failure = judgeAttestation(subject);
  return failure === null ? 'ok' : `${failure.code} at ${failure.field}`;
}

describe.each([
  ['TDX', 'mrtd', 'UpToDate'],
  ['SGX', 'mrenclave', 'UpToDate'],
  ['SEV-SNP', 'measurement', 'Unrated'],
] as const)('an attestation of %s', (type, name, status) => {
  it('has the shape of the format, and gives back its evidence', () => {
    const attestation = attested(type);
    expect(Attestation.parse(JSON.parse(JSON.stringify(attestation)))).toEqual(attestation);
    expect(readAttestation(attestation)).toEqual(evidences[type]);
    expect(attestation).toMatchObject({ provider: 'simulator', simulated: true, aegis_verification: { status } });
    const measurements = attestation.measurements as Record<string, unknown>;
    expect(identityOf(attestation.measurements)).toBe(measurements[name]);
  });

  it('holds, for the enclave that is named', () => {
    const attestation = attested(type);
    const identity = identityOf(attestation.measurements);
    expect(judge(attestation)).toBe('ok');
    expect(judge(attestation, { measurements: [{ [name]: identity }], quote_types: [type] })).toBe('ok');
    const other = `0x${'00'.repeat((identity.length - 2) / 2)}`;
    const refused = judge(attestation, { measurements: [{ [name]: other }] });
    expect(refused).toBe('measurements_refused at attestation.quote');
  });

  it('is simulated, and says so to whoever does not allow that', () => {
    expect(judge(attested(type), {}, { allow_simulated: false })).toBe('simulated_evidence at attestation.quote');
  });

  it('is refused over anything else', () => {
    const other = { report_data: new Uint8Array(64) };
    expect(judge(attested(type), {}, other)).toBe('report_data_mismatch at attestation.report_data');
  });

  it('is refused when what it says of itself is another', () => {
    const attestation = attested(type);
    const identity = { ...attestation.measurements, [name]: `0x${'00'.repeat(48)}` } as Attestation['measurements'];
    expect(judge({ ...attestation, measurements: identity })).toBe(
      `measurements_mismatch at attestation.measurements.${name}`,
    );
    const foreign = attested(type === 'SGX' ? 'TDX' : 'SGX').measurements;
    expect(judge({ ...attestation, measurements: foreign })).toMatch(/^measurements_mismatch /);
    expect(judge({ ...attestation, provider: 'tsm' })).toBe('provider_mismatch at attestation.provider');
    expect(judge({ ...attestation, simulated: false })).toBe('simulated_mismatch at attestation.simulated');
  });

  it('is refused as one of another type, and with the collateral of another maker', () => {
    const attestation = attested(type);
    for (const quote_type of ['TDX', 'SGX', 'SEV-SNP'] as const) {
      if (quote_type !== type) expect(judge({ ...attestation, quote_type })).not.toBe('ok');
    }
    const { collateral } = attested(type === 'SEV-SNP' ? 'TDX' : 'SEV-SNP');
    expect(judge({ ...attestation, collateral })).toBe('collateral_malformed at attestation.collateral');
    expect(judge({ ...attestation, collateral: null })).toBe('collateral_missing at attestation.collateral');
  });
});
