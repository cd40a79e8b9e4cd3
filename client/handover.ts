// Handovers, as a stranger judges them (DESIGN §8): the document of GET /handover, which proves that the keys of an enclave have ended in
// favour of another's, and what follows from one that was accepted: whatever those keys sign beyond it counts for nothing, whoever
// still has them. Pure and synchronous, about 50 ms; no input makes it throw. Verifiers keep what they accept and give it to
// verifyHead and verifyBatch as `handovers`.
import { keysetDigest } from '../actors/digest.ts';
import { fromHex, hex } from '../actors/encoding.ts';
import { digestOfHandover, type Handover, SealedHandover } from '../actors/handover.ts';
import { logLeaf, verifyInclusion } from '../actors/tree.ts';
import { type HeadCode, verifyHead } from './head.ts';
import { fieldPath } from './json.ts';
import { type Failure, fail, type VerifyOptions } from './verdict.ts';

export type HandoverVerdict =
  | {
      readonly ok: true;
      /** What to keep. */
      readonly handover: Handover;
      /** `from` never signs beyond this size of the log. */
      readonly size: number;
      readonly sealed_at: string;
      readonly simulated: boolean;
      readonly notes: readonly string[];
    }
  | { readonly ok: false; readonly code: HeadCode; readonly field: string; readonly message: string };

/**
 * ```ts
 * const { newest } = await (await fetch(`${url}/handover`)).json();
 * const verdict = verifyHandover(newest, { policy, now_ms: Date.now() });
 * ```
 *
 * @param options.now_ms  one that was kept is judged at the time when it was new: see `keptAt`
 */
export function verifyHandover(document: unknown, options: VerifyOptions): HandoverVerdict {
  const parsed = SealedHandover.safeParse(document);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const extra = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
    return { ok: false, ...fail('malformed', fieldPath([...issue.path, ...extra]), issue.message) };
  }
  const failure = checkEntry(parsed.data);
  if (failure !== null) return { ok: false, ...failure };
  const { handover, sealed } = parsed.data;
  const head = verifyHead(sealed, options);
  if (!head.ok) return { ...head, field: `sealed.${head.field}` };
  const { sealed_at, simulated, notes } = head;
  return { ok: true, handover, size: sealed.seal.size, sealed_at, simulated, notes };
}

/** Entry, keysets and head are of one handover, and the entry is in the head. */
function checkEntry({ handover, keyset, sealed: { seal }, inclusion_path }: SealedHandover): Failure | null {
  if (handover.log_id !== seal.log_id || keyset.log_id !== seal.log_id) {
    return fail('wrong_log', 'handover.log_id', `the seal is of log ${seal.log_id}`);
  }
  if (handover.from_keyset_digest !== seal.keyset_digest || handover.from_epoch !== seal.epoch) {
    return fail('keyset_mismatch', 'handover.from_keyset_digest', 'the last seal is under another keyset');
  }
  const isNext = keyset.epoch === handover.to_epoch && handover.to_epoch === handover.from_epoch + 1;
  if (!isNext || hex(keysetDigest(keyset)) !== handover.to_keyset_digest) {
    return fail('keyset_mismatch', 'keyset', 'it is not the one that the entry names');
  }
  const leaf = logLeaf('handover', digestOfHandover(handover));
  const path = inclusion_path.map(fromHex);
  const isIn = verifyInclusion(leaf, handover.leaf_index, seal.size, path, fromHex(seal.root));
  if (isIn && seal.size === handover.leaf_index + 1) return null;
  return fail('inclusion_invalid', 'inclusion_path', 'the entry is not the last one of the head');
}
