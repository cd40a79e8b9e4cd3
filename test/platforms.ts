// Evidence of platforms that the simulator doesn't play, under mock roots, for tests of the verifier: SGX version 3 and TDX
// version 5 quotes under the simulator's stand-in for Intel, SEV-SNP reports under a stand-in for AMD that is made here. What
// is wrong with a piece of evidence is a setting, so that each negative differs from a positive in one thing.
import { createPublicKey, generateKeyPairSync, type KeyObject, constants as padding, sign } from 'node:crypto';
import { sha256 } from '@noble/hashes/sha2.js';
import type { AmdCollateral, Product, TcbVersion } from '../actors/amdchain.ts';
import { writePem } from '../actors/certificate.ts';
import type { Collateral } from '../actors/collateral.ts';
import { bits, boolean, element, explicit, integer, octets, oid, sequence, set, text, time } from '../actors/der.ts';
import { utf8 } from '../actors/encoding.ts';
import type { Evidence } from '../actors/evidence.ts';
import { little, type QuoteVersion, readQuote, signedPart, writeHeader, writeQuote } from '../actors/intelquote.ts';
import { type EnclaveField, writeEnclaveReport } from '../actors/sgx.ts';
import { canonicalSnpReport, type SnpField, writeSnpBody, writeSnpReport } from '../actors/snp.ts';
import { type ReportField, reportField, writeReport } from '../actors/tdx.ts';
import { type Pki, signRaw } from '../daemon/tee/pki.ts';
import { makeCollateral, makeQuote } from '../daemon/tee/tdx.ts';

const filled = (byte: number, bytes: number) => new Uint8Array(bytes).fill(byte);

/** An initialized 64-bit enclave of product 7, version 3. */
const ENCLAVE: Partial<Record<EnclaveField, Uint8Array>> = {
  attributes: Uint8Array.fromHex('0500000000000000e700000000000000'),
  mrenclave: filled(0xe1, 32),
  mrsigner: filled(0x51, 32),
  isv_prod_id: little(7, 2),
  isv_svn: little(3, 2),
};

export function makeSgxQuote(pki: Pki, fields: Partial<Record<EnclaveField, Uint8Array>>): Uint8Array {
  return requote(pki, 3, writeEnclaveReport({ ...ENCLAVE, ...fields }));
}

/** The simulator's workload in a quote of version 5; its report is one of TDX 1.5 where `fields` has one of its fields. */
export function makeTdx5Quote(pki: Pki, fields: Partial<Record<ReportField, Uint8Array>>): Uint8Array {
  const { report } = readQuote(makeQuote(pki, {}));
  const names = ['tee_tcb_svn', 'td_attributes', 'xfam', 'mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const;
  const workload = Object.fromEntries(names.map((name) => [name, reportField(report, name)]));
  return requote(pki, 5, writeReport({ ...workload, ...fields }));
}

/** Header and report of one's own in the rest of a simulated quote, signed by its attestation key. */
export function requote(pki: Pki, version: QuoteVersion, report: Uint8Array): Uint8Array {
  const quote = readQuote(makeQuote(pki, {}));
  const header = writeHeader(sha256(utf8('qe')).slice(0, 20), version);
  const signature = signRaw(pki.keys.attestation, signedPart({ header, report }));
  return writeQuote({ ...quote, header, report, signature });
}

type Document = Record<string, unknown>;

/** Collateral with other TCB information or another identity, signed anew. */
export function resign(
  pki: Pki,
  collateral: Collateral,
  change: { tcb_info?: (doc: Document) => Document; qe_identity?: (doc: Document) => Document },
): Collateral {
  const altered = { ...collateral };
  for (const field of ['tcb_info', 'qe_identity'] as const) {
    const alter = change[field];
    if (alter === undefined) continue;
    altered[field] = JSON.stringify(alter(JSON.parse(collateral[field])));
    altered[`${field}_signature`] = signRaw(pki.keys.tcb_signing, utf8(altered[field])).toHex();
  }
  return altered;
}

/** What Intel would serve for SGX on the simulator's platform. */
export function makeSgxCollateral(pki: Pki, next_update_ms: number): Collateral {
  return resign(pki, makeCollateral(pki, next_update_ms), {
    tcb_info: ({ tdxModule: _, tdxModuleIdentities: __, ...doc }) => ({ ...doc, id: 'SGX' }),
    qe_identity: (doc) => ({ ...doc, id: 'QE' }),
  });
}

// ---- AMD

const VALID_FROM_MS = Date.UTC(2020, 0, 1);
const VALID_TO_MS = Date.UTC(2045, 0, 1);
const SHA384 = sequence(oid('2.16.840.1.101.3.4.2.2'), element(0x05));
const PSS_SHA384 = sequence(
  oid('1.2.840.113549.1.1.10'),
  sequence(explicit(0, SHA384), explicit(1, sequence(oid('1.2.840.113549.1.1.8'), SHA384)), explicit(2, integer(48))),
);

/** One product's infrastructure. RSA keys of 4,096 bits take a second or two each to make. */
export interface AmdPki {
  readonly product: Product;
  readonly keys: { readonly ark: KeyObject; readonly ask: KeyObject; readonly chip: KeyObject };
  /** DER. */
  readonly ark: Uint8Array;
  readonly ask: Uint8Array;
}

export function makeAmdPki(product: Product = 'Milan', modulusLength = 4_096): AmdPki {
  const rsa = () => generateKeyPairSync('rsa', { modulusLength }).privateKey;
  const keys = { ark: rsa(), ask: rsa(), chip: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey };
  return amdOf(product, keys);
}

/** The same keys under the names of another product, or with other roles. */
export function amdOf(product: Product, keys: AmdPki['keys'], askName = `SEV-${product}`): AmdPki {
  const names = { ark: `ARK-${product}`, ask: askName };
  const ark = certify(keys.ark, names.ark, keys.ark, names.ark, { ca: true, serial: 0x10000 });
  const ask = certify(keys.ark, names.ark, keys.ask, names.ask, { ca: true, serial: 0x10001 });
  return { product, keys, ark, ask };
}

export const TCB: Required<TcbVersion> = { bootLoader: 4, tee: 1, snp: 24, microcode: 213, fmc: 2 };

export interface SnpSettings {
  /** Over those of a clean guest. */
  readonly fields?: Partial<Record<SnpField, Uint8Array>>;
  /** What the endorsement certificate says; what the report says where left out. */
  readonly endorsed?: Partial<TcbVersion>;
  readonly hardware_id?: Uint8Array | null;
  readonly leaf?: { readonly name?: string; readonly ca?: boolean; readonly valid_to_ms?: number };
  /** null: none. */
  readonly crl?: { readonly revoked?: readonly number[]; readonly from_ms?: number; readonly to_ms?: number } | null;
  /** Signs the list; the ARK where left out. */
  readonly crlKey?: KeyObject;
}

/** A report with its chain, valid at any time from 2020 to 2044. */
export function makeSnp(pki: AmdPki, settings: SnpSettings = {}): Evidence & { readonly collateral: AmdCollateral } {
  const turin = pki.product === 'Turin';
  const chip_id = settings.fields?.chip_id ?? paddedTo(64, filled(0xc4, turin ? 8 : 64));
  const body = writeSnpBody({
    version: little(3, 4),
    policy: little(0x30000, 8),
    signature_algorithm: little(1, 4),
    reported_tcb: tcbBytes(TCB, pki.product),
    cpuid_family: Uint8Array.of(turin ? 0x1a : 0x19),
    cpuid_model: Uint8Array.of(pki.product === 'Genoa' ? 0x11 : 1),
    report_id_ma: filled(0xff, 32),
    measurement: filled(0x3e, 48),
    host_data: filled(0x40, 32),
    ...settings.fields,
    chip_id,
  });
  const signature = new Uint8Array(sign('sha384', body, { key: pki.keys.chip, dsaEncoding: 'ieee-p1363' }));
  const hardware_id = settings.hardware_id === undefined ? chip_id.slice(0, turin ? 8 : 64) : settings.hardware_id;
  const leaf = certify(pki.keys.ask, commonNameOf(pki.ask), pki.keys.chip, settings.leaf?.name ?? 'SEV-VCEK', {
    ca: settings.leaf?.ca ?? false,
    serial: 0,
    ...(settings.leaf?.valid_to_ms !== undefined && { valid_to_ms: settings.leaf.valid_to_ms }),
    extensions: endorsement({ ...TCB, ...settings.endorsed }, turin, hardware_id),
  });
  const crl = settings.crl === null ? null : revocationList(pki, settings).toHex();
  return {
    quote_type: 'SEV-SNP',
    quote: canonicalSnpReport(writeSnpReport(body, signature)),
    event_log: null,
    collateral: { certificate_chain: writePem([leaf, pki.ask, pki.ark]), crl },
  };
}

/** TCB_VERSION as the firmware of a product writes it. */
export function tcbBytes(tcb: Required<TcbVersion>, product: Product): Uint8Array {
  const { fmc, bootLoader, tee, snp, microcode } = tcb;
  return product === 'Turin'
    ? Uint8Array.of(fmc, bootLoader, tee, snp, 0, 0, 0, microcode)
    : Uint8Array.of(bootLoader, tee, 0, 0, 0, 0, snp, microcode);
}

function paddedTo(length: number, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(length);
  out.set(bytes);
  return out;
}

const names = new WeakMap<Uint8Array, string>();
const commonNameOf = (der: Uint8Array) => names.get(der)!;

const nameOf = (commonName: string) =>
  sequence(
    set(sequence(oid('2.5.4.11'), text('Engineering'))),
    set(sequence(oid('2.5.4.10'), text('Aegis Tests, not AMD'))),
    set(sequence(oid('2.5.4.3'), text(commonName))),
  );

function certify(
  key: KeyObject,
  issuer: string,
  subjectKey: KeyObject,
  subject: string,
  settings: { ca: boolean; serial: number; valid_to_ms?: number; extensions?: readonly Uint8Array[] },
): Uint8Array {
  const { ca, serial, valid_to_ms = VALID_TO_MS, extensions = [] } = settings;
  const roles = [
    extension('2.5.29.15', element(0x03, Uint8Array.of(1, 0x06)), true),
    extension('2.5.29.19', sequence(boolean(true)), true),
  ];
  const der = signed(
    key,
    explicit(0, integer(2)),
    integer(serial),
    PSS_SHA384,
    nameOf(issuer),
    sequence(time(VALID_FROM_MS), time(valid_to_ms)),
    nameOf(subject),
    new Uint8Array(createPublicKey(subjectKey).export({ format: 'der', type: 'spki' })),
    explicit(3, sequence(...(ca ? roles : []), ...extensions, extension('1.3.6.1.4.1.3704.1.1', integer(1)))),
  );
  names.set(der, subject);
  return der;
}

function endorsement(tcb: Required<TcbVersion>, turin: boolean, hardware_id: Uint8Array | null): Uint8Array[] {
  const arc = (last: string, value: Uint8Array) => extension(`1.3.6.1.4.1.3704.1.${last}`, value);
  return [
    arc('3.1', integer(tcb.bootLoader)),
    arc('3.2', integer(tcb.tee)),
    arc('3.3', integer(tcb.snp)),
    arc('3.8', integer(tcb.microcode)),
    ...(turin ? [arc('3.9', integer(tcb.fmc))] : []),
    ...(hardware_id === null ? [] : [arc('4', hardware_id)]),
  ];
}

function revocationList(pki: AmdPki, { crl, crlKey = pki.keys.ark }: SnpSettings): Uint8Array {
  const { revoked = [], from_ms = VALID_FROM_MS, to_ms = VALID_TO_MS } = crl ?? {};
  const entries = revoked.map((serial) => sequence(integer(serial), time(VALID_FROM_MS)));
  return signed(
    crlKey,
    integer(1),
    PSS_SHA384,
    nameOf(commonNameOf(pki.ark)),
    time(from_ms),
    time(to_ms),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    explicit(0, sequence(extension('2.5.29.20', integer(1)))),
  );
}

function extension(name: string, value: Uint8Array, critical = false): Uint8Array {
  return sequence(oid(name), ...(critical ? [boolean(true)] : []), octets(value));
}

function signed(key: KeyObject, ...fields: readonly Uint8Array[]): Uint8Array {
  const tbs = sequence(...fields);
  const settings = { key, padding: padding.RSA_PKCS1_PSS_PADDING, saltLength: 48 };
  return sequence(tbs, PSS_SHA384, bits(new Uint8Array(sign('sha384', tbs, settings))));
}
