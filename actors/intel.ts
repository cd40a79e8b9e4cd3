// Judges quotes of Intel's platforms, TDX and SGX: the chain and collateral (collateral.ts), signatures and TCB levels
// (@phala/dcap-qvl), and what that library leaves out: the TDX module's signer and level, a quoting enclave in debug mode, an
// enclave that was never initialized. verification.ts calls this. Promises: what it returns was signed under a trusted root.
import { extractCerts } from '@phala/dcap-qvl/src/utils.js';
import { QuoteVerifier } from '@phala/dcap-qvl/src/verify.js';
import { readPckChain, writePem } from './certificate.ts';
import { type EvidenceCode, Refused, refuse, requireCollateral } from './check.ts';
import { Collateral, checkCollateral, type TdxTcbInfo } from './collateral.ts';
import { equal, hex } from './encoding.ts';
import type { Evidence, EvidencePolicy, Genuine } from './evidence.ts';
import { readQuote, versionOf } from './intelquote.ts';
import { type EnclaveField, enclaveField } from './sgx.ts';
import { type ReportField, reportField } from './tdx.ts';

/** Flags of the first byte of an enclave's attributes (Intel SDM vol. 3D, ATTRIBUTES). */
const ENCLAVE = { init: 0x01, debug: 0x02 } as const;

/** @throws {Refused} */
export function judgeIntel(
  evidence: Evidence,
  { now_ms }: EvidencePolicy,
  isTrusted: (root: Uint8Array) => boolean,
): Genuine {
  const quote = refuse('quote_malformed', 'quote', () => readQuote(evidence.quote));
  const tee = versionOf(quote) === 3 ? 'SGX' : 'TDX';
  if (tee !== evidence.quote_type) {
    throw new Refused('quote_malformed', `a quote of ${tee} where one of ${evidence.quote_type} belongs`);
  }
  const collateral = requireCollateral(Collateral, evidence.collateral, `a quote of ${tee} needs collateral`);
  const checked = checkCollateral(collateral, readPckChain(quote.pck_chain), { tee, isTrusted, now_ms });
  // dcap-qvl has the same words for it and for an enclave in debug mode.
  if ((enclaveField(quote.qe_report, 'attributes')[0]! & ENCLAVE.debug) !== 0) {
    throw new Refused('qe_identity_mismatch', 'the quoting enclave is in debug mode');
  }
  const platform = askDcap(evidence.quote, collateral, checked.root, now_ms);
  const { status, advisory_ids } =
    checked.tcb_info.id === 'TDX' ? withModule(platform, checked.tcb_info, quote.report) : platform;
  const found = tee === 'TDX' ? readGuest(quote.report) : readEnclave(quote.report);
  const { root, ppid, issued_ms, not_after_ms } = checked;
  return { status, rated: true, advisory_ids, ...found, root, platform_id: hex(ppid), issued_ms, not_after_ms };
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
  ['Invalid mr service td', 'attributes_refused'],
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
function withModule(platform: Status, tcb_info: TdxTcbInfo, report: Uint8Array): Status {
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

type Found = Pick<Genuine, 'report_data' | 'measurements' | 'claims' | 'registers'>;

function readGuest(report: Uint8Array): Found {
  const of = (field: ReportField) => hex(reportField(report, field));
  const measurements = {
    mrtd: of('mrtd'),
    rtmr0: of('rtmr0'),
    rtmr1: of('rtmr1'),
    rtmr2: of('rtmr2'),
    rtmr3: of('rtmr3'),
  };
  const owner = { mr_config_id: of('mr_config_id'), mr_owner: of('mr_owner'), mr_owner_config: of('mr_owner_config') };
  const registers = (['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const).map((field) => reportField(report, field));
  const claims = { ...measurements, mr_seam: of('mr_seam'), ...owner };
  return { report_data: reportField(report, 'report_data'), measurements, claims, registers };
}

function readEnclave(report: Uint8Array): Found {
  if ((enclaveField(report, 'attributes')[0]! & ENCLAVE.init) === 0) {
    throw new Refused('attributes_refused', 'the enclave was not initialized');
  }
  const of = (field: EnclaveField) => hex(enclaveField(report, field));
  const number = (field: EnclaveField) => enclaveField(report, field).reduceRight((sum, byte) => sum * 256 + byte, 0);
  const measurements = {
    mrenclave: of('mrenclave'),
    mrsigner: of('mrsigner'),
    isv_prod_id: number('isv_prod_id'),
    isv_svn: number('isv_svn'),
  };
  const claims = { ...measurements, isv_ext_prod_id: of('isv_ext_prod_id'), config_id: of('config_id') };
  return { report_data: enclaveField(report, 'report_data'), measurements, claims, registers: null };
}
