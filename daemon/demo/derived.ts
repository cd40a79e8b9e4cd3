// Every secret that follows from a root, computed from the specification (DESIGN §5, FIPS 203, 204 and 205, X-Wing) and not by the
// keyring: what a search for leaks looks for, in `aegisd demo --epochs` and in tests. Public halves and public seeds are left out.
import { hash, hkdfSync } from 'node:crypto';

/** SEC 2 §2.4.1. */
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** What the key source gives for a path: a root gives itself for each, a guest agent derives. */
type Material = Uint8Array | ((path: string) => Uint8Array);

const hkdf = (material: Material, path: string, length: number) => {
  const given = typeof material === 'function' ? material(path) : material;
  return new Uint8Array(hkdfSync('sha512', given, new Uint8Array(0), path, length));
};
const shake256 = (bytes: Uint8Array, length: number) =>
  new Uint8Array(hash('shake256', bytes, { outputEncoding: 'buffer', outputLength: length }));

/** FIPS 186-5 §A.2.1. */
function scalarOf(wide: Uint8Array): Uint8Array {
  const value = (BigInt(`0x${wide.toHex()}`) % (ORDER - 1n)) + 1n;
  return Uint8Array.fromHex(value.toString(16).padStart(64, '0'));
}

/** The secrets of one epoch, by name. */
export function secretsOf(material: Material, epoch: number): Record<string, Uint8Array> {
  const at = (role: string, algorithm: string, length: number) =>
    hkdf(material, `aegis/${role}/${algorithm}/epoch/${epoch}`, length);
  const named: Record<string, Uint8Array> = {};
  const mlDsa = at('batch', 'ml-dsa-87', 32);
  named['ml-dsa seed'] = mlDsa;
  // FIPS 204 §6.1, algorithm 6: ρ ‖ ρ′ ‖ K = H(ξ ‖ k ‖ l, 128), of which ρ is public.
  const expanded = shake256(Uint8Array.of(...mlDsa, 8, 7), 128);
  named['ml-dsa ρ′'] = expanded.subarray(32, 96);
  named['ml-dsa K'] = expanded.subarray(96);
  const slhDsa = at('batch', 'slh-dsa-sha2-256s', 96);
  named['slh-dsa SK.seed'] = slhDsa.subarray(0, 32);
  named['slh-dsa SK.prf'] = slhDsa.subarray(32, 64);
  named['receipt seed'] = at('receipt', 'ed25519', 32);
  for (const role of ['envelope', 'handover']) {
    const seed = at(role, 'x-wing', 32);
    named[`${role} x-wing seed`] = seed;
    // X-Wing §5.2: d ‖ z ‖ sk_X = SHAKE-256(seed, 96).
    const parts = shake256(seed, 96);
    named[`${role} ml-kem d`] = parts.subarray(0, 32);
    named[`${role} ml-kem z`] = parts.subarray(32, 64);
    named[`${role} x25519`] = parts.subarray(64);
  }
  for (const role of ['batch', 'envelope', 'names']) {
    const wide = at(role, 'secp256k1', 48);
    named[`${role} secp256k1 wide`] = wide;
    named[`${role} secp256k1`] = scalarOf(wide);
    // OpenSSL's numbers have their limbs the other way round.
    named[`${role} secp256k1 limbs`] = scalarOf(wide).toReversed();
  }
  named['asset key'] = at('asset', 'aes-256-gcm', 32);
  return Object.fromEntries(Object.entries(named).map(([name, secret]) => [`epoch ${epoch} ${name}`, secret]));
}

export const storeSecrets = (root: Uint8Array): Record<string, Uint8Array> => ({
  root,
  'store key': hkdf(root, 'aegis/store/aes-256-gcm/epoch/0', 32),
});
