// Who may give orders (DESIGN §11): the ML-DSA-87 keys of `admin.keys`, written down with the genesis of the log and never
// again. Their digest is the log's second entry, so a verifier knows them as well. What the configuration says later changes
// nothing; that it says something else stops the start, or an operator would believe that a key which has leaked is gone.
import { fromBase64, hex } from '../actors/encoding.ts';
import { type Admins, adminId, adminsDigestOf } from '../actors/order.ts';
import { Fault } from './fault.ts';
import { appendLog } from './log.ts';
import { adminsRecord, putMeta } from './records.ts';
import type { Step } from './runtime.ts';
import type { Reader } from './store.ts';

/** In the step of genesis, after its first keyset. @param keys  base64; without any, nobody can ever give an order */
export function foundAdmins(step: Step, log_id: string, keys: readonly string[]): void {
  if (keys.length === 0) return;
  const digest = hex(adminsDigestOf(log_id, keys));
  putMeta(step, 'admins', { keys: [...keys], digest, leaf_index: appendLog(step, 'policy', digest) });
}

/**
 * The raw public keys that genesis fixed, by their ids.
 *
 * @param configured  `admin.keys` of this start
 * @throws {Fault} admins_changed when it names others
 */
export function openAdmins(store: Reader, configured: readonly string[]): ReadonlyMap<string, Uint8Array> {
  const fixed = byId(adminsRecord(store)?.keys ?? []);
  const found = byId(configured);
  if (fixed.size === found.size && [...fixed.keys()].every((id) => found.has(id))) return fixed;
  throw new Fault({ code: 'admins_changed', found: named(found), fixed: named(fixed) });
}

/** As `GET /admin/keys` shows them. */
export function admins(store: Reader): Admins {
  const record = adminsRecord(store);
  if (record === undefined) return { admins: [], digest: null, leaf_index: null };
  const { keys, digest, leaf_index } = record;
  return { admins: keys.map((public_key) => ({ admin: idOf(public_key), public_key })), digest, leaf_index };
}

const idOf = (key: string): string => adminId(fromBase64(key));

const byId = (keys: readonly string[]): ReadonlyMap<string, Uint8Array> =>
  new Map(keys.map((key) => [idOf(key), fromBase64(key)]));

/** `nobody`, or the beginnings of the ids. */
function named(admins: ReadonlyMap<string, Uint8Array>): string {
  const ids = [...admins.keys()].map((id) => `${id.slice(0, 18)}…`).sort();
  return ids.length === 0 ? 'nobody' : ids.join(', ');
}
