// What an admin can order (DESIGN §6, §8, §9, §11): one schema a kind of act, all of them in `ACTS`. An act
// says exactly what is to be done and nothing that could be read in two ways, since its canonical JSON is what is signed: no
// defaults, no optional members, no free text that decides anything. A new kind is one schema here and one handler for
// daemon/orders.ts; whoever has no handler for a kind refuses it.
import { z } from 'zod';
import { ALGORITHM_BIT } from './batch.ts';
import { Bytes32, Counter, Digest, hexOf, uint } from './encoding.ts';
import { RISK_MAX, SCHEMES, TxId } from './envelope.ts';

const POST_QUANTUM = ALGORITHM_BIT['ML-DSA-87'] | ALGORITHM_BIT['SLH-DSA-SHA2-256s'];

const RetireEpoch = z
  .strictObject({
    type: z.literal('retire_epoch'),
    epoch: uint(32).min(1, 'expected an epoch, which count from 1').describe('In grace; the active one never.'),
  })
  .describe('Ends the grace of an epoch now. What is still encrypted to it can never be opened again.');

const Register = hexOf(48);

/** One enclave, by everything that its kind of quote tells of its code. */
export const Measurement = z.discriminatedUnion(
  'quote_type',
  [
    z.strictObject({
      quote_type: z.literal('TDX'),
      mrtd: Register,
      rtmr0: Register,
      rtmr1: Register,
      rtmr2: Register,
      compose_hash: Bytes32.nullable().describe(
        'Of a dstack app; null only where the registers name the whole system.',
      ),
    }),
    z.strictObject({ quote_type: z.literal('SEV-SNP'), measurement: Register.describe('Of the launch.') }),
    z.strictObject({ quote_type: z.literal('SGX'), mr_enclave: Bytes32, mr_signer: Bytes32 }),
  ],
  'expected TDX, SEV-SNP or SGX',
);
export type Measurement = z.output<typeof Measurement>;

const AllowMeasurement = z
  .strictObject({ type: z.literal('allow_measurement'), measurement: Measurement, in_force_after_ms: Counter })
  .describe('Lets an enclave succeed this one, from a time on that leaves others the chance to object.');

const RevokeMeasurement = z
  .strictObject({ type: z.literal('revoke_measurement'), measurement: Measurement })
  .describe('Takes back that an enclave may succeed this one, at once.');

/** Null is the one spelling of none. */
const Label = TxId.min(1);

const SetRedundancy = z
  .strictObject({
    type: z.literal('set_redundancy'),
    enabled: z.boolean(),
    worker: Label.nullable().describe('A label of the second platform; shown, trusted for nothing.'),
    enclave: Label.nullable().describe('Likewise, of its enclave.'),
  })
  .describe('Whether seals carry the evidence of the second platform.');

const RiskOverride = z
  .strictObject({
    type: z.literal('risk_override'),
    score: z.int().min(0).max(RISK_MAX).nullable(),
    until_ms: Counter.nullable().describe('When the computed score returns by itself; null exactly where score is.'),
  })
  .refine(({ score, until_ms }) => (score === null) === (until_ms === null), {
    error: 'expected null exactly where score is null',
    path: ['until_ms'],
  })
  .describe('Puts a score in the place of the computed one until a time; null gives the computed one its place back.');

const Downgrade = z
  .strictObject({
    type: z.literal('downgrade'),
    algorithms: z
      .literal([POST_QUANTUM, POST_QUANTUM | ALGORITHM_BIT.ECDSA])
      .describe('Of batches from the next epoch on, as in their header: 3, or 7 with ECDSA.'),
    schemes: z
      .array(z.enum(SCHEMES))
      .min(1)
      .max(SCHEMES.length)
      .refine((schemes) => schemes[0] === 'x-wing' && new Set(schemes).size === schemes.length, {
        error: 'expected ["x-wing"] or ["x-wing", "ecies"]',
      })
      .describe('Of envelopes that are admitted.'),
  })
  .describe('Allows again what a rotation by risk took away. The post-quantum algorithms always stay.');

const AcceptClock = z
  .strictObject({ type: z.literal('accept_clock'), time_ms: Counter.describe('What the right clock shows now.') })
  .describe("Says that the host's clock is right, after a step that was held; only while it shows about this time.");

const ResolveRestore = z
  .strictObject({
    type: z.literal('resolve_restore'),
    from_size: Counter.describe('Entries of the log that the restored store has.'),
    to_size: Counter.describe('Entries with those that were published since; the order itself is the next.'),
    root: Digest.describe('Of the first `to_size` entries.'),
    next_height: Counter.describe('The lowest height that may be signed from now on.'),
    heads_above: Counter.describe('The heads that may be sealed from now on are larger than this.'),
  })
  .describe('Brings a store that was restored from a backup forward over what was published since, and lets it go on.');

export const ACTS = [
  RetireEpoch,
  AllowMeasurement,
  RevokeMeasurement,
  SetRedundancy,
  RiskOverride,
  Downgrade,
  AcceptClock,
  ResolveRestore,
] as const;

export type ActType = z.output<(typeof ACTS)[number]>['type'];

export const ACT_TYPES: readonly ActType[] = ACTS.map(({ shape }) => shape.type.value);

export const Act = z
  .discriminatedUnion('type', ACTS, { error: () => `expected an act of one of these types: ${ACT_TYPES.join(', ')}` })
  .meta({ id: 'Act' });
export type Act = z.output<typeof Act>;

/** The act of one type. */
export type ActOf<Type extends ActType> = Extract<Act, { type: Type }>;
