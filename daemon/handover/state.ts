// The state of all assets as one hash (DESIGN §8), as a checkpoint has it: both ends of a handover compute it from their own store,
// and the log's entry carries it. In parts, with a turn between them, so that nothing else waits.
import { NO_PROGRESS, stateHashAt } from '../../actors/checkpoint.ts';
import { nextTurn, readPart } from '../checkpoints.ts';
import type { Reader } from '../store.ts';

export async function hashState(reader: Reader): Promise<{ state_hash: string; asset_count: number }> {
  let progress = NO_PROGRESS;
  let after: string | null = null;
  for (;;) {
    const part: ReturnType<typeof readPart> = readPart(reader, { progress, after });
    ({ progress, after } = part);
    if (part.last) return { state_hash: stateHashAt(progress), asset_count: progress.count };
    await nextTurn();
  }
}
