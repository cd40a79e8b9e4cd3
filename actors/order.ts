// An admin's order (DESIGN §11): what lowers security is done only when somebody has signed exactly that, for exactly this log,
// once and not for ever, with an ML-DSA-87 key that was fixed at genesis. One signature is enough: there is no threshold. The
// daemon judges orders with this before it acts, and whoever reads the log judges them again: the digest of each is an
// entry of kind `policy`. Whether the nonce is new, only the daemon's store knows (daemon/orders.ts).
import { z } from 'zod';
import { Act } from './act.ts';
import { canonicalJson } from './canonical.ts';
import { adminsDigest, orderDigest, sha512 } from './digest.ts';
import { Bytes32, base64Of, Counter, Digest, fromBase64, hex, utf8 } from './encoding.ts';
import { PUBLIC_KEY_BYTES } from './keyset.ts';
import { ML_DSA_SIGNATURE_BYTES } from './seal.ts';
import { rootOf } from './tree.ts';

/** The context string of the signature: the tag of what is signed. */
export const ORDER_CONTEXT = 'aegis/order/v1';

/** An order that is never submitted doesn't stay a threat for longer. */
export const ORDER_LIFETIME_MAX_MS = 30 * 86_400_000;

/** What is signed; `admin` says by whom. */
export const UnsignedOrder = z.strictObject({
  version: z.literal(1),
  log_id: Digest,
  nonce: Bytes32.describe('Random. No two orders of a log have the same.'),
  not_after_ms: Counter.describe('Until when it can be executed; at most 30 days ahead.'),
  act: Act,
  admin: Digest.describe('SHA-512 of the raw public key that signs.'),
});
export type UnsignedOrder = z.output<typeof UnsignedOrder>;

export const Order = z
  .strictObject({
    ...UnsignedOrder.shape,
    signature: base64Of(ML_DSA_SIGNATURE_BYTES).describe('ML-DSA-87 over the digest, context `aegis/order/v1`.'),
  })
  .meta({ id: 'Order' });
export type Order = z.output<typeof Order>;

/** An order that was executed, and where the log says so. */
export const ExecutedOrder = z
  .strictObject({
    leaf_index: Counter.describe('Of the order in the log, kind `policy`.'),
    digest: Digest.describe('What the admin signed.'),
    executed_at_ms: Counter,
    order: Order,
  })
  .meta({ id: 'ExecutedOrder' });
export type ExecutedOrder = z.output<typeof ExecutedOrder>;

export const AdminKey = base64Of(PUBLIC_KEY_BYTES.ml_dsa_87);

/** The admins of a log, fixed at genesis. */
export const Admins = z
  .strictObject({
    admins: z.array(z.strictObject({ admin: Digest, public_key: AdminKey })),
    digest: Digest.nullable().describe('`aegis/admins/v1`; null where there are none.'),
    leaf_index: Counter.nullable().describe('Of the digest in the log, kind `policy`.'),
  })
  .meta({ id: 'Admins' });
export type Admins = z.output<typeof Admins>;

/** The digest that an admin signs: 64 bytes. */
export function digestOf({ log_id, nonce, not_after_ms, act }: Omit<UnsignedOrder, 'version' | 'admin'>): Uint8Array {
  return orderDigest({ log_id, nonce, not_after_ms, act: utf8(canonicalJson(act)) });
}

/** How orders name an admin. @param public_key  raw, 2,592 bytes */
export const adminId = (public_key: Uint8Array): string => hex(sha512(public_key));

/** Of a set of admins, whatever the order of their keys. @param public_keys  base64, distinct, at least one */
export function adminsDigestOf(log_id: string, public_keys: readonly string[]): Uint8Array {
  // Ids of one length: the order of their hex is that of their bytes.
  const ids = public_keys.map((key) => adminId(fromBase64(key))).sort();
  const entries = ids.map((id) => Uint8Array.fromHex(id.slice(2)));
  return adminsDigest({ log_id, admin_count: ids.length, admins_root: rootOf(entries) });
}

/** What can be wrong with an order by itself, in the order in which it is asked. */
export const ORDER_CODES = [
  'order_wrong_log',
  'order_admin_unknown',
  'order_expired',
  'order_lifetime_too_long',
  'order_signature_invalid',
] as const;
export type OrderCode = (typeof ORDER_CODES)[number];

export type OrderJudgement =
  | { readonly ok: true; readonly digest: Uint8Array }
  | { readonly ok: false; readonly code: OrderCode };

/** ML-DSA-87 by whichever library: raw public key, message, context string, signature. */
export type Verify = (
  public_key: Uint8Array,
  message: Uint8Array,
  context: Uint8Array,
  signature: Uint8Array,
) => boolean;

/**
 * Whether this order binds this log at this time.
 *
 * @param order           validated by its schema
 * @param against.admins  raw public keys by their ids
 * @param against.now_ms  the time to judge by; for an order of the past, when it was executed
 */
export function judgeOrder(
  order: Order,
  against: { readonly log_id: string; readonly admins: ReadonlyMap<string, Uint8Array>; readonly now_ms: number },
  verify: Verify,
): OrderJudgement {
  const { log_id, admins, now_ms } = against;
  if (order.log_id !== log_id) return { ok: false, code: 'order_wrong_log' };
  const public_key = admins.get(order.admin);
  if (public_key === undefined) return { ok: false, code: 'order_admin_unknown' };
  if (order.not_after_ms <= now_ms) return { ok: false, code: 'order_expired' };
  if (order.not_after_ms > now_ms + ORDER_LIFETIME_MAX_MS) return { ok: false, code: 'order_lifetime_too_long' };
  const digest = digestOf(order);
  const isSigned = verify(public_key, digest, utf8(ORDER_CONTEXT), fromBase64(order.signature));
  return isSigned ? { ok: true, digest } : { ok: false, code: 'order_signature_invalid' };
}
