// The state of the deprecated Phala sequencer as JSON (assets, policies, pending transactions, attestations), and what of it becomes a
// registration here. `aegisd import` reads it and hands the registrations to a daemon. Nothing is taken in silence or left out in
// silence: every item gets a line, and so does each part of an asset that stays behind. Keys are never taken: one that lay in a
// file is no secret any more.
import { z } from 'zod';
import { Registration, type RegistrationInput } from './asset.ts';
import { ASSET_TYPES } from './words.ts';

export const LEGACY_ITEMS_MAX = 100_000;
const TEXT_MAX = 1_024;

const Text = z.string().max(TEXT_MAX);
const Legacy = z.looseObject({
  asset_id: Text,
  asset_type: Text,
  chain_id: z.union([z.int().min(0), Text]).nullish(),
  contract_address: Text.nullish(),
  encryption_key: z.unknown(),
  access_policy: z.looseObject({
    allowed_operations: z.array(Text).max(1_024).default([]),
    requires_pqc: z.boolean(),
    requires_tee: z.boolean(),
    risk_threshold: z.int().min(0),
  }),
  migration_state: Text.nullish(),
});
type Legacy = z.output<typeof Legacy>;

/** A map by id, or a list. */
const Many = z
  .union([z.array(z.unknown()).max(LEGACY_ITEMS_MAX), z.record(z.string(), z.unknown())])
  .transform((value) => (Array.isArray(value) ? value : Object.values(value)))
  .refine((items) => items.length <= LEGACY_ITEMS_MAX, `expected at most ${LEGACY_ITEMS_MAX} items`);

/** The names that the parts have had. */
export const LegacyState = z.looseObject({
  assets: Many.optional(),
  asset_protections: Many.optional(),
  pending: Many.optional(),
  mempool: Many.optional(),
  attestations: Many.optional(),
});

export interface LegacyLine {
  /** As `assets token_001`. */
  readonly item: string;
  readonly outcome: 'taken' | 'not_taken';
  readonly reason: string;
}

export interface LegacyAsset {
  readonly asset_id: string;
  /** Undefined where it can't be registered as it is. */
  readonly registration: RegistrationInput | undefined;
  readonly lines: readonly LegacyLine[];
}

const KNOWN = ['assets', 'asset_protections', 'pending', 'mempool', 'attestations'] as const;
const LEFT: Readonly<Record<'pending' | 'mempool' | 'attestations', string>> = {
  pending: 'it is encrypted to a keyset that is not of this log: its wallet encrypts and submits it again',
  mempool: 'it is encrypted to a keyset that is not of this log: its wallet encrypts and submits it again',
  attestations: 'evidence of another enclave says nothing of this one',
};

/** @returns a registration for each asset that can have one, and a line for everything there is */
export function readLegacy(state: z.output<typeof LegacyState>): { assets: LegacyAsset[]; lines: LegacyLine[] } {
  const lines: LegacyLine[] = [];
  for (const part of ['pending', 'mempool', 'attestations'] as const) {
    (state[part] ?? []).forEach((each, i) => {
      lines.push({ item: `${part} ${nameOf(each, i)}`, outcome: 'not_taken', reason: LEFT[part] });
    });
  }
  for (const key of Object.keys(state)) {
    if ((KNOWN as readonly string[]).includes(key)) continue;
    lines.push({ item: cut(key), outcome: 'not_taken', reason: 'it is no part of the state that is known' });
  }
  const seen = new Set<string>();
  const assets = [...(state.assets ?? []), ...(state.asset_protections ?? [])].map((each, i) => assetOf(each, i, seen));
  return { assets, lines };
}

function assetOf(value: unknown, i: number, seen: Set<string>): LegacyAsset {
  const asset_id = nameOf(value, i);
  const item = `assets ${asset_id}`;
  const none = (reason: string): LegacyAsset => ({
    ...{ asset_id, registration: undefined, lines: [{ item, outcome: 'not_taken', reason }] },
  });
  const parsed = Legacy.safeParse(value);
  if (!parsed.success) return none(issueOf(parsed.error));
  if (seen.has(asset_id)) return none('its id is there twice; the first one counts');
  seen.add(asset_id);
  const legacy = parsed.data;
  const state = legacy.migration_state ?? 'Active';
  if (state !== 'Active')
    return none(`its migration_state is ${cut(state)}: complete or roll back its migration there first`);
  const registration = registrationOf(legacy);
  const valid = Registration.safeParse(registration);
  if (!valid.success) return none(issueOf(valid.error));
  const left: LegacyLine[] = [];
  const { encryption_key: key = null } = legacy;
  if (key !== null && !(Array.isArray(key) && key.length === 0)) {
    const reason = 'a key that lay in a file is no secret: encrypt the data anew with POST /assets/{id}/encrypt';
    left.push({ item: `${item} encryption_key`, outcome: 'not_taken', reason });
  }
  return { asset_id, registration, lines: left };
}

/** With no default: what the old policy did not list stays forbidden. */
function registrationOf({
  asset_id,
  asset_type,
  chain_id,
  contract_address,
  access_policy,
}: Legacy): RegistrationInput {
  const { allowed_operations, requires_pqc, requires_tee, risk_threshold } = access_policy;
  const isType = (ASSET_TYPES as readonly string[]).includes(asset_type);
  return {
    asset_id,
    asset_type: (isType ? asset_type : cut(asset_type)) as RegistrationInput['asset_type'],
    ...(chain_id !== null && chain_id !== undefined && { chain_id }),
    ...(contract_address !== null && contract_address !== undefined && { contract_address }),
    access_policy: { allowed_operations, requires_pqc, requires_tee, risk_threshold },
  };
}

function nameOf(value: unknown, i: number): string {
  const { asset_id, tx_id, worker_id } = (typeof value === 'object' && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const name = asset_id ?? tx_id ?? worker_id;
  return typeof name === 'string' && name !== '' ? cut(name) : `[${i}]`;
}

const cut = (text: string): string => (text.length > 128 ? `${text.slice(0, 128)}…` : text);

function issueOf(error: z.ZodError): string {
  const issue = error.issues[0]!;
  return `${issue.path.join('.') || 'it'}: ${issue.message}`;
}
