// Verification of hardware evidence (DESIGN §6): a quote, its collateral and event log against a policy. Called by the
// verification pool, by `aegisd verify` and, in browsers, by the client library: pure, synchronous (about 20 ms), without
// clock. Promises: an `ok` names a root that the policy trusts, every signature under it was checked, and no byte of quote,
// collateral or log can be changed without a refusal, so evidence must come in its canonical form (`canonicalQuote`,
// `canonicalCollateral`, `canonicalEventLog`). @phala/dcap-qvl checks signatures and TCB levels; what it leaves out is
// checked here and in collateral.ts.
import { sha256 } from '@noble/hashes/sha2.js';
import { extractCerts } from '@phala/dcap-qvl/src/utils.js';
import { QuoteVerifier } from '@phala/dcap-qvl/src/verify.js';
import { readChain, writePem } from './certificate.ts';
import { type Checked, Collateral, checkCollateral, type EvidenceCode, Refused, refuse } from './collateral.ts';
import { equal, hex } from './encoding.ts';
import { type Replay, replay } from './eventlog.ts';
import { type ReportField, readQuote, reportField, type TdxQuote } from './tdx.ts';

export type QuoteType = 'TDX' | 'SEV-SNP' | 'SGX';

export interface Evidence {
  readonly quote_type: QuoteType;
  readonly quote: Uint8Array;
  /** Canonical (eventlog.ts); null where the platform keeps none. */
  readonly event_log: string | null;
  readonly collateral: Collateral | null;
}

/** TDX: build-time measurement of the guest and its four run-time registers, 48 bytes each in 0x-hex. */
export interface Measurements {
  readonly mrtd: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
}

export interface EvidencePolicy {
  /** DER of the root certificates to trust. */
  readonly roots: readonly Uint8Array[];
  readonly now_ms: number;
  /** TCB statuses to accept: `UpToDate` at least. */
  readonly tcb_statuses: readonly string[];
  /** 64 bytes; any where left out. */
  readonly report_data?: Uint8Array;
  /** One entry must agree in all that it names; any where left out. An empty entry agrees with nothing. */
  readonly measurements?: readonly Partial<Measurements>[];
  /** sha256 of allowed compose files, 0x-hex; needs an event log. */
  readonly compose_hashes?: readonly string[];
}

export interface VerifiedEvidence {
  readonly ok: true;
  readonly status: string;
  readonly advisory_ids: string[];
  /** 64 bytes. */
  readonly report_data: Uint8Array;
  readonly measurements: Measurements;
  /** 0x-hex, from the event log; null without one. */
  readonly compose_hash: string | null;
  /** 0x-hex of the root certificate's SHA-256. */
  readonly root_sha256: string;
  /** The root isn't Intel's. */
  readonly simulated: boolean;
  /** 0x-hex PPID: two quotes with the same one come from one machine. */
  readonly platform_id: string;
  /** When the collateral ends. */
  readonly collateral_not_after_ms: number;
}

export interface RefusedEvidence {
  readonly ok: false;
  readonly code: EvidenceCode;
  readonly message: string;
}

/** `CN=Intel SGX Root CA`, valid to 2049: root of TDX and SGX. SHA-256 44a0196b2b99f889…fab674d3 as Intel publishes it. */
export const INTEL_ROOT_DER: Uint8Array = Uint8Array.fromBase64(
  'MIICjzCCAjSgAwIBAgIUImUM1lqdNInzg7SVUr9QGzknBqwwCgYIKoZIzj0EAwIwaDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAY' +
    'BgNVBAoMEUludGVsIENvcnBvcmF0aW9uMRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYTAlVTMB4XDTE4MDUy' +
    'MTEwNDUxMFoXDTQ5MTIzMTIzNTk1OVowaDEaMBgGA1UEAwwRSW50ZWwgU0dYIFJvb3QgQ0ExGjAYBgNVBAoMEUludGVsIENvcnBvcmF0aW9u' +
    'MRQwEgYDVQQHDAtTYW50YSBDbGFyYTELMAkGA1UECAwCQ0ExCzAJBgNVBAYTAlVTMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEC6nEwMDI' +
    'YZOj/iPWsCzaEKi71OiOSLRFhWGjbnBVJfVnkY4u3IjkDYYL0MxO4mqsyYjlBalTVYxFP2sJBK5zlKOBuzCBuDAfBgNVHSMEGDAWgBQiZQzW' +
    'Wp00ifODtJVSv1AbOScGrDBSBgNVHR8ESzBJMEegRaBDhkFodHRwczovL2NlcnRpZmljYXRlcy50cnVzdGVkc2VydmljZXMuaW50ZWwuY29t' +
    'L0ludGVsU0dYUm9vdENBLmRlcjAdBgNVHQ4EFgQUImUM1lqdNInzg7SVUr9QGzknBqwwDgYDVR0PAQH/BAQDAgEGMBIGA1UdEwEB/wQIMAYB' +
    'Af8CAQEwCgYIKoZIzj0EAwIDSQAwRgIhAOW/5QkR+S9CiSDcNoowLuPRLsWGf/Yi7GSX94BgwTwgAiEA4J0lrHoMs+Xo5o/sX6O9QWxHRAvZ' +
    'UGOdRQ7cvqRXaqI=',
);

/** Checks everything but expected content first, so that a content code means: genuine, but not what was asked for. */
export function verifyEvidence(evidence: Evidence, policy: EvidencePolicy): VerifiedEvidence | RefusedEvidence {
  try {
    return verify(evidence, policy);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ok: false, code: error.code, message: error.message };
  }
}

function verify(evidence: Evidence, policy: EvidencePolicy): VerifiedEvidence {
  if (evidence.quote_type !== 'TDX') {
    throw new Refused('unsupported_quote_type', `${evidence.quote_type} evidence can't be verified yet`);
  }
  // NaN and undefined would pass every comparison with a date.
  if (!Number.isSafeInteger(policy.now_ms) || policy.now_ms < 0) {
    throw new Refused('now_invalid', 'the time to judge by is not a whole number of milliseconds');
  }
  const quote = refuse('quote_malformed', 'quote', () => readQuote(evidence.quote));
  const collateral = readCollateral(evidence.collateral);
  const checked = checkCollateral(collateral, readPckChain(quote), policy.roots, policy.now_ms);
  const platform = askDcap(evidence.quote, collateral, checked.root, policy.now_ms);
  const { status, advisory_ids } = withModule(platform, checked, quote.report);
  requireStatus(status, policy);
  const log = readLog(evidence.event_log, quote.report);
  const report_data = reportField(quote.report, 'report_data');
  const measurements = measurementsOf(quote.report);
  requireContent({ report_data, measurements, log }, policy);
  return {
    ok: true,
    status,
    advisory_ids,
    report_data,
    measurements,
    compose_hash: log?.compose_hash ? hex(log.compose_hash) : null,
    root_sha256: hex(sha256(checked.root)),
    simulated: !equal(checked.root, INTEL_ROOT_DER),
    platform_id: hex(checked.ppid),
    collateral_not_after_ms: checked.not_after_ms,
  };
}

function readCollateral(collateral: unknown): Collateral {
  if (collateral === null) throw new Refused('collateral_missing', 'a TDX quote needs collateral');
  const parsed = Collateral.safeParse(collateral);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Refused('collateral_malformed', `collateral.${issue?.path.join('.')}: ${issue?.message}`);
}

/** Leaf, CA and root from the quote, in the one PEM text that Intel's library writes, closing NUL included. */
function readPckChain(quote: TdxQuote) {
  return refuse('chain_malformed', 'PCK chain of the quote', () => {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(quote.pck_chain);
    if (!text.endsWith('\0')) throw new SyntaxError('the PEM text does not end with a NUL');
    return readChain(text.slice(0, -1), 3);
  });
}

/** dcap-qvl's refusals by the beginning of their text, since it has no codes. */
const DCAP_CODES: readonly (readonly [prefix: string, code: EvidenceCode])[] = [
  ['Failed to decode', 'collateral_malformed'],
  ['TCBInfo expired', 'collateral_expired'],
  ['TCBInfo issue date', 'collateral_expired'],
  ['QE Identity expired', 'collateral_expired'],
  ['QE Identity issue date', 'collateral_expired'],
  ['Signature is invalid for tcb_info', 'tcb_info_signature_invalid'],
  ['Signature is invalid for qe_identity', 'qe_identity_signature_invalid'],
  ['Signature is invalid for qe_report', 'qe_report_signature_invalid'],
  ['QE report hash mismatch', 'qe_binding_invalid'],
  ['QE ', 'qe_identity_mismatch'],
  ['Unsupported QE Identity', 'qe_identity_mismatch'],
  ['ISV enclave report signature', 'quote_signature_invalid'],
  ['Fmspc mismatch', 'platform_mismatch'],
  ['No matching TCB level', 'tcb_level_missing'],
  ['TCB status is invalid', 'tcb_revoked'],
  ['Debug mode is enabled', 'debug_enabled'],
  ['Reserved bits in TD attributes', 'attributes_refused'],
  ['SEPT_VE_DISABLE', 'attributes_refused'],
  ['Certificate is revoked', 'certificate_revoked'],
  ['Certificate is expired', 'certificate_expired'],
];

function askDcap(quote: Uint8Array, collateral: Collateral, root: Uint8Array, now_ms: number): Status {
  try {
    const [anchor] = extractCerts(writePem([root]));
    const { status, advisory_ids } = QuoteVerifier.newWithRootCa(anchor!).verify(quote, collateral, now_ms / 1000);
    return { status, advisory_ids };
  } catch (cause) {
    // A point off the curve and the like surface as errors of any class: all of them mean that the quote doesn't verify.
    const message = cause instanceof Error ? cause.message : 'dcap-qvl failed';
    const code = DCAP_CODES.find(([prefix]) => message.startsWith(prefix))?.[1];
    throw new Refused(code ?? 'quote_refused', message);
  }
}

interface Status {
  readonly status: string;
  readonly advisory_ids: string[];
}

/**
 * The TDX module's own identity and TCB level, which dcap-qvl leaves out (Intel PCS API v4, "TDX TCB info": module version
 * in byte 1 of TEE_TCB_SVN, its SVN in byte 0).
 */
function withModule(platform: Status, { tcb_info }: Checked, report: Uint8Array): Status {
  const [svn, version] = reportField(report, 'tee_tcb_svn') as Uint8Array & [number, number];
  const id = `TDX_${version.toString(16).padStart(2, '0').toUpperCase()}`;
  const identity = version === 0 ? undefined : tcb_info.tdxModuleIdentities.find((entry) => entry.id === id);
  if (version !== 0 && identity === undefined)
    throw new Refused('tdx_module_refused', `tcb_info knows no module ${id}`);
  const expected = identity ?? tcb_info.tdxModule;
  const mask = Uint8Array.fromHex(expected.attributesMask);
  const attributes = reportField(report, 'seam_attributes').map((byte, i) => byte & mask[i]!);
  if (reportField(report, 'mr_signer_seam').toHex() !== expected.mrsigner.toLowerCase()) {
    throw new Refused('tdx_module_refused', 'mrSignerSeam is not the signer of the TDX module in tcb_info');
  }
  if (
    !equal(
      attributes,
      Uint8Array.fromHex(expected.attributes).map((byte, i) => byte & mask[i]!),
    )
  ) {
    throw new Refused('tdx_module_refused', 'seamAttributes are not those of the TDX module in tcb_info');
  }
  if (identity === undefined) return platform;
  const level = identity.tcbLevels.find((entry) => svn >= entry.tcb.isvsvn);
  if (level === undefined) throw new Refused('tcb_level_missing', `module ${id} has no TCB level for SVN ${svn}`);
  return {
    status: converge(platform.status, level.tcbStatus),
    advisory_ids: [...new Set([...platform.advisory_ids, ...level.advisoryIDs])],
  };
}

/** As Intel's library merges a module's level into the platform's. */
function converge(platform: string, module: string): string {
  if (module === 'UpToDate') return platform;
  if (module !== 'OutOfDate') throw new Refused('tcb_revoked', `TCB status of the TDX module is ${module}`);
  if (platform === 'UpToDate' || platform === 'SWHardeningNeeded') return 'OutOfDate';
  return platform.startsWith('Configuration') ? 'OutOfDateConfigurationNeeded' : platform;
}

function requireStatus(status: string, policy: EvidencePolicy): void {
  if (policy.tcb_statuses.includes(status)) return;
  throw new Refused('tcb_status_refused', `TCB status ${status}, expected one of ${policy.tcb_statuses.join(', ')}`);
}

function readLog(event_log: string | null, report: Uint8Array): Replay | null {
  if (event_log === null) return null;
  const log = refuse('event_log_malformed', 'event_log', () => replay(event_log));
  REGISTERS.forEach((register, i) => {
    if (!equal(log.registers[i]!, reportField(report, register))) {
      throw new Refused('event_log_mismatch', `event_log does not lead to ${register.toUpperCase()} of the quote`);
    }
  });
  return log;
}

const REGISTERS = ['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const satisfies readonly ReportField[];

function measurementsOf(report: Uint8Array): Measurements {
  const field = (name: ReportField) => hex(reportField(report, name));
  return {
    mrtd: field('mrtd'),
    rtmr0: field('rtmr0'),
    rtmr1: field('rtmr1'),
    rtmr2: field('rtmr2'),
    rtmr3: field('rtmr3'),
  };
}

function requireContent(
  found: { report_data: Uint8Array; measurements: Measurements; log: Replay | null },
  policy: EvidencePolicy,
): void {
  if (policy.report_data !== undefined && !equal(found.report_data, policy.report_data)) {
    throw new Refused('report_data_mismatch', 'the quote attests other report data than expected');
  }
  if (policy.measurements !== undefined && !policy.measurements.some((entry) => agrees(entry, found.measurements))) {
    throw new Refused('measurements_refused', `no allowed entry has MRTD ${found.measurements.mrtd} and these RTMRs`);
  }
  if (policy.compose_hashes === undefined) return;
  const hash = found.log?.compose_hash ? hex(found.log.compose_hash) : 'none';
  if (!policy.compose_hashes.includes(hash)) throw new Refused('compose_hash_refused', `compose hash ${hash}`);
}

function agrees(allowed: Partial<Measurements>, found: Measurements): boolean {
  const named = Object.entries(allowed) as [keyof Measurements, string][];
  return named.length > 0 && named.every(([name, value]) => found[name] === value);
}
