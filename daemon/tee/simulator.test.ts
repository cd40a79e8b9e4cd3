import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { p256 } from '@noble/curves/nist.js';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { readCertificate, writePckChain, writePem } from '../../actors/certificate.ts';
import { type Collateral, canonicalCollateral } from '../../actors/collateral.ts';
import { bits, integer, readBits, readElement, readElements, readInteger, sequence } from '../../actors/der.ts';
import { base64, concat, hex, uintBytes } from '../../actors/encoding.ts';
import { type Evidence, type EvidencePolicy, INTEL_ROOT_DER, type TdxMeasurements } from '../../actors/evidence.ts';
import { canonicalQuote, readQuote, writeQuote } from '../../actors/intelquote.ts';
import { Attestation, attest, disagreement, readAttestation } from '../../actors/quote.ts';
import type { ReportField } from '../../actors/tdx.ts';
import { verifyEvidence } from '../../actors/verification.ts';
import { evidence as evidenceJob } from '../../workers/evidence.ts';
import { Fault } from '../fault.ts';
import { makePki, type Pki, revocationList } from './pki.ts';
import { openSimulator } from './simulator.ts';
import { makeCollateral, makeQuote } from './tdx.ts';

const NOW_MS = Date.UTC(2026, 6, 1);
const END_MS = Date.UTC(2036, 0, 1);
const DATA = new Uint8Array(64).map((_, i) => i);

const pki = makePki();
const collateral = makeCollateral(pki, END_MS);
const evidence: Evidence = {
  quote_type: 'TDX',
  quote: makeQuote(pki, { report_data: DATA }),
  event_log: null,
  collateral,
};
const policy: EvidencePolicy = {
  roots: [INTEL_ROOT_DER, pki.certificates.root],
  now_ms: NOW_MS,
  report_data: DATA,
  tcb_statuses: ['UpToDate'],
};
const codeOf = (changed: Partial<Evidence>, more: Partial<EvidencePolicy> = {}) => {
  const result = verifyEvidence({ ...evidence, ...changed }, { ...policy, ...more });
  return result.ok ? result.status : result.code;
};
const codeWith = (changed: Partial<Collateral>) => codeOf({ collateral: { ...collateral, ...changed } });
const codeOfReport = (fields: Partial<Record<ReportField, Uint8Array>>, more: Partial<EvidencePolicy> = {}) =>
  codeOf({ quote: makeQuote(pki, { report_data: DATA, ...fields }) }, more);
const serialOf = (der: Uint8Array) => Uint8Array.fromHex(readCertificate(der).serial);

describe('simulated evidence', () => {
  it('verifies with its root and fails with Intel alone', () => {
    expect(evidenceJob({ evidence, policy })).toMatchObject({ ok: true, status: 'UpToDate', simulated: true });
    expect(codeOf({}, { roots: [INTEL_ROOT_DER] })).toBe('root_untrusted');
    expect(codeOf({}, { roots: [makePki().certificates.root] })).toBe('root_untrusted');
  });

  it('is in canonical form, with certificates that OpenSSL reads', () => {
    expect(canonicalQuote(evidence.quote)).toEqual(evidence.quote);
    expect(canonicalCollateral(collateral)).toEqual(collateral);
    const { root, platform_ca, tcb_signing, pck } = pki.certificates;
    const [top, ca, signer, leaf] = [root, platform_ca, tcb_signing, pck].map((der) => new X509Certificate(der));
    expect([ca, signer, top].every((issued) => issued!.verify(top!.publicKey))).toBe(true);
    expect(leaf!.verify(ca!.publicKey) && leaf!.checkIssued(ca!) && ca!.checkIssued(top!)).toBe(true);
    expect([top, ca, signer, leaf].map((certificate) => certificate!.ca)).toEqual([true, true, false, false]);
    expect([top, ca, signer, leaf].every(({ subject } = top!) => subject.includes('not Intel'))).toBe(true);
  });

  it('measures the same workload in every simulator', () => {
    const other = makePki();
    const result = verifyEvidence(
      { ...evidence, quote: makeQuote(other, {}), collateral: makeCollateral(other, END_MS) },
      { roots: [other.certificates.root], now_ms: NOW_MS, tcb_statuses: ['UpToDate'] },
    );
    const first = verifyEvidence(evidence, policy);
    if (!result.ok || !first.ok) throw new Error('does not verify');
    expect(result.measurements).toEqual(first.measurements);
    expect(result.platform_id).not.toBe(first.platform_id);
    expect(first.collateral_not_after_ms).toBe(END_MS);
  });

  it('is judged by its report, each check with its code', () => {
    const bytes = (length: number, at: number, value: number) => new Uint8Array(length).with(at, value);
    const attributes = Uint8Array.fromHex('0000001000000000');
    const svn = (...svns: number[]) => Uint8Array.from({ length: 16 }, (_, i) => svns[i] ?? 0);
    expect(codeOfReport({ td_attributes: attributes.with(0, 1) })).toBe('debug_enabled');
    expect(codeOfReport({ td_attributes: attributes.with(1, 1) })).toBe('attributes_refused');
    expect(codeOfReport({ td_attributes: new Uint8Array(8) })).toBe('attributes_refused');
    expect(codeOfReport({ mr_signer_seam: bytes(48, 0, 1) })).toBe('tdx_module_refused');
    expect(codeOfReport({ seam_attributes: bytes(8, 0, 1) })).toBe('tdx_module_refused');
    expect(codeOfReport({ tee_tcb_svn: svn(6, 2, 3) })).toBe('tdx_module_refused');
    expect(codeOfReport({ tee_tcb_svn: svn(1, 1, 3) })).toBe('tcb_level_missing');
    expect(codeOfReport({ tee_tcb_svn: svn(3, 1, 3) })).toBe('tcb_status_refused');
    expect(codeOfReport({ tee_tcb_svn: svn(3, 1, 3) }, { tcb_statuses: ['OutOfDate'] })).toBe('OutOfDate');
    expect(codeOfReport({ tee_tcb_svn: svn(6, 1, 1) }, { tcb_statuses: ['OutOfDate'] })).toBe('OutOfDate');
    expect(codeOfReport({ report_data: DATA.with(0, 1) })).toBe('report_data_mismatch');
    expect(codeOfReport({ mrtd: new Uint8Array(48) }, { measurements: [{ rtmr0: '0x00' }] })).toBe(
      'measurements_refused',
    );
    expect(codeOf({ event_log: '[]' })).toBe('event_log_mismatch');
  });

  it('is judged by its signatures, each with its code', () => {
    const other = makePki();
    const parts = readQuote(evidence.quote);
    const otherParts = readQuote(makeQuote(other, { report_data: DATA }));
    const codeOfParts = (changed: Partial<typeof parts>) => codeOf({ quote: writeQuote({ ...parts, ...changed }) });
    expect(codeOfParts({ signature: otherParts.signature })).toBe('quote_signature_invalid');
    expect(codeOfParts({ attestation_key: otherParts.attestation_key })).toBe('qe_binding_invalid');
    expect(codeOfParts({ auth_data: new Uint8Array(32) })).toBe('qe_binding_invalid');
    expect(codeOfParts({ qe_signature: otherParts.qe_signature })).toBe('qe_report_signature_invalid');
    expect(codeOfParts({ pck_chain: otherParts.pck_chain })).toBe('root_untrusted');
    expect(codeOfParts({ pck_chain: parts.pck_chain.slice(0, -1) })).toBe('chain_malformed');
    expect(codeOfParts({ auth_data: new Uint8Array(33) })).toBe('quote_malformed');
    const foreign = makeCollateral(other, END_MS);
    expect(codeWith({ tcb_info_signature: foreign.tcb_info_signature })).toBe('tcb_info_signature_invalid');
    expect(codeWith({ qe_identity_signature: foreign.qe_identity_signature })).toBe('qe_identity_signature_invalid');
    expect(codeWith({ tcb_info: collateral.tcb_info.replace('UpToDate', 'uptodate') })).toBe(
      'tcb_info_signature_invalid',
    );
  });

  it('is judged by chains and lists, each with its code', () => {
    const { root, platform_ca, tcb_signing } = pki.certificates;
    const list = (issuer: 'root' | 'platform_ca', end_ms: number, revoked: Uint8Array[] = [], by: Pki = pki) =>
      revocationList(by, issuer, end_ms, revoked).toHex();
    expect(codeWith({ root_ca_crl: '' })).toBe('crl_missing');
    expect(codeWith({ pck_crl: '' })).toBe('crl_missing');
    expect(codeWith({ pck_crl: '3000' })).toBe('crl_malformed');
    expect(codeWith({ pck_crl: collateral.root_ca_crl })).toBe('crl_invalid');
    expect(codeWith({ pck_crl: list('platform_ca', END_MS, [], makePki()) })).toBe('crl_invalid');
    expect(codeWith({ pck_crl: list('platform_ca', NOW_MS - 3_600_001) })).toBe('crl_expired');
    expect(codeWith({ pck_crl: list('platform_ca', END_MS, [serialOf(pki.certificates.pck)]) })).toBe(
      'certificate_revoked',
    );
    for (const revoked of [platform_ca, tcb_signing]) {
      expect(codeWith({ root_ca_crl: list('root', END_MS, [serialOf(revoked)]) })).toBe('certificate_revoked');
    }
    expect(codeWith({ pck_crl_issuer_chain: writePem([tcb_signing, root]) })).toBe('crl_invalid');
    expect(codeWith({ tcb_info_issuer_chain: writePem([platform_ca, root]) })).toBe('chain_invalid');
    expect(codeWith({ qe_identity_issuer_chain: writePem([root]) })).toBe('chain_malformed');
    expect(codeWith({ qe_identity_issuer_chain: writePem([tcb_signing, INTEL_ROOT_DER]) })).toBe('root_untrusted');
    expect(codeWith(makeCollateral(pki, NOW_MS - 1_000))).toBe('collateral_expired');
    expect(codeOf({}, { now_ms: Number.NaN })).toBe('now_invalid');
  });

  it('is refused with the other s of any ECDSA signature, which would verify too', () => {
    const n = p256.Point.Fn.ORDER;
    const twin = (raw: Uint8Array) => concat(raw.slice(0, 32), uintBytes(n - BigInt(hex(raw.slice(32))), 32));
    const twinSigned = (der: Uint8Array) => {
      const [tbs, algorithm, signature] = readElements(readElement(der).content);
      const [r, other] = readElements(readElement(readBits(signature)).content);
      const s = integer(uintBytes(n - BigInt(hex(readInteger(other))), 32));
      return sequence(tbs!.raw, algorithm!.raw, bits(sequence(r!.raw, s)));
    };
    const parts = readQuote(evidence.quote);
    const { root, platform_ca, tcb_signing, pck } = pki.certificates;
    const byQuote = [
      { signature: twin(parts.signature) },
      { qe_signature: twin(parts.qe_signature) },
      { pck_chain: writePckChain([twinSigned(pck), platform_ca, root]) },
      { pck_chain: writePckChain([pck, twinSigned(platform_ca), root]) },
    ].map((changed) => writeQuote({ ...parts, ...changed }));
    expect(byQuote.map((quote) => codeOf({ quote }))).toEqual([
      'quote_malformed',
      'quote_malformed',
      'chain_malformed',
      'chain_malformed',
    ]);
    for (const quote of byQuote) expect(canonicalQuote(quote)).toEqual(evidence.quote);
    const twinHex = (text: string) => twin(Uint8Array.fromHex(text)).toHex();
    const twinList = (text: string) => twinSigned(Uint8Array.fromHex(text)).toHex();
    const byCollateral: [Partial<Collateral>, string][] = [
      [{ tcb_info_signature: twinHex(collateral.tcb_info_signature) }, 'collateral_malformed'],
      [{ qe_identity_signature: twinHex(collateral.qe_identity_signature) }, 'collateral_malformed'],
      [{ root_ca_crl: twinList(collateral.root_ca_crl) }, 'crl_malformed'],
      [{ pck_crl: twinList(collateral.pck_crl) }, 'crl_malformed'],
      [{ pck_crl_issuer_chain: writePem([twinSigned(platform_ca), root]) }, 'chain_malformed'],
      [{ tcb_info_issuer_chain: writePem([twinSigned(tcb_signing), root]) }, 'chain_malformed'],
      [{ qe_identity_issuer_chain: writePem([tcb_signing, twinSigned(root)]) }, 'root_untrusted'],
    ];
    for (const [changed, code] of byCollateral) {
      expect(codeWith(changed)).toBe(code);
      if (code === 'root_untrusted') continue;
      expect(canonicalCollateral({ ...collateral, ...changed })).toEqual(collateral);
    }
  });

  it('is refused wherever quote or collateral differ', () => {
    for (let position = 0; position < evidence.quote.length; position += 29) {
      const quote = evidence.quote.with(position, evidence.quote[position]! ^ (1 << (position % 8)));
      expect(codeOf({ quote }), `byte ${position}`).not.toBe('UpToDate');
    }
    for (const [field, text] of Object.entries(collateral)) {
      for (let position = 0; position < text.length; position += Math.ceil(text.length / 19)) {
        const changed = text.slice(0, position) + (text[position] === '1' ? '2' : '1') + text.slice(position + 1);
        expect(codeWith({ [field]: changed }), `${field} ${position}`).not.toBe('UpToDate');
      }
    }
  }, 60_000);
});

describe('attestation', () => {
  const found = verifyEvidence(evidence, policy);
  if (!found.ok) throw new Error(found.message);
  const attestation = attest(evidence, found, NOW_MS + 1, new Date(NOW_MS).toISOString());

  it('fits its schema and gives the evidence back', () => {
    expect(Attestation.parse(attestation)).toEqual(attestation);
    expect(readAttestation(attestation)).toEqual(evidence);
    expect(disagreement(attestation, found)).toBeUndefined();
    expect(attestation).toMatchObject({ provider: 'simulator', simulated: true, phala_redundancy: null });
  });

  it('is refused when a leaf that the evidence determines is another', () => {
    const { aegis_verification } = attestation;
    const measurements = attestation.measurements as TdxMeasurements;
    const judge = (changed: Partial<Attestation>) => disagreement({ ...attestation, ...changed }, found);
    expect(judge({ provider: 'tsm' })).toBe('provider');
    expect(judge({ report_data: `0x${'00'.repeat(64)}` })).toBe('report_data');
    expect(judge({ measurements: { ...measurements, rtmr3: measurements.rtmr0 } })).toBe('measurements');
    expect(judge({ simulated: false })).toBe('simulated');
    expect(judge({ aegis_verification: { ...aegis_verification, verified: false } })).toBe('aegis_verification');
    expect(judge({ aegis_verification: { ...aegis_verification, status: 'OutOfDate' } })).toBe('aegis_verification');
    expect(disagreement(attestation, { ok: false, code: 'crl_missing', message: '' })).toBe('aegis_verification');
  });

  it('has strict schemas', () => {
    const bad = (changed: object) => Attestation.safeParse({ ...attestation, ...changed }).success;
    expect(bad({ extra: 1 })).toBe(false);
    expect(bad({ quote: `${attestation.quote}\n` })).toBe(false);
    expect(bad({ phala_redundancy: {} })).toBe(false);
    expect(bad({ measurements: { ...attestation.measurements, mrtd: '0x00' } })).toBe(false);
    expect(bad({ collateral: { ...collateral, pck_crl: collateral.pck_crl.toUpperCase() } })).toBe(false);
    expect(bad({ aegis_verification: { ...attestation.aegis_verification, checked_at: '2026-07-01T00:00:00Z' } })).toBe(
      false,
    );
  });
});

describe('the simulator folder', () => {
  const base = mkdtempSync(join(tmpdir(), 'aegis-simulator-'));
  afterAll(() => rmSync(base, { recursive: true, force: true }));
  let folder = '';
  let count = 0;
  beforeEach(() => {
    folder = join(base, `${count++}`, 'simulator');
  });
  const open = (now_ms = NOW_MS) => openSimulator(folder, () => now_ms);
  const path = (name: string) => join(folder, name);
  const edit = (name: string, change: (text: string) => string) =>
    writeFileSync(path(name), change(readFileSync(path(name), 'utf8')));
  const faultOf = (action: () => unknown): Fault => {
    try {
      action();
    } catch (error) {
      if (error instanceof Fault) return error;
      throw error;
    }
    throw new Error('no fault');
  };

  it('is made once, for the owner alone', async () => {
    const first = open();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder)) expect(statSync(path(name)).mode & 0o777, name).toBe(0o600);
    const before = readFileSync(path('collateral.json'), 'utf8');
    const again = open();
    expect(again.root).toEqual(first.root);
    expect(readFileSync(path('collateral.json'), 'utf8')).toBe(before);
    expect(readFileSync(path('root.pem'), 'utf8')).toBe(writePem([first.root]));
    const quoted = await again.quote(DATA);
    expect(verifyEvidence(quoted, { ...policy, roots: [first.root] }).ok).toBe(true);
    expect(await again.isAvailable()).toBe(true);
  });

  it('issues collateral anew before it ends', async () => {
    let now_ms = NOW_MS;
    const simulator = openSimulator(folder, () => now_ms);
    const old = await simulator.quote(DATA);
    now_ms = Date.UTC(2033, 5, 1);
    expect((await simulator.quote(DATA)).collateral).toEqual(old.collateral);
    now_ms = Date.UTC(2034, 0, 1);
    const renewed = await simulator.quote(DATA);
    expect(renewed.collateral).not.toEqual(old.collateral);
    const late = { ...policy, roots: [simulator.root], now_ms: Date.UTC(2040, 0, 1) };
    expect(verifyEvidence(renewed, late).ok).toBe(true);
    expect(verifyEvidence(old, late)).toMatchObject({ ok: false, code: 'crl_expired' });
    expect(openSimulator(folder, () => Date.UTC(2049, 6, 1)).root).toEqual(simulator.root);
  });

  it('finishes a first start that ended between its files', () => {
    const { root } = open();
    rmSync(path('collateral.json'));
    expect(open().root).toEqual(root);
  });

  it.each<[string, () => void]>([
    ['keys cut short', () => edit('pki.json', (text) => text.slice(0, 900))],
    ['keys empty', () => edit('pki.json', () => '')],
    ['another key', () => edit('pki.json', (text) => withKey(text, makePki()))],
    ['no key at all', () => edit('pki.json', (text) => text.replace(/"root": "..../, '"root": "AAAA'))],
    ['keys missing', () => rmSync(path('pki.json'))],
    ['collateral no JSON', () => edit('collateral.json', (text) => text.slice(1))],
  ])('with %s is a fault that names it', (_, damage) => {
    open();
    const keys = readFileSync(path('pki.json'), 'utf8').match(/M[A-Za-z0-9+/=]{60,}/g) ?? [];
    damage();
    const fault = faultOf(open);
    expect(fault.code).toBe('quote_failed');
    expect(fault.message).toContain('is damaged');
    expect(fault.message).toContain(folder);
    for (const key of keys)
      expect(JSON.stringify([fault.message, fault.detail, String(fault.cause)])).not.toContain(key);
  });

  it.each<[string, () => void]>([
    ['of another', () => writeFileSync(path('collateral.json'), JSON.stringify(collateral))],
    ['with another bit', () => edit('collateral.json', withOtherDigit)],
  ])('whose collateral is %s quotes what does not verify', async (_, damage) => {
    const { root } = open();
    damage();
    expect(verifyEvidence(await open().quote(DATA), { ...policy, roots: [root] })).toMatchObject({ ok: false });
  });

  it('that is a file is a fault', () => {
    writeFileSync(join(base, `file-${count}`), '');
    const fault = faultOf(() => openSimulator(join(base, `file-${count}`), () => NOW_MS));
    expect(fault.message).toContain("can't be used");
  });

  /** Of the first signature. */
  function withOtherDigit(text: string): string {
    return text.replace(/(_signature": ")(.)/, (_, before, digit) => `${before}${digit === '0' ? '1' : '0'}`);
  }

  function withKey(text: string, other: Pki): string {
    const file = JSON.parse(text) as { keys: Record<string, string> };
    file.keys['pck'] = base64(other.keys.pck.export({ format: 'der', type: 'pkcs8' }));
    return JSON.stringify(file);
  }
});
