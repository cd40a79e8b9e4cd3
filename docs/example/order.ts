// Makes the order of the worked example: `node docs/example/order.ts` writes order.json beside it, and `npm run docs` the page. The
// admin's seed is printed there: whoever has such a key in earnest shows it to nobody. A new run changes the signature alone,
// which is hedged.
import { createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { logId } from '../../actors/digest.ts';
import { base64, hex, utf8 } from '../../actors/encoding.ts';
import { adminId, digestOf, ORDER_CONTEXT, type Order, type UnsignedOrder } from '../../actors/order.ts';
import { ADMIN_SEED, CHAIN_ID, LOG_RANDOM } from './seed.ts';

const key = createPrivateKey({ key: Buffer.from(ADMIN_SEED), format: 'raw-seed', asymmetricKeyType: 'ml-dsa-87' });
const public_key = new Uint8Array(createPublicKey(key).export({ format: 'raw-public' }));
const unsigned: UnsignedOrder = {
  version: 1,
  log_id: hex(logId(CHAIN_ID, LOG_RANDOM)),
  nonce: hex(Uint8Array.from({ length: 32 }, (_, i) => 0x40 + i)),
  not_after_ms: Date.UTC(2026, 5, 1, 13),
  act: { type: 'retire_epoch', epoch: 1 },
  admin: adminId(public_key),
};
const signature = base64(new Uint8Array(sign(null, digestOf(unsigned), { key, context: utf8(ORDER_CONTEXT) })));
const order: Order = { ...unsigned, signature };
writeFileSync(new URL('order.json', import.meta.url), `${JSON.stringify(order, null, 2)}\n`);
