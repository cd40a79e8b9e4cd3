// What the risk score asks of whoever rotates keys, in a way that may be asked again after a crash: the epoch that is to come was
// fixed with the decision, so that one which has come, or is announced, is never followed by another for the same decision.
import type { RiskAct } from '../records.ts';
import { rotationRecord } from '../records.ts';
import type { RotationOutcome, Wish } from '../rotator.ts';
import type { Reader } from '../store.ts';

export type Rotated = NonNullable<RiskAct['rotated']>;

/**
 * @param rotate  announces a rotation, or brings the announced one forward
 * @returns       null when it could not be done now: the next start asks again
 * @throws {Fault} of the key source or the store
 */
export async function demandRotation(
  reader: Reader,
  { to_epoch, urgency }: Pick<RiskAct, 'to_epoch' | 'urgency'>,
  rotate: (wish: Wish) => Promise<RotationOutcome>,
): Promise<Rotated | null> {
  const found = rotationRecord(reader, to_epoch);
  // In an emergency one that is only announced has to come forward, which changes nothing the second time.
  const done = found !== undefined && (urgency === 'scheduled' || found.first_height !== null);
  if (done) return { epoch: to_epoch, at_height: found.first_height ?? found.at_height };
  const outcome = await rotate({ reason: 'risk', urgency });
  if (!outcome.ok && outcome.code !== 'rotation_pending') return null;
  const { rotation } = outcome;
  return { epoch: rotation.to_epoch, at_height: rotation.at_height };
}
