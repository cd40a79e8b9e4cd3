// SHA-512 for browsers: the default of the package's `#sha512` import. Node takes sha512.node.ts, which is OpenSSL's.
export { sha512 } from '@noble/hashes/sha2.js';
