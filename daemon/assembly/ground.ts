// What every room of a sequencer stands on: the settings, the host's clock or the believed one, whom to tell of trouble, and what only the
// assembly has in its hands, the source of all keys and the watermark. Rooms take what they need of it and keep no more.
import type { Config } from '../../config/schema.ts';
import type { Logger } from '../embedding.ts';
import type { Fault } from '../fault.ts';
import type { KeySource } from '../keys/source.ts';
import type { Watermark } from '../watermark.ts';

export interface Modules {
  readonly config: Config;
  readonly log: Logger;
  /** The host's clock, and one that nobody sets. */
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly fatal: (error: unknown) => void;
  /** See `WatermarkOptions`. */
  readonly accept_missing: boolean;
  /** See `SequencerOptions`. */
  readonly accept_new_witness: boolean;
  /** See `SequencerOptions`. */
  readonly successor_of: string | undefined;
  readonly signal: AbortSignal;
  readonly onSucceeding: (stage: string | undefined) => void;
  /** An envelope of this client's was refused. */
  readonly onRefused: (client: string) => void;
}

export interface Ground extends Modules {
  readonly source: KeySource;
  readonly watermark: Watermark;
  readonly onFault: (fault: Fault) => void;
}
