// Public key recovery by libsecp256k1, Bitcoin's and go-ethereum's library, through the `secp256k1` package: 0.065 ms
// where noble takes 1.1 and tiny-secp256k1 (WASM) 0.24, and recovery is most of what opening an envelope costs. Verifiers
// recover by noble (actors/transaction.ts), so each is the other's second opinion.
import secp256k1 from 'secp256k1';
import { uintBytes } from '../actors/encoding.ts';
import type { Recover } from '../actors/transaction.ts';

/** SEC 1 §4.1.6. */
export const recoverKey: Recover = (hash, { r, s, y_parity }) => {
  const signature = new Uint8Array(64);
  signature.set(uintBytes(r, 32));
  signature.set(uintBytes(s, 32), 32);
  try {
    return secp256k1.ecdsaRecover(signature, y_parity, hash, false).subarray(1);
  } catch {
    // No key could have signed: r is no point's x coordinate, or the key would be the point at infinity.
    return null;
  }
};
