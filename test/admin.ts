// Admins whose keys everybody knows, and their orders, for tests.
import { createPrivateKey, createPublicKey, randomBytes, sign } from 'node:crypto';
import type { Act } from '../actors/act.ts';
import { base64, hex, utf8 } from '../actors/encoding.ts';
import { adminId, digestOf, ORDER_CONTEXT, type Order, type UnsignedOrder } from '../actors/order.ts';

export interface Admin {
  readonly admin: string;
  /** Base64, as the configuration has it once it is checked. */
  readonly public_key: string;
  sign(digest: Uint8Array, context?: string): Uint8Array;
  /** Good for an hour from the machine's clock on, unless told otherwise. */
  order(log_id: string, act: Act, other?: Partial<UnsignedOrder>): Order;
}

/** @param number  which of 256 */
export function makeAdmin(number: number): Admin {
  const seed = Buffer.alloc(32, number);
  const key = createPrivateKey({ key: seed, format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });
  const raw = new Uint8Array(createPublicKey(key).export({ format: 'raw-public' }));
  const admin = adminId(raw);
  const signed = (digest: Uint8Array, context = ORDER_CONTEXT) =>
    new Uint8Array(sign(null, digest, { key, context: utf8(context) }));
  return {
    admin,
    public_key: base64(raw),
    sign: signed,
    order(log_id, act, other) {
      const nonce = hex(new Uint8Array(randomBytes(32)));
      const not_after_ms = Date.now() + 3_600_000;
      const unsigned: UnsignedOrder = { version: 1, log_id, nonce, not_after_ms, act, admin, ...other };
      return { ...unsigned, signature: base64(signed(digestOf(unsigned))) };
    },
  };
}
