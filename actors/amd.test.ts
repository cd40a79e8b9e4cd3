// SEV-SNP evidence: the real report of the fixtures, and reports under a mock of AMD's infrastructure with one thing wrong.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type AmdPki, amdOf, makeAmdPki, makeSnp, type SnpSettings, TCB, tcbBytes } from '../test/platforms.ts';
import type { AmdCollateral, Product } from './amdchain.ts';
import { readPem, writePem } from './certificate.ts';
import { concat } from './encoding.ts';
import { AMD_ROOTS_SHA256, type Evidence, type EvidencePolicy, HARDWARE_ROOTS } from './evidence.ts';
import { little } from './intelquote.ts';
import { canonicalSnpReport } from './snp.ts';
import { claimedRoot, verifyEvidence } from './verification.ts';

const file = (name: string) => readFileSync(new URL(`../test/fixtures/tee/snp/${name}`, import.meta.url));
const pem = (name: string) => readPem(file(name).toString())[0]!;
const real: Evidence & { collateral: AmdCollateral } = {
  quote_type: 'SEV-SNP',
  quote: canonicalSnpReport(new Uint8Array(file('report.bin'))),
  event_log: null,
  collateral: { certificate_chain: writePem([pem('vcek.pem'), pem('ask-milan.pem'), pem('ark-milan.pem')]), crl: null },
};
const NOW_MS = Date.parse('2026-07-01T00:00:00Z');

const policy = (more: Partial<EvidencePolicy> = {}): EvidencePolicy => ({
  roots: HARDWARE_ROOTS,
  now_ms: NOW_MS,
  tcb_statuses: ['UpToDate'],
  amd_crl: 'if_present',
  snp_tcb_min: { Milan: { boot_loader: 4, snp: 23, microcode: 213 } },
  ...more,
});
const codeOf = (evidence: Evidence, at: EvidencePolicy) => {
  const result = verifyEvidence(evidence, at);
  return result.ok ? 'ok' : result.code;
};

describe('a real report of Milan', () => {
  it('verifies under the root that AMD publishes', () => {
    expect(verifyEvidence(real, policy())).toMatchObject({
      ok: true,
      status: 'Unrated',
      advisory_ids: [],
      simulated: false,
      root_sha256: '0x69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd',
      measurements: { host_data: '0x783f0057820acb99249af56cc3b07b4e8d80f65183167cba9cf437bb680f742f', guest_svn: 0 },
    });
    expect(AMD_ROOTS_SHA256).toHaveLength(3);
  });

  it('needs an own judgement of its versions, since AMD gives none', () => {
    const { snp_tcb_min: _, ...none } = policy();
    expect(codeOf(real, none)).toBe('tcb_status_refused');
    expect(codeOf(real, { ...none, tcb_statuses: ['Unrated'] })).toBe('ok');
    expect(codeOf(real, policy({ snp_tcb_min: { Genoa: {} } }))).toBe('tcb_status_refused');
    expect(codeOf(real, policy({ snp_tcb_min: { Milan: { snp: 24 } } }))).toBe('tcb_status_refused');
  });

  it('needs a revocation list unless the policy says otherwise', () => {
    const { amd_crl: _, ...silent } = policy();
    expect(codeOf(real, silent)).toBe('crl_missing');
    expect(codeOf(real, policy({ amd_crl: 'required' }))).toBe('crl_missing');
    const empty = { ...real, collateral: { ...real.collateral, crl: '' } };
    expect(codeOf(empty, policy())).toBe('crl_missing');
    // Nothing says how old it is.
    expect(codeOf(real, policy({ collateral_age_max_ms: 1e12 }))).toBe('collateral_stale');
  });

  it('is refused at every length, and wherever a bit differs', () => {
    for (let length = 0; length < real.quote.length; length += 1) {
      expect(codeOf({ ...real, quote: real.quote.slice(0, length) }, policy())).toBe('quote_malformed');
    }
    for (let at = 0; at < real.quote.length; at += 13) {
      const quote = real.quote.with(at, real.quote[at]! ^ (1 << (at % 8)));
      expect(codeOf({ ...real, quote }, policy()), `byte ${at}`).not.toBe('ok');
    }
    // Room that no signature covers, and the other one of ECDSA's two signatures.
    expect(codeOf({ ...real, quote: real.quote.with(1_183, 1) }, policy())).toBe('quote_malformed');
    expect(codeOf({ ...real, quote: concat(real.quote, Uint8Array.of(0)) }, policy())).toBe('quote_malformed');
  });

  it('is refused wherever its certificates differ', () => {
    const { certificate_chain } = real.collateral;
    for (let at = 0; at < certificate_chain.length; at += 61) {
      const swapped = certificate_chain[at] === 'B' ? 'C' : 'B';
      const changed = certificate_chain.slice(0, at) + swapped + certificate_chain.slice(at + 1);
      const collateral = { ...real.collateral, certificate_chain: changed };
      if (changed !== certificate_chain) expect(codeOf({ ...real, collateral }, policy()), `${at}`).not.toBe('ok');
    }
  }, 30_000);

  it('is held to the expected content', () => {
    const found = verifyEvidence(real, policy());
    if (!found.ok) throw new Error(found.message);
    const measurement = found.claims['measurement']!;
    expect(codeOf(real, policy({ measurements: [{ measurement, guest_svn_min: 0 }] }))).toBe('ok');
    expect(codeOf(real, policy({ measurements: [{ measurement, guest_svn_min: 1 }] }))).toBe('measurements_refused');
    expect(codeOf(real, policy({ measurements: [{ mrtd: measurement }] }))).toBe('measurements_refused');
    expect(codeOf(real, policy({ report_data: new Uint8Array(64) }))).toBe('report_data_mismatch');
    expect(codeOf(real, policy({ event_log: 'required' }))).toBe('event_log_missing');
    expect(codeOf(real, policy({ app_ids: [] }))).toBe('app_id_refused');
    expect(codeOf({ ...real, event_log: '[]' }, policy())).toBe('event_log_malformed');
  });

  it.each([
    ['2026-06-01T00:00:00Z', 'certificate_expired'],
    ['2033-06-18T00:00:00Z', 'certificate_expired'],
    ['2033-06-16T00:00:00Z', 'ok'],
  ])('at %s: %s', (time, code) => {
    expect(codeOf(real, policy({ now_ms: Date.parse(time) }))).toBe(code);
  });

  it.each([Number.NaN, undefined, -1, 0.5, 1e300, Number.MAX_SAFE_INTEGER])('is not judged at %s', (now_ms) => {
    expect(codeOf(real, policy({ now_ms: now_ms as number }))).toBe('now_invalid');
  });

  it('is not taken for evidence of another vendor, nor with its collateral', () => {
    for (const quote_type of ['TDX', 'SGX'] as const) {
      expect(codeOf({ ...real, quote_type }, policy())).toBe('quote_malformed');
    }
    const intel = readFileSync(new URL('../test/fixtures/tee/tdx/tdx_quote_collateral.json', import.meta.url), 'utf8');
    expect(codeOf({ ...real, collateral: JSON.parse(intel) }, policy())).toBe('collateral_malformed');
    expect(codeOf({ ...real, collateral: null }, policy())).toBe('collateral_missing');
    expect(codeOf(real, policy({ quote_types: ['TDX'] }))).toBe('quote_type_refused');
  });
});

describe('reports under a mock of AMD', () => {
  let pki: AmdPki;
  beforeAll(() => {
    pki = makeAmdPki();
  }, 120_000);

  const least = { boot_loader: 4, tee: 1, snp: 24, microcode: 213 };
  const at = (product: Product = 'Milan', mock = amdOf(product, pki.keys)): EvidencePolicy =>
    policy({ roots: [mock.ark], amd_crl: 'required', snp_tcb_min: { [product]: least }, now_ms: Date.UTC(2026, 0, 1) });
  const codeWith = (settings: SnpSettings) => codeOf(makeSnp(pki, settings), { ...at(), roots: [pki.ark] });

  it.each(['Milan', 'Genoa', 'Turin'] as const)('of %s verify, and say that they are simulated', (product) => {
    const mock = amdOf(product, pki.keys);
    const evidence = makeSnp(mock);
    expect(verifyEvidence(evidence, at(product, mock))).toMatchObject({ ok: true, status: 'Unrated', simulated: true });
    expect(claimedRoot(evidence)).toEqual({ ok: true, der: mock.ark });
    expect(codeOf(evidence, policy())).toBe('root_untrusted');
    expect(codeOf(evidence, { ...at(product, mock), snp_tcb_min: { [product]: { ...least, tee: 2 } } })).toBe(
      'tcb_status_refused',
    );
  });

  it.each([2, 3, 4, 5])('of version %s verify', (version) => {
    expect(codeWith({ fields: { version: little(version, 4) } })).toBe('ok');
  });

  it.each([0, 1, 6, 255])('of version %s are not known', (version) => {
    const evidence = makeSnp(pki);
    const quote = evidence.quote.with(0, version);
    expect(codeOf({ ...evidence, quote }, { ...at(), roots: [pki.ark] })).toBe('quote_malformed');
  });

  const byte = (value: number, bytes: number) => new Uint8Array(bytes).fill(value);
  const cases: Record<string, readonly [code: string, settings: SnpSettings]> = {
    debug: ['debug_enabled', { fields: { policy: little(0xb0000, 8) } }],
    'a migration agent in the policy': ['migration_enabled', { fields: { policy: little(0x70000, 8) } }],
    'a migration agent': ['migration_enabled', { fields: { report_id_ma: byte(1, 32) } }],
    'a lower privilege level': ['vmpl_refused', { fields: { vmpl: little(1, 4) } }],
    'an impossible policy': ['attributes_refused', { fields: { policy: little(0x10000, 8) } }],
    'a masked chip key': ['chip_masked', { fields: { flags: little(2, 4) } }],
    'a masked chip': ['chip_masked', { fields: { chip_id: byte(0, 64) } }],
    'a report by the VLEK': ['platform_mismatch', { fields: { flags: little(4, 4) } }],
    'a report by no key': ['platform_mismatch', { fields: { flags: little(28, 4) } }],
    'another chip': ['platform_mismatch', { hardware_id: byte(0xc5, 64) }],
    'no chip in the certificate': ['platform_mismatch', { hardware_id: null }],
    'another product': ['platform_mismatch', { fields: { cpuid_family: Uint8Array.of(0x1a) } }],
    'an unknown processor': ['platform_mismatch', { fields: { cpuid_family: Uint8Array.of(0x17) } }],
    'a certificate of other versions': ['tcb_mismatch', { endorsed: { snp: 23 } }],
    'newer versions than the certificate': [
      'tcb_mismatch',
      { fields: { reported_tcb: tcbBytes({ ...TCB, microcode: 214 }, 'Milan') } },
    ],
    'a leaf that may issue': ['chain_invalid', { leaf: { ca: true } }],
    'a leaf of another name': ['chain_invalid', { leaf: { name: 'SEV-VLEK' } }],
    'a leaf that has ended': ['certificate_expired', { leaf: { valid_to_ms: Date.UTC(2025, 11, 31) } }],
    'no list': ['crl_missing', { crl: null }],
    'a list that names nobody here': ['ok', { crl: { revoked: [5] } }],
    'a revoked ASK': ['certificate_revoked', { crl: { revoked: [0x10001] } }],
    'a revoked root': ['certificate_revoked', { crl: { revoked: [0x10000] } }],
    'a stale list': ['crl_expired', { crl: { to_ms: Date.UTC(2025, 11, 31) } }],
    'a list from the future': ['crl_expired', { crl: { from_ms: Date.UTC(2026, 1, 1) } }],
  };

  it.each(Object.entries(cases))('with %s', (_, [code, settings]) => {
    expect(codeWith(settings)).toBe(code);
  });

  it('with a list that another key signed', () => {
    expect(codeWith({ crl: {}, crlKey: pki.keys.ask })).toBe('crl_invalid');
  });

  it('with parts of two infrastructures', () => {
    const trust = { ...at(), roots: [pki.ark] };
    const [milan, genoa] = [makeSnp(pki), makeSnp(amdOf('Genoa', pki.keys))];
    const chain = (evidence: typeof milan) => readPem(evidence.collateral.certificate_chain);
    const withChain = (...ders: Uint8Array[]) =>
      codeOf({ ...milan, collateral: { ...milan.collateral, certificate_chain: writePem(ders) } }, trust);
    const [vcek, ask, ark] = chain(milan) as [Uint8Array, Uint8Array, Uint8Array];
    expect(withChain(vcek, ask, ark)).toBe('ok');
    expect(withChain(vcek, chain(genoa)[1]!, ark)).toBe('chain_invalid');
    expect(withChain(chain(genoa)[0]!, ask, ark)).toBe('chain_invalid');
    expect(withChain(vcek, ask)).toBe('chain_malformed');
    expect(withChain(vcek, ark, ask)).toBe('root_untrusted');
    expect(withChain(ask, ask, ark)).toBe('chain_invalid');
    const foreign = amdOf('Milan', { ...pki.keys, ark: pki.keys.ask });
    expect(codeOf(makeSnp(foreign), trust)).toBe('root_untrusted');
  });

  it('with a VLEK, whose chip no certificate names', () => {
    const mock = amdOf('Milan', pki.keys, 'SEV-VLEK-Milan');
    const settings = { fields: { flags: little(4, 4) }, leaf: { name: 'SEV-VLEK' }, hardware_id: null };
    const trust = { ...at('Milan', mock) };
    expect(codeOf(makeSnp(mock, settings), trust)).toBe('ok');
    expect(codeOf(makeSnp(mock, { ...settings, fields: {} }), trust)).toBe('platform_mismatch');
  });

  it('that are older than the policy allows', () => {
    const evidence = makeSnp(pki, { crl: { from_ms: Date.UTC(2025, 11, 1) } });
    const trust = { ...at(), roots: [pki.ark] };
    const day_ms = 86_400_000;
    expect(codeOf(evidence, { ...trust, collateral_age_max_ms: 31 * day_ms })).toBe('ok');
    expect(codeOf(evidence, { ...trust, collateral_age_max_ms: 30 * day_ms })).toBe('collateral_stale');
  });

  it('get an answer, whatever stands in them', () => {
    const evidence = makeSnp(pki);
    const trust = { ...at(), roots: [pki.ark] };
    const junk = fc.oneof(fc.string(), fc.constantFrom('', '00', '3000', '-----BEGIN CERTIFICATE-----'));
    fc.assert(
      fc.property(fc.constantFrom('certificate_chain', 'crl'), junk, (field, content) => {
        const collateral = { ...evidence.collateral, [field]: content };
        expect(codeOf({ ...evidence, collateral }, trust)).not.toBe('ok');
      }),
      { numRuns: 100 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1_184, maxLength: 1_184 }), (quote) => {
        expect(codeOf({ ...evidence, quote }, trust)).toBe('quote_malformed');
      }),
      { numRuns: 50 },
    );
    const { crl, certificate_chain } = evidence.collateral;
    for (let length = 0; length < crl!.length; length += 2) {
      const collateral = { certificate_chain, crl: crl!.slice(0, length) };
      expect(codeOf({ ...evidence, collateral }, trust)).toMatch(/^crl_(?:missing|malformed)$/);
    }
  }, 60_000);
});
