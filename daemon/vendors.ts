// What makers of hardware serve about their platforms: Intel's collateral from a PCCS or from Intel itself (PCS API v4), AMD's
// certificates and revocation list from its KDS (57230 §4). collateral.ts asks; nothing that comes is believed here, it is
// only brought into canonical form, for the verifier to judge. Promises: each answer has a deadline and a bound on its size,
// no redirect is followed, and the list is that of the authority which issued the certificate in the quote.
import { type AmdCollateral, arrangeAmdChain, type Product } from '../actors/amdchain.ts';
import { readPckChain, readPem, readPlatform } from '../actors/certificate.ts';
import { type Collateral, canonicalCollateral } from '../actors/collateral.ts';
import { readQuote } from '../actors/intelquote.ts';
import { snpField } from '../actors/snp.ts';
import type { CertificateTable } from './tee/provider.ts';

export interface VendorOptions {
  /** Of a PCCS, or `https://api.trustedservices.intel.com`; without a path. */
  readonly pccs_url: string;
  /** `https://kdsintf.amd.com`, or a cache of it. */
  readonly kds_url: string;
  /** For all the answers that make one collateral. */
  readonly timeout_ms: number;
}

/** TCB information of one platform takes 10 KB; lists grow, but not beyond what the verifier reads. */
const ANSWER_BYTES_MAX = 524_288;
/** Intel serves the root's list in another place than a PCCS. */
const INTEL_HOST = 'api.trustedservices.intel.com';
const INTEL_ROOT_CRL = 'https://certificates.trustedservices.intel.com/IntelSGXRootCA.der';

/** Which collateral a quote of Intel's needs. */
export interface IntelPlatform {
  readonly tee: 'tdx' | 'sgx';
  /** Lower-case hex. */
  readonly fmspc: string;
  /** Who issued the PCK certificate; its list is the one that can name it. */
  readonly ca: 'platform' | 'processor';
}

/** @throws {SyntaxError} or a Refused, on a quote that is none */
export function intelPlatform(quote_type: 'TDX' | 'SGX', quote: Uint8Array): IntelPlatform {
  const [pck, ca] = readPckChain(readQuote(quote).pck_chain);
  const authority = /PCK (Platform|Processor) CA/.exec(ca!.commonName)?.[1];
  if (authority === undefined) throw new SyntaxError(`the PCK certificate was issued by ${ca!.commonName}`);
  return {
    tee: quote_type === 'TDX' ? 'tdx' : 'sgx',
    fmspc: readPlatform(pck!).fmspc.toHex(),
    ca: authority === 'Platform' ? 'platform' : 'processor',
  };
}

/** @throws {Error} that says which address answered what */
export async function fetchIntel({ tee, fmspc, ca }: IntelPlatform, options: VendorOptions): Promise<Collateral> {
  const get = getter(options.timeout_ms);
  const at = (kind: string, path: string) => new URL(`${kind}/certification/v4/${path}`, slashed(options.pccs_url));
  const rootUrl = new URL(options.pccs_url).host === INTEL_HOST ? new URL(INTEL_ROOT_CRL) : at('sgx', 'rootcacrl');
  const [pckCrl, rootCrl, tcb, identity] = await Promise.all([
    get(at('sgx', `pckcrl?ca=${ca}&encoding=der`)),
    get(rootUrl),
    get(at(tee, `tcb?fmspc=${fmspc}`)),
    get(at(tee, 'qe/identity?update=standard')),
  ]);
  const info = signedDocument(tcb, 'tcbInfo');
  const enclave = signedDocument(identity, 'enclaveIdentity');
  return canonicalCollateral({
    pck_crl_issuer_chain: chainOf(pckCrl, 'SGX-PCK-CRL-Issuer-Chain'),
    root_ca_crl: derOf(rootCrl.body).toHex(),
    pck_crl: derOf(pckCrl.body).toHex(),
    tcb_info_issuer_chain: chainOf(tcb, 'TCB-Info-Issuer-Chain', 'SGX-TCB-Info-Issuer-Chain'),
    tcb_info: info.text,
    tcb_info_signature: info.signature,
    qe_identity_issuer_chain: chainOf(identity, 'SGX-Enclave-Identity-Issuer-Chain'),
    qe_identity: enclave.text,
    qe_identity_signature: enclave.signature,
  });
}

/**
 * The certificates for a report, as far as the host hasn't given them, and the list.
 *
 * @throws {Error} that says which address answered what
 */
export async function fetchAmd(
  product: Product,
  report: Uint8Array,
  given: CertificateTable,
  options: VendorOptions,
): Promise<AmdCollateral> {
  const get = getter(options.timeout_ms);
  const kind = given.vlek === undefined ? 'vcek' : 'vlek';
  const at = (path: string) => new URL(`${kind}/v1/${product}/${path}`, slashed(options.kds_url));
  const leaf = given.vlek ?? given.vcek;
  const [own, chain, crl] = await Promise.all([
    leaf ?? get(at(chipPath(product, report))).then(({ body }) => body),
    given.ask !== undefined && given.ark !== undefined
      ? [given.ask, given.ark]
      : get(at('cert_chain')).then(({ body }) => readPem(new TextDecoder().decode(body))),
    get(at('crl')).then(({ body }) => body),
  ]);
  return arrangeAmdChain([own, ...chain], crl);
}

/** 57230 §4.1: hardware id and the security versions that the certificate must stand for. */
function chipPath(product: Product, report: Uint8Array): string {
  const tcb = snpField(report, 'reported_tcb');
  const turin = product === 'Turin';
  const id = snpField(report, 'chip_id')
    .slice(0, turin ? 8 : 64)
    .toHex();
  const places = turin
    ? { fmcSPL: 0, blSPL: 1, teeSPL: 2, snpSPL: 3, ucodeSPL: 7 }
    : { blSPL: 0, teeSPL: 1, snpSPL: 6, ucodeSPL: 7 };
  const query = Object.entries(places).map(([name, index]) => `${name}=${String(tcb[index]).padStart(2, '0')}`);
  return `${id}?${query.join('&')}`;
}

interface Answer {
  readonly url: URL;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** One deadline for everything that is asked. */
function getter(timeout_ms: number): (url: URL) => Promise<Answer> {
  const signal = AbortSignal.timeout(timeout_ms);
  return async (url) => {
    try {
      // A redirect could lead into the operator's own network.
      const response = await fetch(url, { signal, redirect: 'error' });
      if (!response.ok) {
        await response.body?.cancel();
        throw new Error(`answered ${response.status}`);
      }
      return { url, headers: response.headers, body: await readBody(response) };
    } catch (cause) {
      throw new Error(`${url.origin}${url.pathname}: ${reasonOf(cause, timeout_ms)}`, { cause });
    }
  };
}

async function readBody(response: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    // Leaving the loop cancels what is still to come.
    if (length > ANSWER_BYTES_MAX) throw new Error(`answered more than ${ANSWER_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
}

function reasonOf(cause: unknown, timeout_ms: number): string {
  if (!(cause instanceof Error)) return 'failed';
  if (cause.name === 'TimeoutError') return `no answer in ${timeout_ms} ms`;
  const inner = cause.cause as NodeJS.ErrnoException | undefined;
  return inner?.code ?? inner?.message ?? cause.message;
}

const slashed = (url: string) => (url.endsWith('/') ? url : `${url}/`);

/** PEM, percent-encoded for the header. */
function chainOf({ url, headers }: Answer, ...names: readonly string[]): string {
  const value = names.map((name) => headers.get(name)).find((found) => found !== null);
  if (value == null) throw new Error(`${url.origin}${url.pathname}: no header ${names[0]}`);
  try {
    return decodeURIComponent(value);
  } catch (cause) {
    throw new Error(`${url.origin}${url.pathname}: header ${names[0]} is not percent-encoded`, { cause });
  }
}

/** The document exactly as it was signed: parsing and writing it again would rely on both sides' spelling. */
function signedDocument({ url, body }: Answer, name: string): { text: string; signature: string } {
  const shape = new RegExp(
    `^\\s*\\{\\s*"${name}"\\s*:\\s*(\\{.*\\})\\s*,\\s*"signature"\\s*:\\s*"([0-9a-fA-F]{128})"\\s*\\}\\s*$`,
    's',
  );
  const [, text, signature] = shape.exec(new TextDecoder().decode(body)) ?? [];
  if (text === undefined) throw new Error(`${url.origin}${url.pathname}: no ${name} with a signature`);
  return { text, signature: signature!.toLowerCase() };
}

/** A PCCS gives lists in hex, Intel in DER. */
function derOf(body: Uint8Array): Uint8Array {
  const text = new TextDecoder('latin1').decode(body).trim();
  return /^(?:[0-9a-fA-F]{2})+$/.test(text) ? Uint8Array.fromHex(text) : body;
}
