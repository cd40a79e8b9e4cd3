// The TLS that ends in the enclave (DESIGN §11, `api.tls`): a certificate that nobody signs but its own key, whose public half is
// `tls` in the keyset. So what a client checks is not a name but the keyset: whoever holds that key is the enclave that the quote over
// the keyset shows, and no proxy of the host's is. Made anew for each epoch, by whoever opens the door.
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { bits, element, explicit, integer, octets, oid, sequence, set, text, time } from '../actors/der.ts';
import { fromBase64, fromHex } from '../actors/encoding.ts';
import type { Keyset } from '../actors/keyset.ts';
import { spkiOf } from '../actors/tlskey.ts';

const ECDSA_WITH_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));
/** The clocks of clients may be behind. */
const EARLY_MS = 86_400_000;
/** The end of UTCTime (RFC 5280 §4.1.2.5.1): the epoch ends it, not the calendar. */
const LAST_MS = Date.UTC(2049, 11, 31, 23, 59, 59);
/** Bit 0 of KeyUsage: digitalSignature (RFC 5280 §4.2.1.3). */
const DIGITAL_SIGNATURE = element(0x03, Uint8Array.of(7, 0x80));
const SERIAL_BYTES = 16;

/** DER of the certificate (RFC 5280 §4.1), self-signed; its subject names log and epoch. */
export function tlsCertificate(keyset: Keyset, key: KeyObject): Uint8Array {
  const { log_id, epoch, not_before_ms, tls } = keyset;
  const name = sequence(set(sequence(oid('2.5.4.3'), text(`aegis log ${log_id.slice(0, 18)} epoch ${epoch}`))));
  const dns = sequence(element(0x82, new TextEncoder().encode(`epoch-${epoch}.aegis.invalid`)));
  const extension = (id: string, value: Uint8Array) => sequence(oid(id), octets(value));
  const tbs = sequence(
    explicit(0, integer(2)),
    // Positive, and another for each epoch of each log.
    integer(Uint8Array.of(0x40, ...fromHex(log_id).subarray(0, SERIAL_BYTES - 4), ...uint32(epoch))),
    ECDSA_WITH_SHA256,
    name,
    sequence(time(wholeSeconds(not_before_ms - EARLY_MS)), time(LAST_MS)),
    name,
    spkiOf(fromBase64(tls!)),
    explicit(
      3,
      sequence(
        extension('2.5.29.15', DIGITAL_SIGNATURE),
        extension('2.5.29.37', sequence(oid('1.3.6.1.5.5.7.3.1'))),
        extension('2.5.29.17', dns),
      ),
    ),
  );
  return sequence(tbs, ECDSA_WITH_SHA256, bits(new Uint8Array(sign('sha256', tbs, key))));
}

/**
 * What OpenSSL's context is made of. Node takes keys as PEM alone, so this is the one place where a signing key is text: in bytes off the V8
 * heap, wiped when `use` has returned.
 */
export function withCredentials<T>(keyset: Keyset, key: KeyObject, use: (pem: { key: Buffer; cert: Buffer }) => T): T {
  const der = key.export({ format: 'der', type: 'pkcs8' });
  const cert = pem('CERTIFICATE', tlsCertificate(keyset, key));
  const secret = pem('PRIVATE KEY', der);
  try {
    return use({ key: secret, cert });
  } finally {
    der.fill(0);
    secret.fill(0);
  }
}

/** NIST P-256 (RFC 5915 in RFC 5958), without the public half, which OpenSSL computes. @param scalar  32 bytes */
export function p256Key(scalar: Uint8Array): KeyObject {
  const der = Buffer.from(new ArrayBuffer(P256_PKCS8.length + 32));
  der.set(P256_PKCS8);
  der.set(scalar, P256_PKCS8.length);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}
const P256_PKCS8 = Buffer.from('3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420', 'hex');

const ALPHABET = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const PADDING = '='.charCodeAt(0);
const LINE_CHARACTERS = 64;

/** RFC 7468, in bytes: a string could not be wiped. */
function pem(label: string, der: Uint8Array): Buffer {
  const characters = 4 * Math.ceil(der.length / 3);
  const [head, tail] = [`-----BEGIN ${label}-----\n`, `-----END ${label}-----\n`];
  const lines = Math.ceil(characters / LINE_CHARACTERS);
  const made = Buffer.from(new ArrayBuffer(head.length + characters + lines + tail.length));
  let at = made.write(head, 'latin1');
  for (let i = 0, column = 0; i < der.length; i += 3) {
    const word = (der[i]! << 16) | ((der[i + 1] ?? 0) << 8) | (der[i + 2] ?? 0);
    for (let sextet = 0; sextet < 4; sextet++) {
      const used = i + sextet <= der.length;
      made[at++] = used ? ALPHABET[(word >> (18 - 6 * sextet)) & 63]! : PADDING;
    }
    column += 4;
    if (column < LINE_CHARACTERS && i + 3 < der.length) continue;
    made[at++] = 0x0a;
    column = 0;
  }
  made.write(tail, at, 'latin1');
  return made;
}

const uint32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer).reverse();
const wholeSeconds = (time_ms: number): number => time_ms - (time_ms % 1000);
