// Fields of fixed places in the reports of hardware: tdx.ts, sgx.ts and snp.ts say where each is, and read and write by it.

/** Offset and length by name. */
export type Layout = Readonly<Record<string, readonly [offset: number, length: number]>>;

/** A copy; empty where the report is too short to have the field. */
export function fieldIn<L extends Layout>(layout: L, report: Uint8Array, field: keyof L): Uint8Array {
  const [offset, length] = layout[field]!;
  return report.slice(offset, offset + length);
}

/** @returns `report` with the fields in their places. @throws {RangeError} when a value has another length than its field */
export function fillIn<L extends Layout>(
  layout: L,
  report: Uint8Array,
  fields: Readonly<Partial<Record<keyof L, Uint8Array>>>,
): Uint8Array {
  for (const [field, value] of Object.entries(fields) as [string, Uint8Array][]) {
    const [offset, length] = layout[field]!;
    if (value.length !== length) throw new RangeError(`${field} takes ${length} bytes, not ${value.length}`);
    report.set(value, offset);
  }
  return report;
}
