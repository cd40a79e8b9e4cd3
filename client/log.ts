// Proofs about the log (DESIGN §3 "Why a log"), held against heads that the reader has verified: those of accepted batches
// (`verifyBatch`: log_id, size, root). A proof adds nothing to a head's trust; it only connects. What an answer says of
// roots and hashes is recomputed or compared, never believed.
import { fromHex, hex } from '../actors/encoding.ts';
import { Consistency } from '../actors/head.ts';
import { Inclusion } from '../actors/inclusion.ts';
import type { Head } from '../actors/seal.ts';
import * as tree from '../actors/tree.ts';
import { ask, type ExchangeOptions, type ExchangeRefusal } from './exchange.ts';
import { fieldPath } from './json.ts';
import { type Refused, refused } from './outcome.ts';

/** What a verified head says. */
export type LogPosition = Pick<Head, 'log_id' | 'size' | 'root'>;

export const PROOF_CODES = {
  malformed: 'not an answer of this shape',
  head_mismatch: 'the proof is about another head',
  leaf_mismatch: 'the proof is about another leaf',
  log_mismatch: 'the heads are of two logs',
  inclusion_invalid: 'the path does not lead to the root of the head',
  consistency_invalid: 'the path does not lead to the roots of both heads',
} as const;
export type ProofCode = keyof typeof PROOF_CODES;

const ANSWER_BYTES_MAX = 65_536;

/**
 * Is a leaf in a head?
 *
 * @param answer  of `GET /log/inclusion`
 * @param digest  what the leaf must be about, 0x-hex: a `batch_id`, a `keyset_digest`
 */
export function verifyInclusion(
  answer: unknown,
  head: Omit<LogPosition, 'log_id'>,
  kind: tree.LogKind,
  digest: string,
): { readonly ok: true; readonly leaf_index: number } | Refused<ProofCode> {
  const parsed = Inclusion.strip().safeParse(answer);
  if (!parsed.success) return malformed(parsed.error);
  const { leaf_index, size, leaf_hash, inclusion_path, root, ...leaf } = parsed.data;
  if (size !== head.size || root !== head.root) return wrong('head_mismatch', size !== head.size ? 'size' : 'root');
  if (leaf.kind !== kind || leaf.digest !== digest) {
    return wrong('leaf_mismatch', leaf.kind !== kind ? 'kind' : 'digest');
  }
  const hash = tree.logLeaf(kind, fromHex(digest));
  if (leaf_hash !== hex(hash)) return wrong('inclusion_invalid', 'leaf_hash');
  const included = tree.verifyInclusion(hash, leaf_index, size, inclusion_path.map(fromHex), fromHex(root));
  return included ? { ok: true, leaf_index } : wrong('inclusion_invalid', 'inclusion_path');
}

/**
 * Is everything that was in the log still in it, in its place? Both heads must have been verified before.
 *
 * @param answer  of `GET /log/consistency`
 */
export function verifyConsistency(
  answer: unknown,
  earlier: LogPosition,
  later: LogPosition,
): { readonly ok: true } | Refused<ProofCode> {
  const parsed = Consistency.strip().safeParse(answer);
  if (!parsed.success) return malformed(parsed.error);
  const { from, to, from_root, to_root, consistency_path } = parsed.data;
  if (earlier.log_id !== later.log_id) return wrong('log_mismatch', 'log_id');
  if (from !== earlier.size || from_root !== earlier.root) {
    return wrong('head_mismatch', from !== earlier.size ? 'from' : 'from_root');
  }
  if (to !== later.size || to_root !== later.root) return wrong('head_mismatch', to !== later.size ? 'to' : 'to_root');
  const path = consistency_path.map(fromHex);
  const grown = tree.verifyConsistency(from, fromHex(from_root), to, fromHex(to_root), path);
  return grown ? { ok: true } : wrong('consistency_invalid', 'consistency_path');
}

/** Asks for the proof and judges it. @param leaf  by its place in the log, or by the height of a batch */
export async function fetchInclusion(
  url: string | URL,
  leaf: { readonly kind: tree.LogKind; readonly digest: string } & (
    | { readonly leaf_index: number }
    | { readonly height: number }
  ),
  head: LogPosition,
  options: ExchangeOptions = {},
): Promise<{ readonly ok: true; readonly leaf_index: number } | Refused<ProofCode> | ExchangeRefusal> {
  const place = 'height' in leaf ? `height=${leaf.height}` : `leaf_index=${leaf.leaf_index}`;
  const path = `log/inclusion?${place}&size=${head.size}`;
  const answer = await ask(url, { path, answer: Inclusion.strip(), bytes_max: ANSWER_BYTES_MAX }, options);
  return answer.ok ? verifyInclusion(answer.value, head, leaf.kind, leaf.digest) : answer;
}

/** Asks for the proof and judges it. */
export async function fetchConsistency(
  url: string | URL,
  earlier: LogPosition,
  later: LogPosition,
  options: ExchangeOptions = {},
): Promise<{ readonly ok: true } | Refused<ProofCode> | ExchangeRefusal> {
  const path = `log/consistency?from=${earlier.size}&to=${later.size}`;
  const answer = await ask(url, { path, answer: Consistency.strip(), bytes_max: ANSWER_BYTES_MAX }, options);
  return answer.ok ? verifyConsistency(answer.value, earlier, later) : answer;
}

function malformed(error: { readonly issues: readonly { path: PropertyKey[]; message: string }[] }) {
  const issue = error.issues[0]!;
  return refused('malformed' as const, fieldPath(issue.path), issue.message);
}

const wrong = (code: ProofCode, field: string) => refused(code, field, PROOF_CODES[code]);
