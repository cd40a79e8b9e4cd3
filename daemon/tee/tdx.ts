// What the simulator says as a TDX platform: quotes of a simulated workload, and the collateral by which they verify
// (Intel PCS API v4: TDX TCB info v3, TD_QE identity v2). Called by simulator.ts and by tests that need a platform with
// something wrong. The workload's measurements are hashes of fixed labels: the same in every simulator, and nobody's.
import { sha256, sha384 } from '@noble/hashes/sha2.js';
import { writePckChain, writePem } from '../../actors/certificate.ts';
import type { Collateral } from '../../actors/collateral.ts';
import { concat, utf8 } from '../../actors/encoding.ts';
import { AUTH_DATA_BYTES, little, writeHeader, writeQuote } from '../../actors/intelquote.ts';
import { type ReportField, writeReport } from '../../actors/tdx.ts';
import { ORGANIZATION, type Pki, PLATFORM, publicPoint, revocationList, signRaw, VALID_FROM_MS } from './pki.ts';

const label = (name: string) => utf8(`${ORGANIZATION}: ${name}`);
const measured = (name: string) => sha384(label(name));

/** TD report of the simulated workload: debug off, SEPT_VE_DISABLE on, XFAM of an AVX-512 and AMX guest. */
const WORKLOAD: Partial<Record<ReportField, Uint8Array>> = {
  tee_tcb_svn: Uint8Array.of(6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  mr_seam: measured('mr_seam'),
  td_attributes: Uint8Array.fromHex('0000001000000000'),
  xfam: Uint8Array.fromHex('e702060000000000'),
  mrtd: measured('mrtd'),
  rtmr0: measured('rtmr0'),
  rtmr1: measured('rtmr1'),
  rtmr2: measured('rtmr2'),
  rtmr3: measured('rtmr3'),
};

/**
 * What differs in the report of another image, which loads nothing at run time, so that an order can name it by its registers; the one
 * without a name is the workload itself.
 */
export const imageFields = (image: string): Partial<Record<ReportField, Uint8Array>> =>
  image === '' ? {} : { mrtd: measured(`mrtd of ${image}`), rtmr3: new Uint8Array(48) };

const QE = {
  mr_enclave: sha256(label('qe mrenclave')),
  mr_signer: sha256(label('qe mrsigner')),
  /** INIT, MODE64, PROVISIONKEY, and the XFRM beside; the identity's mask leaves MODE64 out, as Intel's does. */
  attributes: '1500000000000000e700000000000000',
  isv_prod_id: 2,
  isv_svn: 4,
} as const;

/** A quote over the workload, with `fields` in place of its own. */
export function makeQuote(pki: Pki, fields: Partial<Record<ReportField, Uint8Array>>): Uint8Array {
  const header = writeHeader(sha256(label('qe id')).slice(0, 20));
  const report = writeReport({ ...WORKLOAD, ...fields });
  const attestation_key = publicPoint(pki.keys.attestation);
  const auth_data = Uint8Array.from({ length: AUTH_DATA_BYTES }, (_, i) => i);
  const qe_report = qeReport(sha256(concat(attestation_key, auth_data)));
  const { pck, platform_ca, root } = pki.certificates;
  return writeQuote({
    header,
    report,
    signature: signRaw(pki.keys.attestation, concat(header, report)),
    attestation_key,
    qe_report,
    qe_signature: signRaw(pki.keys.pck, qe_report),
    auth_data,
    pck_chain: writePckChain([pck, platform_ca, root]),
  });
}

/** Everything that Intel would serve for this platform, valid until `next_update_ms`. */
export function makeCollateral(pki: Pki, next_update_ms: number): Collateral {
  const { root, platform_ca, tcb_signing } = pki.certificates;
  const tcb_info = JSON.stringify(tcbInfo(next_update_ms));
  const qe_identity = JSON.stringify(qeIdentity(next_update_ms));
  const signer = writePem([tcb_signing, root]);
  return {
    pck_crl_issuer_chain: writePem([platform_ca, root]),
    root_ca_crl: revocationList(pki, 'root', next_update_ms).toHex(),
    pck_crl: revocationList(pki, 'platform_ca', next_update_ms).toHex(),
    tcb_info_issuer_chain: signer,
    tcb_info,
    tcb_info_signature: signRaw(pki.keys.tcb_signing, utf8(tcb_info)).toHex(),
    qe_identity_issuer_chain: signer,
    qe_identity,
    qe_identity_signature: signRaw(pki.keys.tcb_signing, utf8(qe_identity)).toHex(),
  };
}

/** SGX report body, 384 bytes (Intel SDM vol. 3D, REPORT structure up to REPORTDATA). */
function qeReport(binding: Uint8Array): Uint8Array {
  const report = concat(
    PLATFORM.cpu_svn,
    new Uint8Array(4 + 28),
    Uint8Array.fromHex(QE.attributes),
    QE.mr_enclave,
    new Uint8Array(32),
    QE.mr_signer,
    new Uint8Array(96),
    little(QE.isv_prod_id, 2),
    little(QE.isv_svn, 2),
    new Uint8Array(60),
    binding,
    new Uint8Array(32),
  );
  return report;
}

const intelDate = (time_ms: number) => new Date(time_ms).toISOString().replace('.000', '');
const upperHex = (bytes: Uint8Array) => bytes.toHex().toUpperCase();
const ZERO_MODULE = { mrsigner: '0'.repeat(96), attributes: '0'.repeat(16), attributesMask: 'F'.repeat(16) };
const TCB_DATE = { tcbDate: intelDate(VALID_FROM_MS) };

function tcbInfo(next_update_ms: number) {
  const components = (svns: readonly number[]) => Array.from({ length: 16 }, (_, i) => ({ svn: svns[i] ?? 0 }));
  const level = (sgx: readonly number[], pcesvn: number, tdx: readonly number[], tcbStatus: string) => ({
    tcb: { sgxtcbcomponents: components(sgx), pcesvn, tdxtcbcomponents: components(tdx) },
    ...TCB_DATE,
    tcbStatus,
  });
  return {
    id: 'TDX',
    version: 3,
    issueDate: intelDate(VALID_FROM_MS),
    nextUpdate: intelDate(next_update_ms),
    fmspc: upperHex(PLATFORM.fmspc),
    pceId: upperHex(PLATFORM.pce_id),
    tcbType: 0,
    tcbEvaluationDataNumber: 1,
    tdxModule: ZERO_MODULE,
    tdxModuleIdentities: [
      {
        id: 'TDX_01',
        ...ZERO_MODULE,
        tcbLevels: [
          { tcb: { isvsvn: 4 }, ...TCB_DATE, tcbStatus: 'UpToDate' },
          { tcb: { isvsvn: 2 }, ...TCB_DATE, tcbStatus: 'OutOfDate' },
        ],
      },
    ],
    tcbLevels: [level([...PLATFORM.cpu_svn], PLATFORM.pce_svn, [0, 0, 2], 'UpToDate'), level([], 5, [], 'OutOfDate')],
  };
}

function qeIdentity(next_update_ms: number) {
  return {
    id: 'TD_QE',
    version: 2,
    issueDate: intelDate(VALID_FROM_MS),
    nextUpdate: intelDate(next_update_ms),
    tcbEvaluationDataNumber: 1,
    miscselect: '00000000',
    miscselectMask: 'FFFFFFFF',
    attributes: '11000000000000000000000000000000',
    attributesMask: 'FBFFFFFFFFFFFFFF0000000000000000',
    mrsigner: upperHex(QE.mr_signer),
    isvprodid: QE.isv_prod_id,
    tcbLevels: [{ tcb: { isvsvn: QE.isv_svn }, ...TCB_DATE, tcbStatus: 'UpToDate' }],
  };
}
