// Public key recovery by libsecp256k1, Bitcoin's and go-ethereum's library, through the `secp256k1` package: 0.065 ms
// where noble takes 1.1 and tiny-secp256k1 (WASM) 0.24, and recovery is most of what opening an envelope costs. And Keccak
// by OpenSSL, 1.7 µs where noble takes 16, three times a transaction. Verifiers do both by noble (actors/transaction.ts),
// so each is the other's second opinion.
import { hash } from 'node:crypto';
import secp256k1 from 'secp256k1';
import { uintBytes } from '../actors/bytes.ts';
import type { TransactionCrypto } from '../actors/transaction.ts';

/** SEC 1 §4.1.6. */
export const recoverKey: TransactionCrypto['recover'] = (message, { r, s, y_parity }) => {
  const signature = new Uint8Array(64);
  signature.set(uintBytes(r, 32));
  signature.set(uintBytes(s, 32), 32);
  try {
    return secp256k1.ecdsaRecover(signature, y_parity, message, false).subarray(1);
  } catch {
    // No key could have signed: r is no point's x coordinate, or the key would be the point at infinity.
    return null;
  }
};

/** SHA-3's predecessor, which Ethereum kept; the start-up self-test asks whether this OpenSSL has it. */
export const nativeKeccak: TransactionCrypto['keccak'] = (bytes) => hash('keccak-256', bytes, 'buffer');

export const NATIVE: TransactionCrypto = { keccak: nativeKeccak, recover: recoverKey };
