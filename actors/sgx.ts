// The report of an SGX enclave (Intel SDM vol. 3D, REPORT structure up to REPORTDATA): the body of an SGX quote, and in every
// quote of Intel's the report of the quoting enclave. intel.ts reads measurements with it; tests and the simulator write.
import { ENCLAVE_REPORT_BYTES } from './intelquote.ts';
import { fieldIn, fillIn } from './layout.ts';

/** Offset and length. Integers are little-endian. */
const FIELDS = {
  cpu_svn: [0, 16],
  misc_select: [16, 4],
  isv_ext_prod_id: [32, 16],
  attributes: [48, 16],
  mrenclave: [64, 32],
  mrsigner: [128, 32],
  config_id: [192, 64],
  isv_prod_id: [256, 2],
  isv_svn: [258, 2],
  config_svn: [260, 2],
  isv_family_id: [304, 16],
  report_data: [320, 64],
} as const;

export type EnclaveField = keyof typeof FIELDS;

export function enclaveField(report: Uint8Array, field: EnclaveField): Uint8Array {
  return fieldIn(FIELDS, report, field);
}

/** @throws {RangeError} when a value has another length than its field; fields left out are zero */
export function writeEnclaveReport(fields: Partial<Record<EnclaveField, Uint8Array>>): Uint8Array {
  return fillIn(FIELDS, new Uint8Array(ENCLAVE_REPORT_BYTES), fields);
}
