// Fetches a batch file and verifies it. The daemon is only where the file happens to lie: what it answers is judged like a
// file from anywhere (verify.ts), and must be of the height that was asked for.
import { z } from 'zod';
import type { BatchFile } from '../actors/batch.ts';
import { ask, type ExchangeOptions, type ExchangeRefusal } from './exchange.ts';
import { type Refused, refused } from './outcome.ts';
import type { Trust } from './trust.ts';
import type { Accepted, Refusal } from './verdict.ts';
import { verifyBatch } from './verify.ts';

/** As `aegisd verify` reads them: 10,000 transactions of usual size take 20 MB. */
const FILE_BYTES_MAX = 64 * 1_048_576;

export interface VerifiedBatch {
  readonly ok: true;
  readonly file: BatchFile;
  readonly verdict: Accepted;
}

/** A batch that is not sealed yet is refused as `unsealed`, unless the policy takes it (`any-pq` with its keyset pinned). */
export async function fetchBatch(
  url: string | URL,
  height: number,
  options: Trust & ExchangeOptions = {},
): Promise<VerifiedBatch | Refusal | Refused<'height_mismatch'> | ExchangeRefusal> {
  if (!Number.isSafeInteger(height) || height < 0) throw new RangeError(`no batch has the height ${height}`);
  const answer = await ask(url, { path: `batches/${height}`, answer: z.unknown(), bytes_max: FILE_BYTES_MAX }, options);
  if (!answer.ok) return answer;
  const { policy, allow_simulated = false, now_ms = Date.now() } = options;
  const verdict = verifyBatch(answer.value, { allow_simulated, now_ms, ...(policy === undefined ? {} : { policy }) });
  if (!verdict.ok) return verdict;
  if (verdict.height !== height) return refused('height_mismatch', 'height', `asked for the batch of height ${height}`);
  return { ok: true, file: answer.value as BatchFile, verdict };
}
