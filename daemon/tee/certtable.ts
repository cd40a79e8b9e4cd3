// The certificate table that a host puts beside an SEV-SNP report (GHCB standardization 2.03 §4.1.8.1): entries of GUID,
// offset and length, an entry of zeros at the end, then the certificates. Nothing in it is signed and the host chooses every
// byte, so it is read with bounds, and the chain is judged by whoever verifies the report. Called by tsm.ts.
import { concat } from '../../actors/encoding.ts';
import type { CertificateTable } from './provider.ts';

const GUIDS = {
  vcek: '63da758de6644564adc5f4b93be8accd',
  vlek: 'a8074bc2a25a483eaae639c045a0b8a1',
  ask: '4ab7b379bbac4fe4a02f05aef327c782',
  ark: 'c0b406a4a803495297433fb6014cd0ae',
} as const;

const GUID_BYTES = 16;
const ENTRY_BYTES = GUID_BYTES + 4 + 4;
/** Four are known; hosts add revocation lists. */
const ENTRIES_MAX = 32;
/** RSA-4096 certificates take 1.7 KB. */
const CERTIFICATE_BYTES_MAX = 4_096;

/**
 * @param table  empty where the host gives none
 * @returns      DER by name; entries with other GUIDs are left out
 * @throws {SyntaxError}
 */
export function readCertificateTable(table: Uint8Array): CertificateTable {
  const found: { -readonly [name in keyof CertificateTable]: CertificateTable[name] } = {};
  if (table.length === 0) return found;
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  for (let entry = 0; entry < ENTRIES_MAX; entry++) {
    const at = entry * ENTRY_BYTES;
    if (at + ENTRY_BYTES > table.length) throw new SyntaxError('certificate table without an end');
    const guid = table.subarray(at, at + GUID_BYTES);
    if (guid.every((byte) => byte === 0)) return found;
    const name = nameOf(guid);
    if (name === undefined) continue;
    if (found[name] !== undefined) throw new SyntaxError(`certificate table with two entries ${name}`);
    const offset = view.getUint32(at + GUID_BYTES, true);
    const length = view.getUint32(at + GUID_BYTES + 4, true);
    if (length > CERTIFICATE_BYTES_MAX) throw new SyntaxError(`${name} of ${length} bytes`);
    if (offset + length > table.length) throw new SyntaxError(`${name} ends beyond the certificate table`);
    found[name] = table.slice(offset, offset + length);
  }
  throw new SyntaxError(`certificate table of more than ${ENTRIES_MAX} entries`);
}

/** Hosts write the GUID as its text reads or with its first three fields swapped, as Windows keeps one. */
function nameOf(guid: Uint8Array): keyof CertificateTable | undefined {
  const back = (from: number, to: number) => guid.slice(from, to).reverse();
  const spellings = [guid.toHex(), concat(back(0, 4), back(4, 6), back(6, 8), guid.subarray(8)).toHex()];
  return (Object.keys(GUIDS) as (keyof typeof GUIDS)[]).find((name) => spellings.includes(GUIDS[name]));
}
