/**
 * The package `aegisd` for programs that embed the sequencer: what `aegisd start` is made of. `createSequencer` runs it in
 * this process, without HTTP; `loadConfig` reads settings. Verifiers and wallets want `aegisd/client`, which needs no daemon.
 * What is not exported here may change at any time.
 */
export type { BatchFile } from '../actors/batch.ts';
export type { Envelope, EnvelopeInput } from '../actors/envelope.ts';
export type { ReportedIndicator, ReportedIndicatorInput } from '../actors/indicator.ts';
export type { Keyset } from '../actors/keyset.ts';
export type { Attestation } from '../actors/quote.ts';
export type { Receipt } from '../actors/receipt.ts';
export { ConfigError, type Issue } from '../config/error.ts';
export { type Loaded, type LoadOptions, loadConfig } from '../config/load.ts';
export type { Config, Settings } from '../config/schema.ts';
export { Fault, type FaultCode } from './fault.ts';
export type { Risk, ThreatUpdate } from './risk.ts';
export {
  createSequencer,
  type Logger,
  type Sequencer,
  type SequencerEvents,
  type SequencerOptions,
  type Submission,
} from './sequencer.ts';
export type { Ready, Status } from './status.ts';
export type { AgentKey, AgentSignature, AttestationReport, TeeProvider } from './tee/agent.ts';
