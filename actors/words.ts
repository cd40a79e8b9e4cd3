// Closed lists of words that formats, interfaces and commands share. Without imports, so that the command line, which names them in its
// help, loads nothing of what they are about.

/** Numbered in this order in `aegis/asset/v1`. */
export const ASSET_TYPES = [
  'OnChainToken',
  'OnChainNFT',
  'OnChainData',
  'OffChainDatabase',
  'OffChainFile',
  'OffChainStream',
  'OffChainApi',
  'CrossChainBridge',
] as const;
export type AssetType = (typeof ASSET_TYPES)[number];

/** Numbered in this order in `aegis/asset/v1`: the upstream's five, then ours. */
export const ASSET_STATES = ['Active', 'Preparing', 'Migrating', 'Migrated', 'Rollback', 'Protected'] as const;
export type AssetState = (typeof ASSET_STATES)[number];

/** Of IPNS names, in the order in which most go through them. */
export const NAME_STATES = [
  'due',
  'opening',
  'signed',
  'publishing',
  'published',
  'retrying',
  'stale',
  'quarantined',
] as const;
export type NameState = (typeof NAME_STATES)[number];

/** Of threats (DESIGN §9), in the order in which assessments list them and the simulation draws. */
export const CATEGORIES = [
  'digital_signatures',
  'zk_proof_forgery',
  'decryption_hndl',
  'hash_reversal',
  'consensus_attacks',
  'cross_chain_bridge',
  'network_layer',
  'key_management',
  'mev_ordering',
  'smart_contracts',
  'side_channel',
  'migration_agility',
] as const;
export type Category = (typeof CATEGORIES)[number];

/** Of machines: none that matter, noisy ones of today, fault-tolerant ones. In this order. */
export const ERAS = ['pre_quantum', 'nisq', 'fault_tolerant'] as const;
export type Era = (typeof ERAS)[number];
