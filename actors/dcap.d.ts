// Types of the two files of @phala/dcap-qvl that the core imports. Its entry also loads the collateral fetcher, which has
// no place in a pure module.
declare module '@phala/dcap-qvl/src/verify.js' {
  export { QuoteVerifier, VerifiedReport } from '@phala/dcap-qvl';
}
declare module '@phala/dcap-qvl/src/utils.js' {
  /** The certificates of a PEM text, as the Buffers that the verifier wants, also in browsers. */
  export function extractCerts(pem: string): ConstructorParameters<typeof import('@phala/dcap-qvl').QuoteVerifier>[0][];
}
