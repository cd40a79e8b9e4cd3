// Intel's collateral for a quote (DCAP "QuoteCollateralV3"): revocation lists, TCB information and the identity of the quoting
// enclave, each with the chain of its issuer. verification.ts calls this before @phala/dcap-qvl, which never looks at the CRL's
// issuer chain, signatures or dates, accepts empty lists, and links no names. Promises: after `checkCollateral` every byte of
// the nine strings is in its one spelling, and every certificate and list is signed, in date, by whom it should be, under
// one trusted root.
import { z } from 'zod';
import {
  type Certificate,
  canonicalChain,
  canonicalSigned,
  isIssuedBy,
  isSignedBy,
  lowS,
  mayIssue,
  type RevocationList,
  readChain,
  readPlatform,
  readRevocationList,
  requireLowS,
  writePem,
} from './certificate.ts';
import { Refused, refuse, requireInDate } from './check.ts';
import { equal } from './encoding.ts';

const Hex = z.string().regex(/^(?:[0-9a-f]{2})*$/, 'expected lower-case hex');
const RawSignature = Hex.length(128, 'expected 64 bytes in lower-case hex');
/** Real ones take 5 KB; a list of every revoked platform would still fit. */
const TEXT_MAX = 1_048_576;
const Chain = z.string().max(16_384);

/** Snake case and encodings as dcap-qvl has them; `pck_certificate_chain` is refused, since it would stand in for the quote's. */
export const Collateral = z
  .strictObject({
    pck_crl_issuer_chain: Chain,
    root_ca_crl: Hex.max(TEXT_MAX),
    pck_crl: Hex.max(TEXT_MAX),
    tcb_info_issuer_chain: Chain,
    tcb_info: z.string().max(TEXT_MAX),
    tcb_info_signature: RawSignature,
    qe_identity_issuer_chain: Chain,
    qe_identity: z.string().max(TEXT_MAX),
    qe_identity_signature: RawSignature,
  })
  .meta({ id: 'Collateral' });
export type Collateral = z.output<typeof Collateral>;

/** Intel dates: `2025-06-19T10:16:03Z`. */
const IntelDate = z.iso.datetime({ precision: 0 });
const Status = z.string().max(64);
const Level = z.object({
  tcb: z.object({ isvsvn: z.int().min(0) }),
  tcbStatus: Status,
  advisoryIDs: z.array(z.string()).default([]),
});
const Module = z.object({
  mrsigner: z.hex().length(96),
  attributes: z.hex().length(16),
  attributesMask: z.hex().length(16),
});

/** What we read of TCB information besides dcap-qvl (Intel PCS API v4, "TCB info"); other keys are signed as well. */
const TcbInfo = z.object({
  version: z.literal(3),
  issueDate: IntelDate,
  nextUpdate: IntelDate,
  pceId: z.hex().length(4),
  fmspc: z.hex().length(12),
});
const SgxTcbInfo = TcbInfo.extend({ id: z.literal('SGX') });
const TdxTcbInfo = TcbInfo.extend({
  id: z.literal('TDX'),
  tdxModule: Module,
  tdxModuleIdentities: z.array(Module.extend({ id: z.string(), tcbLevels: z.array(Level) })).default([]),
});
export type TdxTcbInfo = z.output<typeof TdxTcbInfo>;

const QeIdentity = z.object({ issueDate: IntelDate, nextUpdate: IntelDate });

/** Each TEE has TCB information and a quoting enclave of its own; one's would stand in for the other's. */
const DOCUMENTS = {
  TDX: { tcb_info: TdxTcbInfo, qe_identity: QeIdentity.extend({ id: z.literal('TD_QE') }) },
  SGX: { tcb_info: SgxTcbInfo, qe_identity: QeIdentity.extend({ id: z.literal('QE') }) },
} as const;

/**
 * How long a CRL counts after its `nextUpdate`. Intel issues the lists and the TCB information of one collateral up to an
 * hour apart, and it is one document with one freshness: that of its TCB information.
 */
const CRL_GRACE_MS = 3_600_000;

export interface Checked {
  readonly root: Uint8Array;
  readonly tcb_info: TdxTcbInfo | z.output<typeof SgxTcbInfo>;
  /** PPID of the platform, 16 bytes: equal for two quotes of one machine. */
  readonly ppid: Uint8Array;
  /** When the oldest of PCK list, TCB information and identity was issued; the root's list is issued once a year. */
  readonly issued_ms: number;
  /** The earliest end among certificates, lists, TCB information and identity. */
  readonly not_after_ms: number;
}

/**
 * @param pckChain  leaf, CA and root, as the quote carries them
 * @throws {Refused} naming the field
 */
export function checkCollateral(
  collateral: Collateral,
  pckChain: readonly Certificate[],
  { tee, isTrusted, now_ms }: { tee: 'TDX' | 'SGX'; isTrusted: (root: Uint8Array) => boolean; now_ms: number },
): Checked {
  const [pck, ca, root] = pckChain as [Certificate, Certificate, Certificate];
  if (!isTrusted(root.der)) {
    throw new Refused('root_untrusted', `no trusted root is at the end of the PCK chain (${root.commonName})`);
  }
  for (const field of ['tcb_info_signature', 'qe_identity_signature'] as const) {
    refuse('collateral_malformed', field, () => requireLowS(Uint8Array.fromHex(collateral[field])));
  }
  const crlIssuer = chainOf(collateral, 'pck_crl_issuer_chain', root);
  const tcbSigner = chainOf(collateral, 'tcb_info_issuer_chain', root);
  const qeSigner = chainOf(collateral, 'qe_identity_issuer_chain', root);
  requireRole(pck, 'PCK Certificate', 'the PCK chain of the quote');
  requireRole(ca, 'PCK Platform CA', 'the PCK chain of the quote', 'PCK Processor CA');
  requireRole(tcbSigner, 'TCB Signing', 'tcb_info_issuer_chain');
  requireRole(qeSigner, 'TCB Signing', 'qe_identity_issuer_chain');
  // Intel renews a CA's certificate under the same key, so the list's issuer must be the same CA, not the same bytes.
  if (!equal(crlIssuer.subject, ca.subject) || !equal(crlIssuer.publicKey, ca.publicKey)) {
    throw new Refused(
      'crl_invalid',
      `pck_crl_issuer_chain: ${crlIssuer.commonName} did not issue this PCK certificate`,
    );
  }
  const intermediates = [ca, crlIssuer, tcbSigner, qeSigner];
  for (const certificate of intermediates) requireIssued(certificate, root);
  requireIssued(pck, ca);
  for (const certificate of [root, pck, ...intermediates]) requireInDate(certificate, now_ms);

  const rootCrl = listOf(collateral, 'root_ca_crl', root, now_ms);
  const pckCrl = listOf(collateral, 'pck_crl', crlIssuer, now_ms);
  for (const certificate of [root, ...intermediates]) requireUnrevoked(certificate, rootCrl);
  requireUnrevoked(pck, pckCrl);

  const tcb_info = documentOf(collateral, 'tcb_info', DOCUMENTS[tee].tcb_info);
  const qe_identity = documentOf(collateral, 'qe_identity', DOCUMENTS[tee].qe_identity);
  const { ppid, pce_id, fmspc } = platformOf(pck);
  if (tcb_info.pceId.toLowerCase() !== pce_id.toHex() || tcb_info.fmspc.toLowerCase() !== fmspc.toHex()) {
    throw new Refused('platform_mismatch', 'tcb_info is for another FMSPC or PCE than the PCK certificate');
  }
  return {
    root: root.der,
    tcb_info,
    ppid,
    issued_ms: Math.min(pckCrl.this_update_ms, Date.parse(tcb_info.issueDate), Date.parse(qe_identity.issueDate)),
    not_after_ms: Math.min(
      ...[root, pck, ...intermediates].map((certificate) => certificate.not_after_ms),
      ...[rootCrl, pckCrl].map((list) => list.next_update_ms + CRL_GRACE_MS),
      Date.parse(tcb_info.nextUpdate),
      Date.parse(qe_identity.nextUpdate),
    ),
  };
}

/**
 * Collateral as a PCCS gives it, in its one publishable form: canonical PEM, lower-case hex, ECDSA signatures with low s.
 *
 * @throws {SyntaxError} on what is no certificate, CRL or signature
 */
export function canonicalCollateral(raw: Collateral): Collateral {
  const chain = (text: string) => writePem(canonicalChain(text));
  const list = (text: string) => canonicalSigned(Uint8Array.fromHex(text)).toHex();
  const signature = (text: string) => lowS(Uint8Array.fromHex(text)).toHex();
  return {
    pck_crl_issuer_chain: chain(raw.pck_crl_issuer_chain),
    root_ca_crl: list(raw.root_ca_crl),
    pck_crl: list(raw.pck_crl),
    tcb_info_issuer_chain: chain(raw.tcb_info_issuer_chain),
    tcb_info: raw.tcb_info,
    tcb_info_signature: signature(raw.tcb_info_signature),
    qe_identity_issuer_chain: chain(raw.qe_identity_issuer_chain),
    qe_identity: raw.qe_identity,
    qe_identity_signature: signature(raw.qe_identity_signature),
  };
}

/** The issuer at the head of a chain of two that ends in `root`. */
function chainOf(
  collateral: Collateral,
  field: 'pck_crl_issuer_chain' | 'tcb_info_issuer_chain' | 'qe_identity_issuer_chain',
  root: Certificate,
): Certificate {
  const [issuer, end] = refuse('chain_malformed', field, () => readChain(collateral[field], 2));
  if (!equal(end!.der, root.der))
    throw new Refused('root_untrusted', `${field}: ends in ${end!.commonName}, not in our root`);
  return issuer!;
}

/** Every certificate under one root could sign anything for dcap-qvl: the name says what each is for. */
function requireRole(certificate: Certificate, role: string, where: string, alternative = role): void {
  const name = certificate.commonName;
  if (!name.includes(role) && !name.includes(alternative)) {
    throw new Refused('chain_invalid', `${where}: ${name} where ${role} belongs`);
  }
  const ca = role.endsWith(' CA');
  if (ca !== certificate.ca || (ca && !mayIssue(certificate))) {
    throw new Refused('chain_invalid', `${where}: ${name} is ${ca ? 'no' : 'a'} certificate authority`);
  }
}

function requireIssued(certificate: Certificate, issuer: Certificate): void {
  if (!isIssuedBy(certificate, issuer)) {
    throw new Refused('chain_invalid', `${certificate.commonName} was not issued by ${issuer.commonName}`);
  }
}

function listOf(
  collateral: Collateral,
  field: 'root_ca_crl' | 'pck_crl',
  issuer: Certificate,
  now_ms: number,
): RevocationList {
  if (collateral[field] === '') throw new Refused('crl_missing', `${field} is empty`);
  const list = refuse('crl_malformed', field, () => readRevocationList(Uint8Array.fromHex(collateral[field])));
  if (!equal(list.issuer, issuer.subject) || !isSignedBy(list, issuer.publicKey)) {
    throw new Refused('crl_invalid', `${field} was not signed by ${issuer.commonName}`);
  }
  if (now_ms < list.this_update_ms || now_ms > list.next_update_ms + CRL_GRACE_MS) {
    throw new Refused('crl_expired', `${field} is not valid at ${new Date(now_ms).toISOString()}`);
  }
  return list;
}

function requireUnrevoked(certificate: Certificate, list: RevocationList): void {
  if (list.revoked.has(certificate.serial)) {
    throw new Refused('certificate_revoked', `${certificate.commonName} (serial ${certificate.serial}) is revoked`);
  }
}

/** The text isn't believed before dcap-qvl has checked its signature; here it must only be of the right shape. */
function documentOf<T extends z.ZodType>(
  collateral: Collateral,
  field: 'tcb_info' | 'qe_identity',
  schema: T,
): z.output<T> {
  const parsed = schema.safeParse(refuse('collateral_malformed', field, () => JSON.parse(collateral[field])));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new Refused('collateral_malformed', `${field}.${issue?.path.join('.')}: ${issue?.message}`);
}

function platformOf(pck: Certificate) {
  return refuse('chain_malformed', 'PCK certificate', () => readPlatform(pck));
}
