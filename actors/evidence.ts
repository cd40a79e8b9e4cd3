// Hardware evidence (DESIGN §6): what it consists of, what a policy asks of it, what came of verifying it, and the roots of the makers.
// verification.ts verifies it; here is what everybody needs who only handles it.
import { sha256 } from '@noble/hashes/sha2.js';
import type { AmdCollateral, Product } from './amdchain.ts';
import type { EvidenceCode } from './check.ts';
import type { Collateral } from './collateral.ts';
import { equal } from './encoding.ts';

export const QUOTE_TYPES = ['TDX', 'SEV-SNP', 'SGX'] as const;
export type QuoteType = (typeof QUOTE_TYPES)[number];

/** The status of an SEV-SNP report, whatever its versions: there is nobody to rate them. */
export const UNRATED = 'Unrated';

export interface Evidence {
  readonly quote_type: QuoteType;
  /** Canonical: `canonicalQuote` (intelquote.ts), `canonicalSnpReport` (snp.ts). */
  readonly quote: Uint8Array;
  /** Canonical (eventlog.ts); null where the platform keeps none. */
  readonly event_log: string | null;
  /** Intel's for TDX and SGX, AMD's for SEV-SNP. */
  readonly collateral: Collateral | AmdCollateral | null;
}

/** TDX: build-time measurement of the guest and its four run-time registers, 48 bytes each in 0x-hex. */
export interface TdxMeasurements {
  readonly mrtd: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
}

/** SGX: the enclave and who signed it, 32 bytes each in 0x-hex, with the signer's numbers for product and version. */
export interface SgxMeasurements {
  readonly mrenclave: string;
  readonly mrsigner: string;
  readonly isv_prod_id: number;
  readonly isv_svn: number;
}

/** SEV-SNP: launch measurement (48 bytes), what the host said of it (32), and what its id block says. */
export interface SnpMeasurements {
  readonly measurement: string;
  readonly host_data: string;
  readonly family_id: string;
  readonly image_id: string;
  readonly guest_svn: number;
}

export type Measurements = TdxMeasurements | SgxMeasurements | SnpMeasurements;

/** Everything that a policy can name of an enclave, by name: the measurements and more. */
export type Claims = Readonly<Record<string, string | number>>;

/** What an enclave must be: each name is a claim, or a claim that is a number with `_min` behind it. */
export type AllowedEnclave = Readonly<Record<string, string | number>>;

export interface EvidencePolicy {
  /** DER of the root certificates to trust, or their SHA-256 (32 bytes). */
  readonly roots: readonly Uint8Array[];
  readonly now_ms: number;
  /** TCB statuses to accept: `UpToDate` at least. */
  readonly tcb_statuses: readonly string[];
  /** Any where left out. */
  readonly quote_types?: readonly QuoteType[];
  /** Security advisories to accept, by id; any where left out. */
  readonly advisories?: readonly string[];
  /** How old the oldest part of the collateral may be. */
  readonly collateral_age_max_ms?: number;
  /** Whether a report needs AMD's revocation list; `required` where left out. */
  readonly amd_crl?: 'required' | 'if_present';
  /** The least firmware versions by AMD's product. */
  readonly snp_tcb_min?: Readonly<Partial<Record<Product, SnpTcb>>>;
  /** 64 bytes; any where left out. */
  readonly report_data?: Uint8Array;
  /** One entry must agree in all that it names; any where left out. An empty entry agrees with nothing. */
  readonly measurements?: readonly AllowedEnclave[];
  readonly event_log?: 'required' | 'if_present';
  /** Each must be in the log once, before `system-ready`, with this payload (0x-hex) where one is given. */
  readonly events?: readonly { readonly event: string; readonly payload?: string }[];
  /** dstack app ids, 0x-hex; needs an event log, as do the two below. */
  readonly app_ids?: readonly string[];
  /** sha256 of allowed compose files, 0x-hex. */
  readonly compose_hashes?: readonly string[];
  /** Public keys of the KMS that may hold the keys, 0x-hex, as dstack measures them. */
  readonly kms_roots?: readonly string[];
}

/** Parts of AMD's TCB version. */
export interface SnpTcb {
  readonly boot_loader?: number;
  readonly tee?: number;
  readonly snp?: number;
  readonly microcode?: number;
  /** From Turin on. */
  readonly fmc?: number;
}

/** What a platform's judge finds, before the policy's content is asked for. */
export interface Genuine {
  readonly status: string;
  /** Whether the vendor says how good these versions are. */
  readonly rated: boolean;
  readonly advisory_ids: string[];
  readonly report_data: Uint8Array;
  readonly measurements: Measurements;
  readonly claims: Claims;
  /** RTMR0-3, where there are any. */
  readonly registers: readonly Uint8Array[] | null;
  readonly root: Uint8Array;
  readonly platform_id: string;
  readonly issued_ms: number | null;
  readonly not_after_ms: number;
}

export interface VerifiedEvidence {
  readonly ok: true;
  readonly status: string;
  readonly advisory_ids: string[];
  /** 64 bytes. */
  readonly report_data: Uint8Array;
  readonly measurements: Measurements;
  readonly claims: Claims;
  /** 0x-hex, from the event log; null without one. */
  readonly compose_hash: string | null;
  /** 0x-hex of the root certificate's SHA-256. */
  readonly root_sha256: string;
  /** The root isn't Intel's or AMD's. */
  readonly simulated: boolean;
  /** 0x-hex PPID or chip id: two quotes with the same one come from one machine. */
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

/** SHA-256 of AMD's root keys ARK-Milan, ARK-Genoa and ARK-Turin (DER), as the KDS serves them. */
export const AMD_ROOTS_SHA256: readonly Uint8Array[] = [
  '69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd',
  '4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1',
  '1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a',
].map((digest) => Uint8Array.fromHex(digest));

/** What a policy trusts where it names no roots: makers of hardware. */
export const HARDWARE_ROOTS: readonly Uint8Array[] = [INTEL_ROOT_DER, ...AMD_ROOTS_SHA256];

export function isHardwareRoot(root: Uint8Array): boolean {
  return isAmong(root, HARDWARE_ROOTS);
}

/** @param roots  DER, or SHA-256 of it */
export function isAmong(root: Uint8Array, roots: readonly Uint8Array[]): boolean {
  const digest = sha256(root);
  return roots.some((trusted) => equal(trusted, trusted.length === digest.length ? digest : root));
}
