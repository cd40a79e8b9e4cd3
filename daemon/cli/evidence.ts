// Reads one piece of evidence from files, for `aegisd verify-quote`: whatever form it was kept in, it is brought into the
// canonical one, which is as valid as before. Collateral comes from files, or from where a daemon would take its own. What is wrong with the evidence itself is for the verifier to say; only what
// can't be taken for evidence at all, or for collateral, is wrong use. Sizes are bounded.
import { readFileSync, statSync } from 'node:fs';
import { z } from 'zod';
import { AmdCollateral, arrangeAmdChain } from '../../actors/amdchain.ts';
import { readPem } from '../../actors/certificate.ts';
import { Collateral, canonicalCollateral } from '../../actors/collateral.ts';
import { fromBase64 } from '../../actors/encoding.ts';
import { canonicalEventLog } from '../../actors/eventlog.ts';
import type { Evidence, QuoteType } from '../../actors/evidence.ts';
import { canonicalQuote, versionOf } from '../../actors/intelquote.ts';
import { Attestation, readAttestation } from '../../actors/quote.ts';
import { canonicalSnpReport, SNP_REPORT_BYTES } from '../../actors/snp.ts';
import { readListFrame } from '../../actors/x509.ts';
import { fieldPath, parseStrict } from '../../client/json.ts';
import { collateralSource } from '../collateral.ts';
import { Fault } from '../fault.ts';
import { sizeOf, UsageError } from './file.ts';

/** An event log and collateral at their limits, in an answer of a guest agent. */
const FILE_BYTES_MAX = 8 * 1_048_576;

/** dstack's GetQuote, as the guest agent and its SDK answer; they give more. */
const GuestAnswer = z.object({ quote: z.string(), event_log: z.union([z.literal(''), z.string()]).default('') });

/** An attestation by itself, or a file that has one. */
const Bearer = z.object({ attestation: Attestation });

/** For all that a service answers. */
const SERVICE_TIMEOUT_MS = 10_000;

/**
 * @param collateral   files; or one folder, or the URL of one service, as `attestation.collateral_dir`, `pccs_url` and `kds_url` are
 * @throws {UsageError}
 */
export async function readEvidence(path: string, collateral: readonly string[]): Promise<Evidence> {
  const found = read(path, readBytes(path));
  const [first] = collateral;
  if (first === undefined) return found;
  if (collateral.length > 1 || !isSource(first)) {
    return { ...found, collateral: readCollateral(collateral, found.quote_type) };
  }
  return { ...found, collateral: await fromSource(first, found) };
}

const isUrl = (text: string): boolean => /^https?:\/\//.test(text);
const isSource = (text: string): boolean =>
  isUrl(text) || (statSync(text, { throwIfNoEntry: false })?.isDirectory() ?? false);

/** What the daemon would find there for a quote of its own. Which platform evidence is of, only what can be read says; the rest is refused for itself. */
async function fromSource(source: string, { quote_type, quote }: Evidence): Promise<Evidence['collateral']> {
  const canonical = quote_type === 'SEV-SNP' ? canonicalSnpReport : canonicalQuote;
  if (attempt(() => canonical(quote)) === null) return null;
  const [folder, url] = isUrl(source) ? ['', source] : [source, ''];
  if (url !== '' && !isService(url)) throw new UsageError(source, '', 'expected a URL without query or password');
  const options = { folder, cache: '', pccs_url: url, kds_url: url, timeout_ms: SERVICE_TIMEOUT_MS, now: Date.now };
  try {
    return await collateralSource(options)({ quote_type, quote, certificates: {} });
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new UsageError(source, '', String(error.detail.reason));
  }
}

function isService(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && url.search === '' && url.hash === '' && url.username === '' && url.password === '';
}

function read(path: string, bytes: Uint8Array): Evidence {
  const text = textOf(bytes);
  if (text === null) return bare(path, bytes, '');
  if (!text.startsWith('{')) return bare(path, decode(path, text), '');
  const parsed = parseStrict(text);
  if (!parsed.ok) throw new UsageError(path, parsed.field, parsed.message);
  for (const schema of [Bearer, Attestation.transform((attestation) => ({ attestation }))]) {
    const bearer = schema.safeParse(parsed.value);
    if (bearer.success) return readAttestation(bearer.data.attestation);
  }
  const answer = GuestAnswer.safeParse(parsed.value);
  if (answer.success) return bare(path, decode(path, answer.data.quote), answer.data.event_log);
  const issue = answer.error.issues[0]!;
  throw new UsageError(path, fieldPath(issue.path), 'expected an attestation, or an answer of GetQuote');
}

/** In canonical form where it has one; else as it is, for the verifier to refuse with its code. */
function bare(path: string, bytes: Uint8Array, event_log: string): Evidence {
  const quote_type = typeOf(bytes);
  if (quote_type === null) throw new UsageError(path, '', 'not a TDX or SGX quote, nor an SEV-SNP report');
  const canonical = quote_type === 'SEV-SNP' ? canonicalSnpReport : canonicalQuote;
  return {
    quote_type,
    quote: attempt(() => canonical(bytes)) ?? bytes,
    event_log: event_log === '' ? null : (attempt(() => canonicalEventLog(event_log)) ?? event_log),
    collateral: null,
  };
}

/** By version and size: an SNP report has its version in 4 bytes and one length. */
function typeOf(bytes: Uint8Array): QuoteType | null {
  if (bytes.length < 48) return null;
  const version = versionOf({ header: bytes });
  if (bytes.length === SNP_REPORT_BYTES && bytes[4] !== 0x81) return 'SEV-SNP';
  if (version === 3) return 'SGX';
  return version === 4 || version === 5 ? 'TDX' : null;
}

function decode(path: string, text: string): Uint8Array {
  const compact = text.replace(/\s+/g, '');
  const digits = /^(?:0x)?((?:[0-9a-fA-F]{2})+)$/.exec(compact)?.[1];
  const bytes = digits === undefined ? attempt(() => fromBase64(compact)) : Uint8Array.fromHex(digits);
  if (bytes === null) throw new UsageError(path, '', 'expected a quote as bytes, hex or base64');
  return bytes;
}

/** null when the bytes are no text: then they are the quote. */
function textOf(bytes: Uint8Array): string | null {
  const text = attempt(() => new TextDecoder('utf-8', { fatal: true }).decode(bytes))?.trim() ?? null;
  return text !== null && /^[\x20-\x7e\s]*$/.test(text.slice(0, 64)) && text !== '' ? text : null;
}

/** One JSON document; for SEV-SNP also certificates as PEM or DER in any order, and the list, in files of their own. */
function readCollateral(paths: readonly string[], quote_type: QuoteType): Collateral | AmdCollateral {
  const certificates: Uint8Array[] = [];
  let crl: Uint8Array | null = null;
  for (const path of paths) {
    const bytes = readBytes(path);
    const text = textOf(bytes);
    if (text?.startsWith('{')) return readDocument(path, text, quote_type);
    if (quote_type !== 'SEV-SNP') throw new UsageError(path, '', 'expected collateral as JSON');
    if (text?.includes('-----BEGIN')) certificates.push(...(attempt(() => readPem(text)) ?? []));
    else if (attempt(() => readListFrame(bytes)) !== null) crl = bytes;
    else certificates.push(bytes);
  }
  const arranged = attempt(() => arrangeAmdChain(certificates, crl));
  if (arranged !== null) return arranged;
  throw new UsageError(paths.join(', '), '', 'expected a VCEK or VLEK, its issuer and the root, as PEM or DER');
}

function readDocument(path: string, text: string, quote_type: QuoteType): Collateral | AmdCollateral {
  const parsed = parseStrict(text);
  if (!parsed.ok) throw new UsageError(path, parsed.field, parsed.message);
  // Libraries have the quote's own chain beside it, which says nothing new.
  const { pck_certificate_chain: _, ...fields } = Object(parsed.value) as Record<string, unknown>;
  const schema = quote_type === 'SEV-SNP' ? AmdCollateral : Collateral;
  const document = schema.safeParse(fields);
  if (!document.success) {
    const issue = document.error.issues[0]!;
    throw new UsageError(path, fieldPath(issue.path), issue.message);
  }
  const { data } = document;
  return 'certificate_chain' in data ? data : (attempt(() => canonicalCollateral(data)) ?? data);
}

function readBytes(path: string): Uint8Array {
  if (sizeOf(path) > FILE_BYTES_MAX) throw new UsageError(path, '', `too large: at most ${FILE_BYTES_MAX} bytes`);
  try {
    return new Uint8Array(readFileSync(path));
  } catch (error) {
    throw new UsageError(path, '', `can't be read (${(error as NodeJS.ErrnoException).code ?? 'unknown error'})`);
  }
}

function attempt<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    return null;
  }
}
