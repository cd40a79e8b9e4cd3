// What a policy may say of evidence, and that the examples of docs/verification.md are policies which do what the page says.
import { readFileSync } from 'node:fs';
import { parse } from 'smol-toml';
import { describe, expect, it } from 'vitest';
import { readPem, writePem } from '../actors/certificate.ts';
import { canonicalCollateral } from '../actors/collateral.ts';
import { base64 } from '../actors/encoding.ts';
import { canonicalEventLog } from '../actors/eventlog.ts';
import { type Evidence, HARDWARE_ROOTS } from '../actors/evidence.ts';
import { canonicalQuote } from '../actors/intelquote.ts';
import { canonicalSnpReport } from '../actors/snp.ts';
import { verifyEvidence } from '../actors/verification.ts';
import { DEFAULT_POLICY, evidencePolicy, missingAnchors, VerificationPolicy } from './policy.ts';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url));
const tee = (name: string) => read(`test/fixtures/tee/${name}`);
const issueOf = (value: object) => VerificationPolicy.safeParse(value).error?.issues[0]?.message ?? 'accepted';
const [register, hash] = [`0x${'ab'.repeat(48)}`, `0x${'cd'.repeat(32)}`];

describe('an entry of measurements', () => {
  it.each([
    [{ mrtd: register }],
    [{ rtmr3: register, mr_seam: register, mr_config_id: register }],
    [{ mrenclave: hash }],
    [{ mrsigner: hash, isv_prod_id: 0, isv_svn_min: 0 }],
    [{ measurement: register, host_data: hash, guest_svn_min: 2 }],
    [{ id_key_digest: register, family_id: `0x${'00'.repeat(16)}` }],
  ])('%o', (entry) => {
    expect(issueOf({ measurements: [entry] })).toBe('accepted');
  });

  it.each([
    [{}, 'at least one name'],
    [{ mrtd: hash }, 'expected 48 bytes'],
    [{ mrtd: register.toUpperCase() }, 'lower-case hex'],
    [{ mrtd: register, mrenclave: hash }, 'names of one type of quote, found TDX and SGX'],
    [{ mrsigner: hash }, 'expected mrenclave, or mrsigner with'],
    [{ mrsigner: hash, isv_prod_id: 1 }, 'expected mrenclave, or mrsigner with'],
    [{ isv_svn_min: 1 }, 'expected mrenclave, or mrsigner with'],
    [{ host_data: hash }, 'a host can set the rest'],
    [{ guest_svn_min: 2 ** 32 }, 'expected'],
    [{ mr_td: register }, 'Unrecognized key'],
  ])('not %o', (entry, message) => {
    expect(issueOf({ measurements: [entry] }).toLowerCase()).not.toBe('accepted');
    if (message !== 'expected') expect(issueOf({ measurements: [entry] })).toContain(message);
  });
});

describe('a policy', () => {
  it('trusts makers of hardware where it names no roots, and asks for everything that protects', () => {
    expect(evidencePolicy(DEFAULT_POLICY)).toEqual({
      roots: HARDWARE_ROOTS,
      tcb_statuses: ['UpToDate'],
      amd_crl: 'required',
      event_log: 'if_present',
    });
  });

  it('takes roots with RSA keys too, and one certificate each', () => {
    const ark = tee('snp/ark-milan.pem').toString();
    const [der] = readPem(ark);
    const policy = VerificationPolicy.parse({ roots: [ark, base64(der!)] });
    expect(evidencePolicy(policy).roots).toEqual([der, der]);
    expect(issueOf({ roots: [ark + ark] })).toContain('expected one certificate');
    expect(issueOf({ roots: ['AAAA'] })).toContain('expected one certificate');
  });

  it('of hardware names measurements, whatever else it names', () => {
    const policy = VerificationPolicy.parse({ compose_hashes: [hash], app_ids: [`0x${'00'.repeat(20)}`] });
    expect(missingAnchors(policy)).toEqual(['measurements', 'log_id', 'key_sources']);
  });

  it.each([
    [{ collateral_age_max_s: 0 }],
    [{ collateral_age_max_s: 1.5 }],
    [{ events: [{ event: 'a:b' }] }],
    [{ events: [{ event: 'a', payload: '0x1' }] }],
    [{ events: [] }],
    [{ quote_types: ['EPID'] }],
    [{ snp_tcb_min: { Rome: {} } }],
    [{ snp_tcb_min: { Milan: { snp: 256 } } }],
    [{ amd_crl: 'never' }],
    [{ app_ids: ['0x12'] }],
    [{ tcb_statuses: [] }],
  ])('is refused with %o', (value) => {
    expect(issueOf(value)).not.toBe('accepted');
  });
});

describe('the examples of docs/verification.md', () => {
  const blocks = [
    ...read('docs/verification.md')
      .toString()
      .matchAll(/^```toml\n(.*?)^```$/gms),
  ].map(([, text]) => text!);
  const [dstack, snp, sgx] = blocks.map((text) => VerificationPolicy.parse(parse(text))) as [
    VerificationPolicy,
    VerificationPolicy,
    VerificationPolicy,
  ];
  const answer = JSON.parse(tee('dstack/quote-report.json').toString()) as { quote: string; event_log: string };
  const guest: Evidence = {
    quote_type: 'TDX',
    quote: canonicalQuote(Uint8Array.fromHex(answer.quote)),
    event_log: canonicalEventLog(answer.event_log),
    collateral: canonicalCollateral(JSON.parse(tee('dstack/quote-report.collateral.json').toString())),
  };
  const chain = ['vcek', 'ask-milan', 'ark-milan'].map((name) => readPem(tee(`snp/${name}.pem`).toString())[0]!);
  const report: Evidence = {
    quote_type: 'SEV-SNP',
    quote: canonicalSnpReport(new Uint8Array(tee('snp/report.bin'))),
    event_log: null,
    collateral: { certificate_chain: writePem(chain), crl: null },
  };
  const [guestAt, reportAt] = [{ now_ms: 1_771_419_531_000 }, { now_ms: Date.parse('2026-07-01T00:00:00Z') }];

  it('are three', () => {
    expect(blocks).toHaveLength(3);
    expect(sgx.measurements).toHaveLength(1);
  });

  it('accept what they are about', () => {
    const { collateral_age_max_s: _, ...ageless } = dstack;
    expect(verifyEvidence(guest, { ...evidencePolicy(ageless), ...guestAt })).toMatchObject({ ok: true });
    const listless = evidencePolicy({ ...snp, amd_crl: 'if_present' });
    expect(verifyEvidence(report, { ...listless, ...reportAt })).toMatchObject({ ok: true });
  });

  it('accept nothing else', () => {
    const crossed = [
      [guest, snp, guestAt],
      [report, dstack, reportAt],
      [guest, sgx, guestAt],
    ] as const;
    for (const [evidence, policy, at] of crossed) {
      expect(verifyEvidence(evidence, { ...evidencePolicy(policy), ...at })).toMatchObject({ ok: false });
    }
    // The fixture has no list.
    expect(verifyEvidence(report, { ...evidencePolicy(snp), ...reportAt })).toMatchObject({ code: 'crl_missing' });
  });
});
