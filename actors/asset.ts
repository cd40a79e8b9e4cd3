// An asset: a registered thing under protection (DESIGN §7). This schema validates `POST /assets/register`, types the library
// and is printed in the OpenAPI document; the functions say what a registration becomes, what it is bound by in the log and
// in batches, and how it is shown. A registration is taken literally: what a policy leaves out is filled in when it is
// registered and shown from then on, so that nobody has to guess what is enforced. Its lifecycle is protection.ts.
import { keccak_256 } from '@noble/hashes/sha3.js';
import { z } from 'zod';
import { type AbiFunction, FUNCTION_NAME, functionOfJson, type JsonFunction, parseFunction } from './abi.ts';
import { assetActDigest, assetDigest, policyDigest } from './digest.ts';
import { Digest, decimal, hex, hexOf, utf8 } from './encoding.ts';
import { LABEL_BYTES_MAX, RiskLevel } from './envelope.ts';
import { DEFAULT_OPERATIONS, OWN_OPERATIONS } from './operation.ts';
import { rootOf } from './tree.ts';
import { ASSET_STATES, ASSET_TYPES, type AssetState, type AssetType } from './words.ts';

export const OPERATIONS_MAX = 64;
export const FUNCTIONS_MAX = 128;
/** Assets at one contract address of one chain. */
export const SAME_ADDRESS_MAX = 16;

/** Where each type lives: at a contract, perhaps at one, or off the chain. */
const PLACE: Record<AssetType, 'contract' | 'either' | 'off'> = {
  OnChainToken: 'contract',
  OnChainNFT: 'contract',
  OnChainData: 'either',
  OffChainDatabase: 'off',
  OffChainFile: 'off',
  OffChainStream: 'off',
  OffChainApi: 'off',
  CrossChainBridge: 'contract',
};

/** Narrower than what an envelope may refer to: safe in a path, a file name and a terminal, and one spelling each. */
export const RegisteredId = z
  .string()
  .max(LABEL_BYTES_MAX)
  .regex(/^(?!\.{1,2}$)[A-Za-z0-9._:@-]+$/, 'expected 1 to 128 letters, digits and . _ : @ -, and not a path');

/** EIP-55: letters of both cases are a checksum, and it must be right; of one case they are none. */
export const Address = z
  .string()
  .regex(/^0x[0-9a-fA-F]{40}$/, 'expected 0x and 40 hex digits')
  .refine(isChecksummed, 'the checksum is wrong (EIP-55): a digit differs, or write it in lower case')
  .transform((text) => text.toLowerCase() as `0x${string}`)
  .refine((address) => BigInt(address) !== 0n, 'expected an address other than zero');

export function isChecksummed(text: string): boolean {
  const digits = text.slice(2);
  if (digits === digits.toLowerCase() || digits === digits.toUpperCase()) return true;
  return checksummed(text.toLowerCase()) === text;
}

/** @param address  lower-case */
export function checksummed(address: string): string {
  const digits = address.slice(2);
  const hash = keccak_256(utf8(digits)).toHex();
  return `0x${[...digits].map((digit, i) => (hash[i]! >= '8' ? digit.toUpperCase() : digit)).join('')}`;
}

const ChainId = z
  .union([z.int().min(1), decimal(256)])
  .transform(String)
  .refine((text) => text !== '0', 'expected a chain id from 1 on');

const Operations = z
  .array(z.string().regex(FUNCTION_NAME, 'expected the name of a function, or one of the operations of ours'))
  .max(OPERATIONS_MAX)
  .refine((names) => new Set(names).size === names.length, 'expected distinct operations');

export const AccessPolicy = z.strictObject({
  allowed_operations: Operations.describe('Names of functions and operations; nothing else is let through.'),
  emergency_operations: Operations.describe('What is let through while the asset is protected.'),
  requires_pqc: z.boolean().describe('Refuses transactions that did not come under x-wing.'),
  requires_tee: z.boolean().describe('Refuses everything while the attestation of the enclave is not valid.'),
  risk_threshold: RiskLevel.describe('At this risk score or more the asset is protected.'),
});
export type AccessPolicy = z.output<typeof AccessPolicy>;

const PolicyInput = AccessPolicy.partial({ allowed_operations: true, emergency_operations: true });

const DATA_OPERATIONS = ['encrypt', 'decrypt', 'rewrap'] as const;
export type DataOperation = (typeof DATA_OPERATIONS)[number];
export const GRANT_ROLES = ['data', 'names', 'worker'] as const;

/** Who, beside an admin, may use the data API on the asset. */
const Grants = z
  .partialRecord(z.enum(GRANT_ROLES), z.array(z.enum(DATA_OPERATIONS)).max(DATA_OPERATIONS.length))
  .describe('Token roles that may use the data key, and for what; admins always may.');
export type Grants = z.output<typeof Grants>;
const DEFAULT_GRANTS: Grants = { data: [...DATA_OPERATIONS] };

/** Recursive, so that it needs a name in documents. */
const AbiParameter: z.ZodType<NonNullable<JsonFunction['inputs']>[number]> = z
  .object({ type: z.string().max(128), components: z.lazy(() => z.array(AbiParameter).max(64)).optional() })
  .meta({ id: 'AbiParameter' });

const AbiEntry = z.object({
  type: z.string().max(32).optional(),
  name: z.string().max(64).optional(),
  inputs: z.array(AbiParameter).max(64).optional(),
});

/** Functions of the contract, beyond the standard ones. */
const Abi = z
  .array(z.union([z.string().max(512), AbiEntry]))
  .max(FUNCTIONS_MAX)
  .transform((entries, context) => functionsOf(entries, context));

/** Into canonical signatures, sorted and distinct. */
function functionsOf(entries: readonly (string | JsonFunction)[], context: z.RefinementCtx): string[] {
  const found = new Map<string, AbiFunction>();
  entries.forEach((entry, i) => {
    try {
      const each = typeof entry === 'string' ? parseFunction(entry) : functionOfJson(entry);
      if (each === undefined) return;
      if (Object.hasOwn(OWN_OPERATIONS, each.name)) throw new SyntaxError(`${each.name} is an operation of ours`);
      const other = found.get(each.selector);
      if (other !== undefined && other.signature !== each.signature) {
        throw new SyntaxError(`its selector is that of ${other.signature}`);
      }
      found.set(each.selector, each);
    } catch (error) {
      context.addIssue({ code: 'custom', path: [i], message: (error as Error).message });
    }
  });
  return [...found.values()].map(({ signature }) => signature).sort();
}

/** The body of `POST /assets/register`, as the deployment guide writes it. */
export const Registration = z
  .strictObject({
    asset_id: RegisteredId,
    asset_type: z.enum(ASSET_TYPES),
    chain_id: ChainId.optional().describe('Number or decimal string.'),
    contract_address: Address.optional(),
    access_policy: PolicyInput,
    abi: Abi.optional().describe('Functions of the contract beyond the standards: signatures or JSON ABI entries.'),
    grants: Grants.optional(),
  })
  .superRefine(({ asset_type, chain_id, contract_address }, context) => {
    const place = PLACE[asset_type];
    const fail = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (place === 'off' && chain_id !== undefined) fail('chain_id', `${asset_type} is on no chain`);
    else if (place === 'off' && contract_address !== undefined)
      fail('contract_address', `${asset_type} has no contract`);
    else if (place === 'contract' && contract_address === undefined) fail('contract_address', 'expected its contract');
    else if ((chain_id === undefined) !== (contract_address === undefined)) {
      fail(chain_id === undefined ? 'chain_id' : 'contract_address', 'chain_id and contract_address come together');
    }
  })
  .meta({ id: 'AssetRegistration' });
export type Registration = z.output<typeof Registration>;
export type RegistrationInput = z.input<typeof Registration>;

/** The body of `PATCH /assets/{id}/policy`: what it names is replaced. */
export const PolicyPatch = z
  .strictObject({ ...AccessPolicy.partial().shape, grants: Grants.optional(), abi: Abi.optional() })
  .refine((patch) => Object.values(patch).some((value) => value !== undefined), 'expected something to change')
  .meta({ id: 'AssetPolicyPatch' });
export type PolicyPatch = z.output<typeof PolicyPatch>;

/** What is kept: a registration with everything filled in, and how far its lifecycle has come. */
export interface Asset {
  readonly asset_id: string;
  readonly asset_type: AssetType;
  /** Both null for what is on no chain. */
  readonly chain_id: string | null;
  readonly contract_address: `0x${string}` | null;
  readonly access_policy: AccessPolicy;
  /** Canonical signatures, sorted. */
  readonly abi: readonly string[];
  readonly grants: Grants;
  /** Never `Protected`, which follows from the risk: `stateAt` in protection.ts. */
  readonly state: Exclude<AssetState, 'Protected'>;
  readonly registered_at_ms: number;
  /** `aegis/policy/v1`; kept, because every look at the asset says it. */
  readonly policy_digest: string;
}
type Undigested = Omit<Asset, 'policy_digest'>;

export function assetOf(registration: Registration, registered_at_ms: number): Asset {
  const { asset_id, asset_type, chain_id = null, contract_address = null, access_policy, abi = [] } = registration;
  const { allowed_operations = defaultsOf(asset_type, abi), emergency_operations = [] } = access_policy;
  return digested({
    ...{ asset_id, asset_type, chain_id, contract_address },
    access_policy: {
      allowed_operations: [...allowed_operations].sort(),
      emergency_operations: [...emergency_operations].sort(),
      requires_pqc: access_policy.requires_pqc,
      requires_tee: access_policy.requires_tee,
      risk_threshold: access_policy.risk_threshold,
    },
    abi,
    grants: registration.grants ?? DEFAULT_GRANTS,
    state: 'Active',
    registered_at_ms,
  });
}

const digested = (asset: Undigested): Asset => ({ ...asset, policy_digest: hex(policyDigestOf(asset)) });

/** A contract whose functions the registration names is there to be called by them. */
function defaultsOf(asset_type: AssetType, abi: readonly string[]): string[] {
  const own = asset_type === 'OnChainData' ? abi.map((signature) => signature.slice(0, signature.indexOf('('))) : [];
  return [...new Set([...DEFAULT_OPERATIONS[asset_type], ...own])].slice(0, OPERATIONS_MAX);
}

export function patched(asset: Asset, { grants, abi, ...policy }: PolicyPatch): Asset {
  const given = Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== undefined));
  const merged = { ...asset.access_policy, ...given };
  return digested({
    ...asset,
    access_policy: {
      ...merged,
      allowed_operations: [...merged.allowed_operations].sort(),
      emergency_operations: [...merged.emergency_operations].sort(),
    },
    ...(grants !== undefined && { grants }),
    ...(abi !== undefined && { abi }),
  });
}

/** Whether any transaction of this chain can reach it: a reference to anything else is never touched and never scores. */
export function isReachable(asset: Asset, chain_id: string): boolean {
  return asset.contract_address !== null && asset.chain_id === chain_id;
}

const sortedRoot = (entries: readonly string[]): Uint8Array => rootOf([...entries].sort().map(utf8));

/** `aegis/policy/v1`: everything that decides what is let through. */
export function policyDigestOf(asset: Undigested): Uint8Array {
  const { access_policy: policy, grants } = asset;
  const granted = Object.entries(grants).flatMap(([role, names]) =>
    [...new Set(names)].map((name) => `${role} ${name}`),
  );
  return policyDigest({
    chain_id: asset.chain_id,
    contract_address: asset.contract_address,
    requires_pqc: policy.requires_pqc,
    requires_tee: policy.requires_tee,
    risk_threshold: policy.risk_threshold,
    allowed_root: sortedRoot(policy.allowed_operations),
    emergency_root: sortedRoot(policy.emergency_operations),
    abi_root: sortedRoot(asset.abi),
    grants_root: sortedRoot(granted),
  });
}

/** What a batch says of an asset that it touched; enough to compute its digest. */
export const Touched = z
  .strictObject({
    asset_id: RegisteredId,
    asset_type: z.enum(ASSET_TYPES),
    migration_state: z.enum(ASSET_STATES),
    policy_digest: Digest,
  })
  .meta({ id: 'TouchedAsset' });
export type Touched = z.output<typeof Touched>;

export function touchedOf(asset: Asset, state: AssetState): Touched {
  const { asset_id, asset_type, policy_digest } = asset;
  return { asset_id, asset_type, migration_state: state, policy_digest };
}

export function touchedDigest(touched: Touched): Uint8Array {
  return assetDigest({
    asset_id: touched.asset_id,
    type: ASSET_TYPES.indexOf(touched.asset_type),
    state: ASSET_STATES.indexOf(touched.migration_state),
    policy_digest: touched.policy_digest,
  });
}

/** `assets_root`: entries sorted by the bytes of the ids, each asset once. */
export function assetsRoot(touched: readonly Touched[]): Uint8Array {
  return rootOf(touched.map(touchedDigest));
}

/** ASCII, so that the order of the texts is that of the bytes. */
export const byId = (a: { asset_id: string }, b: { asset_id: string }): number =>
  a.asset_id < b.asset_id ? -1 : a.asset_id > b.asset_id ? 1 : 0;

/** Numbered from 1 in `aegis/asset-act/v1`. */
export const ASSET_ACTS = ['registered', 'policy', 'removed'] as const;
export type AssetAct = (typeof ASSET_ACTS)[number];

/** What a privileged act puts into the log. @param after  the asset as it is then; undefined when it is gone */
export function actDigest(act: AssetAct, asset_id: string, after: Touched | undefined, at_ms: number): Uint8Array {
  const digest = after === undefined ? undefined : touchedDigest(after);
  return assetActDigest({ act: ASSET_ACTS.indexOf(act) + 1, asset_id, asset_digest: digest, timestamp_ms: at_ms });
}

/** `GET /assets/protection/{id}`. The data key is never shown; whether there is one is. */
export const Protection = z
  .strictObject({
    asset_id: RegisteredId,
    asset_type: z.enum(ASSET_TYPES),
    chain_id: decimal(256).nullable(),
    contract_address: hexOf(20).nullable(),
    access_policy: AccessPolicy,
    abi: z.array(z.string()),
    grants: Grants,
    migration_state: z.enum(ASSET_STATES),
    policy_digest: Digest,
    asset_digest: Digest,
    encryption_key: z
      .strictObject({ epoch: z.int(), algorithm: z.literal('AES-256-GCM') })
      .nullable()
      .describe('The epoch that wraps its data key; null until data was encrypted.'),
    registered_at_ms: z.int(),
  })
  .meta({ id: 'AssetProtection' });
export type Protection = z.output<typeof Protection>;

export function protectionOf(asset: Asset, state: AssetState, key_epoch: number | undefined): Protection {
  const { state: _, abi, ...rest } = asset;
  const touched = touchedOf(asset, state);
  return {
    ...rest,
    abi: [...abi],
    migration_state: state,
    policy_digest: touched.policy_digest,
    asset_digest: hex(touchedDigest(touched)),
    encryption_key: key_epoch === undefined ? null : { epoch: key_epoch, algorithm: 'AES-256-GCM' },
  };
}
