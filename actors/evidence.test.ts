import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Collateral, canonicalCollateral } from './collateral.ts';
import { hex } from './encoding.ts';
import { canonicalEventLog } from './eventlog.ts';
import { type Evidence, type EvidencePolicy, INTEL_ROOT_DER, type TdxMeasurements } from './evidence.ts';
import { canonicalQuote } from './intelquote.ts';
import { verifyEvidence } from './verification.ts';

// Real quotes with real collateral; test/fixtures/tee says where they are from and what each must yield.
const file = (name: string) => readFileSync(new URL(`../test/fixtures/tee/${name}`, import.meta.url));
const json = (name: string) => JSON.parse(file(name).toString());
const report = json('dstack/quote-report.json') as { quote: string; event_log: string };

const tdx: Evidence & { readonly collateral: Collateral } = {
  quote_type: 'TDX',
  quote: canonicalQuote(new Uint8Array(file('tdx/tdx_quote'))),
  event_log: null,
  collateral: canonicalCollateral(json('tdx/tdx_quote_collateral.json')),
};
const dstack: Evidence & { readonly collateral: Collateral } = {
  quote_type: 'TDX',
  quote: canonicalQuote(Uint8Array.fromHex(report.quote)),
  event_log: canonicalEventLog(report.event_log),
  collateral: canonicalCollateral(json('dstack/quote-report.collateral.json')),
};
const TDX_NOW_MS = Date.parse('2025-07-01T00:00:00Z');
const DSTACK_NOW_MS = 1_771_419_531_000;

const policy = (now_ms: number, more: Partial<EvidencePolicy> = {}): EvidencePolicy => ({
  roots: [INTEL_ROOT_DER],
  now_ms,
  tcb_statuses: ['UpToDate'],
  ...more,
});
const codeOf = (evidence: Evidence, at: EvidencePolicy) => {
  const result = verifyEvidence(evidence, at);
  return result.ok ? 'ok' : result.code;
};

describe('real TDX evidence', () => {
  it('verifies under the root that Intel publishes', () => {
    const result = verifyEvidence(tdx, policy(TDX_NOW_MS));
    expect(result).toMatchObject({
      ok: true,
      status: 'UpToDate',
      advisory_ids: [],
      compose_hash: null,
      simulated: false,
      root_sha256: '0x44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3',
    });
  });

  it.each([
    ['2025-06-19T10:32:26Z', 'collateral_expired'],
    ['2025-06-19T10:32:27Z', 'ok'],
    ['2025-07-19T10:16:03Z', 'ok'],
    ['2025-07-19T10:16:04Z', 'collateral_expired'],
    ['2025-07-19T11:00:36Z', 'crl_expired'],
    ['2025-03-01T00:00:00Z', 'certificate_expired'],
    ['2033-01-01T00:00:00Z', 'certificate_expired'],
  ])('at %s: %s', (time, code) => {
    expect(codeOf(tdx, policy(Date.parse(time)))).toBe(code);
  });

  it.each([Number.NaN, undefined, -1, 0.5, Number.POSITIVE_INFINITY])('is not judged at %s', (now_ms) => {
    expect(codeOf(tdx, policy(now_ms as number))).toBe('now_invalid');
  });

  it('is as old as the oldest of its monthly parts', () => {
    const issued_ms = Date.parse('2025-06-19T10:00:35Z');
    const within = (age_ms: number) => codeOf(tdx, policy(TDX_NOW_MS, { collateral_age_max_ms: age_ms }));
    expect(within(TDX_NOW_MS - issued_ms)).toBe('ok');
    expect(within(TDX_NOW_MS - issued_ms - 1)).toBe('collateral_stale');
  });

  it('needs its own root, and collateral', () => {
    expect(codeOf(tdx, policy(TDX_NOW_MS, { roots: [] }))).toBe('root_untrusted');
    expect(codeOf({ ...tdx, collateral: null }, policy(TDX_NOW_MS))).toBe('collateral_missing');
    expect(codeOf({ ...tdx, collateral: dstack.collateral }, policy(DSTACK_NOW_MS))).toBe('platform_mismatch');
  });

  it('must be of the type that it says', () => {
    for (const quote_type of ['SEV-SNP', 'SGX'] as const) {
      expect(codeOf({ ...tdx, quote_type }, policy(TDX_NOW_MS))).toBe('quote_malformed');
    }
    expect(codeOf({ ...tdx, quote_type: 'EPID' as never }, policy(TDX_NOW_MS))).toBe('unsupported_quote_type');
  });

  it('is held to the expected content', () => {
    const result = verifyEvidence(tdx, policy(TDX_NOW_MS));
    if (!result.ok) throw new Error(result.message);
    const { report_data, measurements } = result;
    const { mrtd } = measurements as TdxMeasurements;
    const other = report_data.with(63, report_data[63]! ^ 1);
    expect(codeOf(tdx, policy(TDX_NOW_MS, { report_data, measurements: [{}, { mrtd }] }))).toBe('ok');
    expect(codeOf(tdx, policy(TDX_NOW_MS, { report_data: other }))).toBe('report_data_mismatch');
    expect(codeOf(tdx, policy(TDX_NOW_MS, { measurements: [{ mrtd, rtmr0: mrtd }] }))).toBe('measurements_refused');
    expect(codeOf(tdx, policy(TDX_NOW_MS, { measurements: [{}] }))).toBe('measurements_refused');
    expect(codeOf(tdx, policy(TDX_NOW_MS, { measurements: [] }))).toBe('measurements_refused');
    expect(codeOf(tdx, policy(TDX_NOW_MS, { compose_hashes: [] }))).toBe('compose_hash_refused');
    expect(codeOf(tdx, policy(TDX_NOW_MS, { tcb_statuses: ['OutOfDate'] }))).toBe('tcb_status_refused');
  });
});

describe('real dstack evidence', () => {
  const compose_hash = '0x3763bc34552cf3a27ff71ad5f7a90471562a1a2df552dfc1998cba2d60da27e7';

  it('verifies with its event log', () => {
    const result = verifyEvidence(dstack, policy(DSTACK_NOW_MS, { compose_hashes: [compose_hash] }));
    expect(result).toMatchObject({ ok: true, status: 'UpToDate', compose_hash });
    expect(result.ok && hex(result.report_data)).toBe(`0x1234${'00'.repeat(62)}`);
  });

  it('is refused with another log', () => {
    const at = policy(DSTACK_NOW_MS);
    const log = dstack.event_log!;
    const events = JSON.parse(log) as Record<string, unknown>[];
    const withLog = (event_log: string) => codeOf({ ...dstack, event_log }, at);
    expect(withLog(report.event_log)).toBe('event_log_malformed');
    expect(withLog('')).toBe('event_log_malformed');
    expect(withLog(` ${log}`)).toBe('event_log_malformed');
    expect(withLog('[]')).toBe('event_log_mismatch');
    expect(withLog(JSON.stringify(events.slice(0, -1)))).toBe('event_log_mismatch');
    expect(withLog(JSON.stringify([...events].reverse()))).toBe('event_log_malformed');
    expect(withLog(canonicalEventLog(log.replace('"instance-id"', '"instance-ie"')))).toBe('event_log_mismatch');
    expect(codeOf({ ...tdx, event_log: log }, policy(TDX_NOW_MS))).toBe('event_log_mismatch');
  });

  it('is refused at every character of the log', () => {
    const log = dstack.event_log!;
    for (let at = 0; at < log.length; at += 97) {
      const changed = log.slice(0, at) + (log[at] === '0' ? '1' : '0') + log.slice(at + 1);
      expect(codeOf({ ...dstack, event_log: changed }, policy(DSTACK_NOW_MS)), `character ${at}`).toMatch(
        /^event_log_/,
      );
    }
  }, 30_000);
});

describe('changed evidence', () => {
  const at = policy(TDX_NOW_MS);
  const withQuote = (quote: Uint8Array) => codeOf({ ...tdx, quote }, at);

  it('is refused wherever a bit of the quote differs', () => {
    // Every field's first and last byte, and every 41st byte between.
    const borders = [0, 48, 632, 636, 700, 764, 766, 770, 1_154, 1_218, 1_220, 1_252, 1_254, 1_258, tdx.quote.length];
    const positions = new Set(borders.flatMap((border) => [border - 1, border]));
    for (let position = 0; position < tdx.quote.length; position += 41) positions.add(position);
    for (const position of positions) {
      if (position < 0 || position >= tdx.quote.length) continue;
      const bit = 1 << (position % 8);
      const changed = tdx.quote.with(position, tdx.quote[position]! ^ bit);
      expect(withQuote(changed), `byte ${position}`).not.toBe('ok');
    }
  }, 30_000);

  it('is refused at every length but its own', () => {
    for (let length = 0; length < tdx.quote.length; length += 23) {
      expect(withQuote(tdx.quote.slice(0, length))).toBe('quote_malformed');
    }
    expect(withQuote(new Uint8Array(file('tdx/tdx_quote')))).toBe('quote_malformed');
    expect(withQuote(tdx.quote.slice(0, -1))).toBe('quote_malformed');
  });

  it('is refused wherever a string of the collateral differs', () => {
    for (const [field, text] of Object.entries(tdx.collateral as Collateral)) {
      const step = Math.max(1, Math.floor(text.length / 24));
      for (let position = 0; position < text.length; position += step) {
        const swapped = text[position] === '1' ? '2' : '1';
        refuses(field, text.slice(0, position) + swapped + text.slice(position + 1));
      }
      for (const changed of [
        '',
        `${text}\n`,
        `${text}0`,
        `${text}00`,
        ` ${text}`,
        text.slice(0, -1),
        text.slice(0, -2),
      ]) {
        refuses(field, changed);
      }
      if (/[a-f]/.test(text))
        refuses(
          field,
          text.replace(/[a-f]/, (letter) => letter.toUpperCase()),
        );
      if (text.includes('\n')) refuses(field, text.replace('\n', '\r\n'));
      if (text.includes('\n')) refuses(field, text + text);
    }
    function refuses(field: string, changed: string) {
      const collateral = { ...tdx.collateral, [field]: changed };
      expect(codeOf({ ...tdx, collateral }, at), `${field} ${changed.length}`).not.toBe('ok');
    }
  }, 60_000);

  it('is refused with a field more or less, or of another type', () => {
    const codeWith = (collateral: unknown) => codeOf({ ...tdx, collateral: collateral as Evidence['collateral'] }, at);
    for (const field of Object.keys(tdx.collateral)) {
      const { [field as 'pck_crl']: _, ...rest } = tdx.collateral;
      expect(codeWith(rest)).toBe('collateral_malformed');
      expect(codeWith({ ...tdx.collateral, [field]: null })).toBe('collateral_malformed');
    }
    expect(codeWith({ ...tdx.collateral, pck_certificate_chain: null })).toBe('collateral_malformed');
    expect(codeWith(undefined)).toBe('collateral_malformed');
  });

  it('gets an answer, whatever it is', () => {
    const fields = Object.keys(tdx.collateral) as (keyof Collateral)[];
    const junk = fc.oneof(
      fc.string(),
      fc.json(),
      fc.constantFrom('{}', 'null', '[]', '00', '3000', '-----BEGIN CERTIFICATE-----'),
    );
    fc.assert(
      fc.property(fc.constantFrom(...fields), junk, (field, text) => {
        expect(codeOf({ ...tdx, collateral: { ...tdx.collateral, [field]: text } }, at)).not.toBe('ok');
      }),
      { numRuns: 200 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), junk, (tail, event_log) => {
        const start = tdx.quote.slice(0, 1_300 - (tail.length % 1_300));
        const quote = new Uint8Array([...start, ...tail]);
        expect(codeOf({ ...tdx, quote }, at)).not.toBe('ok');
        expect(codeOf({ ...tdx, event_log }, at)).toMatch(/^event_log_/);
      }),
      { numRuns: 50 },
    );
    const qe_identity = JSON.stringify({ ...JSON.parse(tdx.collateral.qe_identity), tcbLevels: null });
    expect(codeOf({ ...tdx, collateral: { ...tdx.collateral, qe_identity } }, at)).toBe('collateral_malformed');
  }, 30_000);

  it('has one canonical form', () => {
    expect(canonicalCollateral(tdx.collateral)).toEqual(tdx.collateral);
    const loose = {
      ...tdx.collateral,
      pck_crl: tdx.collateral.pck_crl.toUpperCase(),
      tcb_info_issuer_chain: tdx.collateral.tcb_info_issuer_chain.replaceAll('\n', '\r\n').trim(),
    };
    expect(canonicalCollateral(loose)).toEqual(tdx.collateral);
    expect(canonicalQuote(tdx.quote)).toEqual(tdx.quote);
    expect(canonicalEventLog(dstack.event_log!)).toBe(dstack.event_log);
  });
});
