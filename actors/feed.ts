// The words of the feed (DESIGN §11), which the daemon that sends it and the programs that follow it share: the types of
// entries, their shape, and why a connection ends.
import { z } from 'zod';
import { Counter } from './encoding.ts';

/** What a dashboard may filter by: the names of the upstream, and ours. */
export const ENTRY_TYPES = [
  'status',
  'qrm_update',
  'tx_submitted',
  'txs_ordered',
  'batch_created',
  'seal_created',
  'rotation_scheduled',
  'rotation_executed',
  'epoch_retired',
  'simulation_started',
  'simulation_stopped',
  'order_executed',
  'attestation_changed',
  'epoch_rewrapped',
  'asset_registered',
  'asset_policy',
  'asset_removed',
  'asset_protection',
  'checkpoint_created',
  'migration_ordered',
  'migration_started',
  'migration_completed',
  'migration_rolled_back',
  'handover_completed',
  'names_enrolled',
  'names_removed',
  'names_stale',
  'names_recovered',
  'names_quarantined',
  'name_conflict',
  'config_reloaded',
  'config_rejected',
  'clock_held',
  'clock_agreed',
] as const;

export const FeedEntry = z
  .strictObject({
    cursor: Counter.describe('From 1, without a gap.'),
    type: z.string(),
    at_ms: Counter,
    data: z.unknown(),
  })
  .meta({ id: 'FeedEntry' });
export type FeedEntry = z.output<typeof FeedEntry>;

/** Why a connection ended. RFC 6455 §7.4.2: 4000 and up are the application's. */
export const CLOSE_CODES = {
  server_closing: 1001,
  read_only: 1008,
  store_unavailable: 1011,
  consumer_too_slow: 4408,
  future_cursor: 4409,
  outdated_cursor: 4410,
} as const;
export type CloseReason = keyof typeof CLOSE_CODES;
