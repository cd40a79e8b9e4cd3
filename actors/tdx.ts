// The report of a TDX guest inside a quote: layout after "Intel TDX DCAP Quoting Library API" (A.3.2; A.4.2 for the two
// fields that TDX 1.5 adds at its end). intel.ts reads measurements with it, the simulator writes reports. The quote around
// it is intelquote.ts's.
import { TD_REPORT_10_BYTES, TD_REPORT_15_BYTES } from './intelquote.ts';
import { fieldIn, fillIn } from './layout.ts';

/** Offset and length inside the TD report (A.3.2). */
const REPORT = {
  tee_tcb_svn: [0, 16],
  mr_seam: [16, 48],
  mr_signer_seam: [64, 48],
  seam_attributes: [112, 8],
  td_attributes: [120, 8],
  xfam: [128, 8],
  mrtd: [136, 48],
  mr_config_id: [184, 48],
  mr_owner: [232, 48],
  mr_owner_config: [280, 48],
  rtmr0: [328, 48],
  rtmr1: [376, 48],
  rtmr2: [424, 48],
  rtmr3: [472, 48],
  report_data: [520, 64],
} as const;

/** TDX 1.5 alone. */
const REPORT_15 = { tee_tcb_svn_2: [584, 16], mr_service_td: [600, 48] } as const;

const FIELDS = { ...REPORT, ...REPORT_15 };

export type ReportField = keyof typeof FIELDS;

/** Empty where the report is too short to have the field. */
export function reportField(report: Uint8Array, field: ReportField): Uint8Array {
  return fieldIn(FIELDS, report, field);
}

/**
 * A report of TDX 1.0, or of 1.5 where one of its fields is given.
 *
 * @throws {RangeError} when a value has another length than its field; fields left out are zero
 */
export function writeReport(fields: Partial<Record<ReportField, Uint8Array>>): Uint8Array {
  const late = Object.keys(REPORT_15).some((field) => field in fields);
  return fillIn(FIELDS, new Uint8Array(late ? TD_REPORT_15_BYTES : TD_REPORT_10_BYTES), fields);
}
