// The thread side of evidence verification: `verifyEvidence` takes about 20 ms (90 the first time) without a pause, so the
// main thread never calls it. The pool runs this job by name; task and result cross the thread border as plain values.
import type { Evidence, EvidencePolicy } from '../actors/evidence.ts';
import { verifyEvidence } from '../actors/verification.ts';

export interface EvidenceTask {
  readonly evidence: Evidence;
  readonly policy: EvidencePolicy;
}

export type EvidenceResult = ReturnType<typeof verifyEvidence>;

/** Never throws for what is wrong with the evidence: that is `{ ok: false, code, message }`. */
export function evidence(task: EvidenceTask): EvidenceResult {
  return verifyEvidence(task.evidence, task.policy);
}
