// Quotes of Intel's platforms under the simulator's stand-in for Intel: SGX version 3 and TDX version 5, what dcap-qvl alone
// would let through, and policies about advisories, ages and applications. Real TDX 4 evidence is in evidence.test.ts.

import { sha384 } from '@noble/hashes/sha2.js';
import { QuoteVerifier } from '@phala/dcap-qvl/src/verify.js';
import { describe, expect, it } from 'vitest';
import { makePki, revocationList, signRaw } from '../daemon/tee/pki.ts';
import { makeCollateral, makeQuote } from '../daemon/tee/tdx.ts';
import { makeSgxCollateral, makeSgxQuote, makeTdx5Quote, requote, resign } from '../test/platforms.ts';
import { readCertificate } from './certificate.ts';
import type { Collateral } from './collateral.ts';
import { concat, hex, utf8 } from './encoding.ts';
import { canonicalEventLog, replay } from './eventlog.ts';
import type { Evidence, EvidencePolicy } from './evidence.ts';
import { canonicalQuote, little, readQuote, versionOf, writeQuote } from './intelquote.ts';
import { claimedRoot, verifyEvidence } from './verification.ts';

const END_MS = Date.UTC(2026, 6, 1);
const NOW_MS = Date.UTC(2026, 5, 1);
const DAY_MS = 86_400_000;
const pki = makePki();
const report_data = new Uint8Array(64).fill(0x5a);

const sgx: Evidence & { collateral: Collateral } = {
  quote_type: 'SGX',
  quote: makeSgxQuote(pki, { report_data }),
  event_log: null,
  collateral: makeSgxCollateral(pki, END_MS),
};
const tdx: Evidence & { collateral: Collateral } = {
  quote_type: 'TDX',
  quote: makeQuote(pki, { report_data }),
  event_log: null,
  collateral: makeCollateral(pki, END_MS),
};
const tdx5: typeof tdx = { ...tdx, quote: makeTdx5Quote(pki, { report_data }) };
const tdx15: typeof tdx = { ...tdx, quote: makeTdx5Quote(pki, { report_data, tee_tcb_svn_2: new Uint8Array(16) }) };

const policy = (more: Partial<EvidencePolicy> = {}): EvidencePolicy => ({
  roots: [pki.certificates.root],
  now_ms: NOW_MS,
  tcb_statuses: ['UpToDate'],
  ...more,
});
const codeOf = (evidence: Evidence, at = policy()) => {
  const result = verifyEvidence(evidence, at);
  return result.ok ? 'ok' : result.code;
};

describe('an SGX quote', () => {
  it('verifies', () => {
    const found = verifyEvidence(sgx, policy({ report_data }));
    expect(found).toMatchObject({ ok: true, status: 'UpToDate', simulated: true, compose_hash: null });
    expect(found.ok && found.measurements).toEqual({
      mrenclave: `0x${'e1'.repeat(32)}`,
      mrsigner: `0x${'51'.repeat(32)}`,
      isv_prod_id: 7,
      isv_svn: 3,
    });
    expect(claimedRoot(sgx)).toEqual({ ok: true, der: pki.certificates.root });
    expect(canonicalQuote(concat(sgx.quote, new Uint8Array(70)))).toEqual(sgx.quote);
  });

  it('is held to the enclave that is named', () => {
    const [mrenclave, mrsigner] = [`0x${'e1'.repeat(32)}`, `0x${'51'.repeat(32)}`];
    const allowed = (...measurements: NonNullable<EvidencePolicy['measurements']>) =>
      codeOf(sgx, policy({ measurements }));
    expect(allowed({ mrenclave })).toBe('ok');
    expect(allowed({ mrsigner, isv_prod_id: 7, isv_svn_min: 3 })).toBe('ok');
    expect(allowed({ mrsigner, isv_prod_id: 7, isv_svn_min: 4 })).toBe('measurements_refused');
    expect(allowed({ mrsigner, isv_prod_id: 8, isv_svn_min: 3 })).toBe('measurements_refused');
    expect(allowed({ mrenclave: mrsigner })).toBe('measurements_refused');
    expect(allowed({ mrtd: mrenclave })).toBe('measurements_refused');
    expect(allowed({ mrenclave_min: 0 })).toBe('measurements_refused');
  });

  it('is refused when the enclave can be debugged, or was never initialized', () => {
    const withFlags = (first: number) => {
      const attributes = Uint8Array.fromHex('0500000000000000e700000000000000').with(0, first);
      return codeOf({ ...sgx, quote: makeSgxQuote(pki, { attributes }) });
    };
    expect(withFlags(0x05)).toBe('ok');
    expect(withFlags(0x07)).toBe('debug_enabled');
    expect(withFlags(0x04)).toBe('attributes_refused');
  });

  it("is refused with a guest's collateral, and the other way round", () => {
    expect(codeOf({ ...sgx, collateral: tdx.collateral })).toBe('collateral_malformed');
    expect(codeOf({ ...tdx, collateral: sgx.collateral })).toBe('collateral_malformed');
    const mixed = { ...sgx.collateral, ...pick(tdx.collateral, 'qe_identity', 'qe_identity_signature') };
    expect(codeOf({ ...sgx, collateral: mixed })).toBe('collateral_malformed');
    expect(codeOf({ ...sgx, collateral: { certificate_chain: '', crl: null } })).toBe('collateral_malformed');
  });

  it('is refused as a quote of another type, and with an event log', () => {
    expect(codeOf({ ...sgx, quote_type: 'TDX' })).toBe('quote_malformed');
    expect(codeOf({ ...tdx, quote_type: 'SGX' })).toBe('quote_malformed');
    expect(codeOf({ ...sgx, quote_type: 'SEV-SNP' })).toBe('quote_malformed');
    expect(codeOf({ ...sgx, quote_type: 'toString' as never })).toBe('unsupported_quote_type');
    expect(codeOf({ ...sgx, event_log: '[]' })).toBe('event_log_malformed');
    expect(codeOf(sgx, policy({ quote_types: ['TDX', 'SEV-SNP'] }))).toBe('quote_type_refused');
  });
});

describe('a TDX quote of version 5', () => {
  it.each([
    ['TDX 1.0', tdx5, 584],
    ['TDX 1.5', tdx15, 648],
  ])('verifies with a body of %s', (_, evidence, bytes) => {
    const found = verifyEvidence(evidence, policy({ report_data }));
    const same = verifyEvidence(tdx, policy({ report_data }));
    expect(found).toMatchObject({ ok: true, status: 'UpToDate' });
    expect(found.ok && found.measurements).toEqual(same.ok && same.measurements);
    expect(readQuote(evidence.quote).report).toHaveLength(bytes);
    expect(versionOf(readQuote(evidence.quote))).toBe(5);
  });

  it('is refused in debug mode, and with a service TD, which could migrate it', () => {
    const td_attributes = Uint8Array.fromHex('0100001000000000');
    expect(codeOf({ ...tdx, quote: makeTdx5Quote(pki, { td_attributes }) })).toBe('debug_enabled');
    const mr_service_td = new Uint8Array(48).fill(1);
    expect(codeOf({ ...tdx, quote: makeTdx5Quote(pki, { mr_service_td }) })).toBe('attributes_refused');
  });

  it('is refused with a body that says another type or size', () => {
    for (const [at, value] of [
      [48, 1],
      [48, 3],
      [48, 4],
      [50, 0],
      [51, 9],
    ] as const) {
      expect(codeOf({ ...tdx, quote: tdx5.quote.with(at, value) }), `byte ${at}`).toBe('quote_malformed');
    }
    expect(codeOf({ ...tdx, quote: tdx5.quote.with(4, 0) })).toBe('quote_malformed');
    // Signed as it is, but the report of an enclave.
    expect(() => requote(pki, 5, new Uint8Array(384))).toThrow(SyntaxError);
  });
});

describe.each([
  ['SGX 3', sgx],
  ['TDX 4', tdx],
  ['TDX 5', tdx5],
  ['TDX 1.5', tdx15],
])('%s', (_, evidence) => {
  it('is refused at every length but its own', () => {
    for (let length = 0; length < evidence.quote.length; length++) {
      expect(codeOf({ ...evidence, quote: evidence.quote.slice(0, length) })).toBe('quote_malformed');
    }
    expect(codeOf({ ...evidence, quote: concat(evidence.quote, Uint8Array.of(0)) })).toBe('quote_malformed');
  });

  it('is refused wherever a bit differs', () => {
    for (let at = 0; at < evidence.quote.length; at += 29) {
      const quote = evidence.quote.with(at, evidence.quote[at]! ^ (1 << (at % 8)));
      expect(codeOf({ ...evidence, quote }), `byte ${at}`).not.toBe('ok');
    }
  }, 60_000);

  it('is refused under foreign roots, and over other report data', () => {
    expect(codeOf(evidence, policy({ roots: [makePki().certificates.root] }))).toBe('root_untrusted');
    expect(codeOf(evidence, policy({ report_data: new Uint8Array(64) }))).toBe('report_data_mismatch');
  });
});

describe('what dcap-qvl 0.3.9 lets through is refused', () => {
  const theirs = (evidence: typeof tdx, now_s: number) =>
    QuoteVerifier.newWithRootCa(Buffer.from(pki.certificates.root)).verify(evidence.quote, evidence.collateral, now_s);
  const passes = (evidence: typeof tdx, at: { now_s: unknown } = { now_s: NOW_MS / 1000 }) => {
    const { status } = theirs(evidence, at.now_s as number);
    expect(status, 'dcap-qvl has mended it: look at the guard again').toBe('UpToDate');
  };
  const withCollateral = (change: Partial<Collateral>) => ({ ...tdx, collateral: { ...tdx.collateral, ...change } });

  it.each(['root_ca_crl', 'pck_crl'] as const)('an empty %s', (field) => {
    const evidence = withCollateral({ [field]: '' });
    passes(evidence);
    expect(codeOf(evidence)).toBe('crl_missing');
  });

  it.each(['root_ca_crl', 'pck_crl'] as const)('a %s that is no list', (field) => {
    const evidence = withCollateral({ [field]: '3000' });
    passes(evidence);
    expect(codeOf(evidence)).toBe('crl_malformed');
  });

  it('a list that somebody else signed', () => {
    const evidence = withCollateral({ pck_crl: revocationList(makePki(), 'platform_ca', END_MS).toHex() });
    passes(evidence);
    expect(codeOf(evidence)).toBe('crl_invalid');
  });

  it("another authority's list, as one gets by always asking for the processor CA's", () => {
    const evidence = withCollateral({ pck_crl: tdx.collateral.root_ca_crl });
    passes(evidence);
    expect(codeOf(evidence)).toBe('crl_invalid');
  });

  it('a list that has ended', () => {
    const evidence = withCollateral({ pck_crl: revocationList(pki, 'platform_ca', NOW_MS - 2 * DAY_MS).toHex() });
    passes(evidence);
    expect(codeOf(evidence)).toBe('crl_expired');
  });

  it.each([Number.NaN, undefined])('a time that is %s', (now) => {
    const stale = withCollateral(makeCollateral(pki, NOW_MS - DAY_MS));
    passes(stale, { now_s: now });
    expect(codeOf(stale)).toMatch(/^(?:crl|collateral)_expired$/);
    expect(codeOf(tdx, policy({ now_ms: now as number }))).toBe('now_invalid');
  });

  it('a TDX module of another signer', () => {
    const evidence = { ...tdx, quote: makeQuote(pki, { report_data, mr_signer_seam: new Uint8Array(48).fill(1) }) };
    passes(evidence);
    expect(codeOf(evidence)).toBe('tdx_module_refused');
  });

  it('an SGX enclave that was never initialized', () => {
    const attributes = Uint8Array.fromHex('0400000000000000e700000000000000');
    const evidence = { ...sgx, quote: makeSgxQuote(pki, { attributes }) };
    passes(evidence);
    expect(codeOf(evidence)).toBe('attributes_refused');
  });

  it('a chain in the collateral in place of that in the quote', () => {
    const collateral: Collateral & { pck_certificate_chain?: string } = {
      ...tdx.collateral,
      pck_certificate_chain: 'x',
    };
    const evidence = { ...tdx, collateral };
    expect(codeOf(evidence)).toBe('collateral_malformed');
  });
});

describe('revocation', () => {
  const serial = (der: Uint8Array) => Uint8Array.fromHex(readCertificate(der).serial);
  const { pck, platform_ca, tcb_signing } = pki.certificates;

  it.each([
    ['PCK certificate', 'pck_crl', 'platform_ca', pck],
    ['PCK CA', 'root_ca_crl', 'root', platform_ca],
    ['TCB signer', 'root_ca_crl', 'root', tcb_signing],
  ] as const)('of the %s', (_, field, issuer, der) => {
    const crl = revocationList(pki, issuer, END_MS, [serial(der)]).toHex();
    for (const evidence of [tdx, sgx]) {
      const collateral = { ...evidence.collateral, [field]: crl };
      expect(codeOf({ ...evidence, collateral })).toBe('certificate_revoked');
    }
  });

  it('of the platform’s TCB level', () => {
    const tcb_info = (doc: Record<string, unknown>) => {
      const [level, ...rest] = doc['tcbLevels'] as object[];
      return { ...doc, tcbLevels: [{ ...level, tcbStatus: 'Revoked' }, ...rest] };
    };
    for (const evidence of [tdx, sgx]) {
      expect(codeOf({ ...evidence, collateral: resign(pki, evidence.collateral, { tcb_info }) })).toBe('tcb_revoked');
    }
  });
});

describe('a quoting enclave in debug mode', () => {
  it('is refused as such, before the words of dcap-qvl could blame the guest', () => {
    const quote = readQuote(tdx.quote);
    const qe_report = quote.qe_report.with(48, quote.qe_report[48]! | 2);
    const forged = writeQuote({ ...quote, qe_report, qe_signature: signRaw(pki.keys.pck, qe_report) });
    expect(codeOf({ ...tdx, quote: forged })).toBe('qe_identity_mismatch');
  });
});

describe('a policy', () => {
  it('about advisories', () => {
    const tcb_info = (doc: Record<string, unknown>) => {
      const [level, ...rest] = doc['tcbLevels'] as object[];
      return { ...doc, tcbLevels: [{ ...level, advisoryIDs: ['INTEL-SA-1', 'INTEL-SA-2'] }, ...rest] };
    };
    const evidence = { ...tdx, collateral: resign(pki, tdx.collateral, { tcb_info }) };
    expect(verifyEvidence(evidence, policy())).toMatchObject({ ok: true, advisory_ids: ['INTEL-SA-1', 'INTEL-SA-2'] });
    expect(codeOf(evidence, policy({ advisories: ['INTEL-SA-2', 'INTEL-SA-1'] }))).toBe('ok');
    expect(codeOf(evidence, policy({ advisories: ['INTEL-SA-1'] }))).toBe('advisory_refused');
    expect(codeOf(evidence, policy({ advisories: [] }))).toBe('advisory_refused');
    expect(codeOf(tdx, policy({ advisories: [] }))).toBe('ok');
  });

  it('about the age of collateral', () => {
    const issueDate = '2026-05-02T00:00:00Z';
    const renewed = (fields: readonly string[]) =>
      resign(
        pki,
        tdx.collateral,
        Object.fromEntries(fields.map((field) => [field, (doc: object) => ({ ...doc, issueDate })])),
      );
    const code = (collateral: Collateral, days: number) =>
      codeOf({ ...tdx, collateral }, policy({ collateral_age_max_ms: days * DAY_MS }));
    // The simulator's list is from 2020, and the oldest part counts.
    expect(code(renewed(['tcb_info', 'qe_identity']), 31)).toBe('collateral_stale');
    expect(code(renewed([]), 6 * 366)).toBe('collateral_stale');
    expect(code(renewed([]), 7 * 366)).toBe('ok');
  });

  describe('about the application', () => {
    const runtime = (event: string, payload: Uint8Array) => ({
      imr: 3,
      event_type: 0x08000001,
      digest: sha384(concat(little(0x08000001, 4), utf8(`:${event}:`), payload)).toHex(),
      event,
      event_payload: payload.toHex(),
    });
    const kms = utf8(JSON.stringify({ name: 'kms', id: '3059aa' }));
    const [app, compose] = [new Uint8Array(20).fill(0xa9), new Uint8Array(32).fill(0xc0)];
    const events = [
      runtime('app-id', app),
      runtime('compose-hash', compose),
      runtime('key-provider', kms),
      runtime('system-ready', new Uint8Array()),
      runtime('late', app),
    ];
    const guest = (list: readonly object[]) => {
      const event_log = canonicalEventLog(JSON.stringify(list));
      const [rtmr0, rtmr1, rtmr2, rtmr3] = replay(event_log).registers as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      return { ...tdx, quote: makeQuote(pki, { report_data, rtmr0, rtmr1, rtmr2, rtmr3 }), event_log };
    };
    const evidence = guest(events);
    const named: Partial<EvidencePolicy> = {
      event_log: 'required',
      app_ids: [hex(app)],
      compose_hashes: [hex(compose)],
      kms_roots: ['0x3059aa'],
      events: [{ event: 'app-id' }, { event: 'compose-hash', payload: hex(compose) }],
    };

    it('holds', () => {
      expect(codeOf(evidence, policy(named))).toBe('ok');
    });

    it.each<[code: string, rules: Partial<EvidencePolicy>]>([
      ['app_id_refused', { app_ids: [hex(app.with(0, 0))] }],
      ['compose_hash_refused', { compose_hashes: [hex(app)] }],
      ['kms_root_refused', { kms_roots: ['0x3059ab'] }],
      ['event_refused', { events: [{ event: 'app-id', payload: hex(compose) }] }],
      ['event_refused', { events: [{ event: 'late' }] }],
      ['event_refused', { events: [{ event: 'missing' }] }],
    ])('%s', (code, rules) => {
      expect(codeOf(evidence, policy({ ...named, ...rules }))).toBe(code);
    });

    it('is refused without a log', () => {
      const bare = { ...tdx, event_log: null };
      expect(codeOf(bare, policy({ event_log: 'required' }))).toBe('event_log_missing');
      for (const name of ['app_ids', 'compose_hashes', 'kms_roots', 'events'] as const) {
        expect(codeOf(bare, policy({ [name]: named[name] }))).toMatch(/_refused$/);
      }
    });

    it('is refused with an event twice, or after system-ready', () => {
      const twice = guest([runtime('app-id', app), ...events]);
      expect(codeOf(twice, policy({ app_ids: [hex(app)] }))).toBe('app_id_refused');
      const late = guest([events[3]!, ...events.slice(0, 3)]);
      expect(codeOf(late, policy({ app_ids: [hex(app)] }))).toBe('app_id_refused');
      expect(codeOf(late, policy({ kms_roots: ['0x3059aa'] }))).toBe('kms_root_refused');
    });

    it('is refused when the log was altered and its digests computed anew', () => {
      const altered = events.map((each) => (each.event === 'app-id' ? runtime('app-id', app.with(0, 0)) : each));
      const event_log = canonicalEventLog(JSON.stringify(altered));
      expect(codeOf({ ...evidence, event_log }, policy({ app_ids: [hex(app.with(0, 0))] }))).toBe('event_log_mismatch');
    });

    it('is refused with a key provider that is no KMS, or no JSON', () => {
      for (const payload of [
        utf8('{"name":"local-sgx","id":"3059aa"}'),
        utf8('{'),
        Uint8Array.of(0xff),
        utf8('null'),
      ]) {
        const other = guest([runtime('key-provider', payload), events[3]!]);
        expect(codeOf(other, policy({ kms_roots: ['0x3059aa'] }))).toBe('kms_root_refused');
      }
    });
  });
});

function pick<T extends object, K extends keyof T>(of: T, ...names: K[]): Pick<T, K> {
  return Object.fromEntries(names.map((name) => [name, of[name]])) as Pick<T, K>;
}
