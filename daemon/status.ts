// What the daemon says of itself: `/sequencer/status` under the names that dashboards of the upstream know, with ours
// beside, and `/ready` with reasons. Plain functions over what the rooms expose.
import { z } from 'zod';
import { HOLD_CAUSES } from '../actors/clock.ts';
import type { HandoverState } from '../actors/handover.ts';
import { type Attestation, identityOf, PROVIDERS } from '../actors/quote.ts';
import { THRESHOLDS } from '../actors/recommendation.ts';
import { type Config, REQUIRES } from '../config/schema.ts';
import { type AttesterState, ROLES } from './attester.ts';
import type { ClockState } from './clock.ts';
import type { ActiveEpoch } from './epochs.ts';
import { meta, pendingRotation } from './records.ts';
import type { Risk } from './risk.ts';
import type { RuntimeState } from './runtime.ts';
import type { SettingsState } from './settings.ts';
import type { Store } from './store.ts';
import { WITNESS_STATES, type WitnessState } from './witnessed.ts';

export interface View {
  readonly config: Config;
  readonly settings: SettingsState;
  readonly store: Store;
  readonly runtime: RuntimeState;
  readonly epoch: ActiveEpoch;
  readonly mempool_size: number;
  readonly draining: boolean;
  readonly attestation: Attestation | undefined;
  readonly attesting: AttesterState;
  /** Undefined where `attestation.witness` is off. */
  readonly witness: WitnessState | undefined;
  readonly clock: ClockState;
  readonly handover: HandoverState;
  readonly risk: Risk;
  readonly now_ms: number;
}

const PlatformStatus = z.strictObject({
  role: z.enum(ROLES),
  provider: z.enum(PROVIDERS),
  simulated: z.boolean(),
  state: z.enum(['unknown', 'working', 'failing']).describe('By its newest quote; unknown before the first.'),
  since_ms: z.int().describe('0 while unknown.'),
  reason: z.string().nullable().describe('Why it fails.'),
});

const WitnessStatus = z.strictObject({
  mode: z.enum(['preferred', 'required']),
  state: z.enum(WITNESS_STATES).describe('`conflict`: it saw another history of this log, so nothing is signed.'),
  since_ms: z.int().describe('0 while unknown.'),
  reason: z.string().nullable(),
  size: z.int().describe('The largest sealed size that it has acknowledged.'),
});

export const READY_REASONS = [
  'draining',
  'store_unavailable',
  'disk_low',
  'not_attested',
  'effects_failing',
  'witness_missing',
  'witness_conflict',
  'clock_held',
  'handover_running',
  'handed_over',
] as const;

export const Ready = z
  .strictObject({
    ready: z.boolean(),
    reasons: z.array(z.enum(READY_REASONS)),
    simulated: z.boolean(),
    failing: z
      .array(PlatformStatus.pick({ role: true, provider: true, reason: true }))
      .exactOptional()
      .describe('Platforms that give no quote, and why; not there while all do.'),
    witness: z
      .strictObject({ state: z.enum(WITNESS_STATES), reason: z.string().nullable() })
      .exactOptional()
      .describe('Not there while it works, or there is none.'),
  })
  .meta({ id: 'Ready' });
export type Ready = z.output<typeof Ready>;

export const Status = z
  .strictObject({
    readiness: Ready.pick({ ready: true, reasons: true }).describe('What `/ready` says.'),
    qrm: z.strictObject({
      risk_score: z.int(),
      recommendation: z.string(),
      indicator_count: z.int(),
      thresholds: z.strictObject({ scheduled: z.int(), emergency: z.int() }),
    }),
    apqc: z.strictObject({
      signatures: z.array(z.string()),
      kems: z.array(z.string()),
      rotation_pending: z.boolean(),
      rotation_block: z.int().nullable().describe('The height from which the next epoch signs, if it is not earlier.'),
    }),
    sequencer: z.strictObject({
      mempool_size: z.int(),
      ordered_queue: z.int().describe('Batches ordered but not signed yet.'),
      batch_count: z.int().describe('Batches that are signed.'),
      tee_platform: z.string(),
      mrenclave: z.string().nullable().describe('MRTD, MRENCLAVE or launch measurement of the newest verified quote.'),
      simulated: z.boolean(),
      draining: z.boolean(),
      ordering_mode: z.string(),
    }),
    chain: z.strictObject({
      chain_id: z.string(),
      height: z.int().nullable().describe('Of the newest signed batch.'),
      algorithm_set: z.string(),
      risk_score: z.int(),
    }),
    attestation: z.strictObject({
      require: z.enum(REQUIRES),
      degraded: z.boolean().describe('A platform fails, and seals go on without it.'),
      platforms: z.array(PlatformStatus),
      witness: WitnessStatus.nullable().describe('Null where `attestation.witness` is off.'),
    }),
    log: z.strictObject({ log_id: z.string(), size: z.int(), sealed: z.int() }),
    epoch: z.strictObject({ active: z.int(), keyset_digest: z.string() }),
    clock: z.strictObject({
      held: z.boolean().describe('The clock was set: expiry, decay and names wait until somebody agrees.'),
      cause: z.enum(HOLD_CAUSES).nullable().describe('`step`: while the daemon ran. `start`: while it did not.'),
      apart_ms: z.int().describe('How far the clock is ahead of the agreed time; negative when behind.'),
    }),
    store: z.strictObject({ writable: z.boolean(), reason: z.string().nullable(), free_bytes: z.number().nullable() }),
    faults: z.array(z.strictObject({ effect: z.string(), message: z.string(), tries: z.int() })),
    settings: z.strictObject({
      config_digest: z.string().describe('Of what holds, as the next seal names it.'),
      reloaded_at_ms: z.int().nullable().describe('When a reload last changed something.'),
      waiting: z.array(z.string()).describe('Settings of the newest file that need a restart.'),
      rejected_at_ms: z.int().nullable().describe('Since when the newest file is refused; the log says why.'),
    }),
    journal_cursor: z.int(),
  })
  .meta({ id: 'Status' });
export type Status = z.output<typeof Status>;

/** An effect that has failed this often in a row is no hiccup. */
const FAILING_TRIES = 3;

export function status(view: View): Status {
  const { store, epoch, attestation } = view;
  const [primary] = view.attesting.platforms;
  const heights = meta(store, 'heights');
  const log = meta(store, 'log');
  const { room: risk, allowed } = view.risk;
  const { score: risk_score, recommendation } = risk.record.assessment;
  const { scheduled, emergency } = THRESHOLDS;
  const pending = pendingRotation(store);
  const hybrid = epoch.keys.secp256k1 !== null && allowed.ecdsa;
  const kems = ['X-Wing', ...(allowed.schemes.includes('ecies') ? ['ECIES-secp256k1'] : [])];
  const signatures = ['ML-DSA-87', 'SLH-DSA-SHA2-256s', ...(hybrid ? ['ECDSA-secp256k1'] : [])];
  const { writable, reason, free_bytes } = store.state();
  const { ready: isReady, reasons } = ready(view);
  return {
    readiness: { ready: isReady, reasons },
    qrm: {
      risk_score,
      recommendation,
      indicator_count: risk.assessed.weighed.length,
      thresholds: { scheduled, emergency },
    },
    apqc: {
      signatures,
      kems,
      rotation_pending: pending !== undefined,
      rotation_block: pending?.at_height ?? null,
    },
    sequencer: {
      mempool_size: view.mempool_size,
      ordered_queue: heights.cut - heights.signed,
      batch_count: heights.signed,
      tee_platform: primary!.provider,
      mrenclave: attestation === undefined ? null : identityOf(attestation.measurements),
      simulated: primary!.simulated,
      draining: view.draining,
      ordering_mode: view.config.ordering.mode,
    },
    chain: {
      chain_id: epoch.log.chain_id,
      height: heights.signed === 0 ? null : heights.signed - 1,
      algorithm_set: signatures.join('+'),
      risk_score,
    },
    attestation: {
      ...view.attesting,
      platforms: [...view.attesting.platforms],
      witness: view.witness ?? null,
    },
    log: { log_id: epoch.log.log_id, size: log.size, sealed: log.sealed },
    epoch: { active: epoch.keys.epoch, keyset_digest: epoch.keyset.digest },
    clock: view.clock,
    store: { writable, reason: reason ?? null, free_bytes: Number.isFinite(free_bytes) ? free_bytes : null },
    faults: Object.entries(view.runtime.faults).map(([effect, fault]) => ({ effect, ...fault })),
    settings: { ...view.settings, waiting: [...view.settings.waiting] },
    journal_cursor: store.journalHead().cursor,
  };
}

export function ready(view: View): Ready {
  const { writable, reason } = view.store.state();
  const failing = Object.values(view.runtime.faults).some(({ tries }) => tries >= FAILING_TRIES);
  const reasons: Ready['reasons'] = [];
  if (view.draining) reasons.push('draining');
  if (!writable) reasons.push('store_unavailable');
  if (reason === 'disk_low') reasons.push('disk_low');
  if (view.attestation === undefined || view.attestation.not_after_ms <= view.now_ms) reasons.push('not_attested');
  if (failing) reasons.push('effects_failing');
  const { witness } = view;
  if (witness?.state === 'conflict') reasons.push('witness_conflict');
  else if (witness?.mode === 'required' && witness.state !== 'working') reasons.push('witness_missing');
  if (view.clock.held) reasons.push('clock_held');
  if (view.handover === 'transferring') reasons.push('handover_running');
  if (view.handover === 'ended') reasons.push('handed_over');
  const { platforms } = view.attesting;
  const silent = platforms.filter(({ state }) => state === 'failing');
  return {
    ready: reasons.length === 0,
    reasons,
    simulated: platforms[0]!.simulated,
    ...(witness !== undefined &&
      witness.state !== 'working' && { witness: { state: witness.state, reason: witness.reason } }),
    ...(silent.length > 0 && { failing: silent.map(({ role, provider, reason }) => ({ role, provider, reason })) }),
  };
}
