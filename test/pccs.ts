// A PCCS that has the collateral of one platform, as a handler of Node's own server: what a daemon, or `aegisd verify-quote`, asks
// for over HTTP. Faithful in what matters: chains in percent-encoded headers, lists in DER or hex, documents with signatures.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Collateral } from '../actors/collateral.ts';

/** @param sgx  of SGX, where a test asks for that */
export function pccs(tdx: Collateral, sgx = tdx): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const { pathname } = new URL(request.url!, 'http://x');
    const [, tee, , , ...rest] = pathname.split('/');
    const its = tee === 'sgx' && rest[0] !== 'pckcrl' && rest[0] !== 'rootcacrl' ? sgx : tdx;
    const send = (body: string | Uint8Array, header?: string, chain?: string) => {
      if (header !== undefined) response.setHeader(header, encodeURIComponent(chain!));
      response.end(body);
    };
    if (rest[0] === 'pckcrl') {
      send(Uint8Array.fromHex(its.pck_crl), 'SGX-PCK-CRL-Issuer-Chain', its.pck_crl_issuer_chain);
    } else if (rest[0] === 'rootcacrl') send(its.root_ca_crl);
    else if (rest[0] === 'tcb') {
      const body = `{"tcbInfo":${its.tcb_info},"signature":"${its.tcb_info_signature.toUpperCase()}"}`;
      send(body, 'TCB-Info-Issuer-Chain', its.tcb_info_issuer_chain);
    } else if (rest[0] === 'qe') {
      const body = `{"enclaveIdentity":${its.qe_identity},"signature":"${its.qe_identity_signature}"}`;
      send(body, 'SGX-Enclave-Identity-Issuer-Chain', its.qe_identity_issuer_chain);
    } else response.writeHead(404).end();
  };
}
