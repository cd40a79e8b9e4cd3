// What a source of hardware quotes offers (DESIGN §6). platform.ts calls `quote`, verifies what comes, and offers the rest of
// the TEE provider protocol that agents use (agent.ts) over any of them. Which providers stand behind the daemon is chosen
// by `attestation.primary` and `attestation.redundancy` (open.ts).
import type { Evidence, QuoteType } from '../../actors/evidence.ts';
import type { ProviderName } from '../../actors/quote.ts';

export type { Collateral } from '../../actors/collateral.ts';
export type { Evidence } from '../../actors/evidence.ts';

/** 64 bytes, as every platform takes them. */
export const REPORT_DATA_BYTES = 64;

export interface QuoteProvider {
  readonly providerName: ProviderName;
  /** True where no hardware vouches for anything. */
  readonly simulated: boolean;
  /** Whether the platform answers at all; never throws. */
  isAvailable(): Promise<boolean>;
  /**
   * One call at a time: platform.ts sees to that.
   *
   * @param report_data  64 bytes, from `quoteDigest`
   * @returns            canonical evidence with collateral
   * @throws {Fault}     `quote_failed`, and where it asks a guest agent, `guest_agent_timeout` or `guest_agent_failed`
   */
  quote(report_data: Uint8Array): Promise<Evidence>;
}

/** A quote as the platform gave it, before it is brought into the form that is published. */
export interface RawQuote {
  readonly quote_type: QuoteType;
  readonly quote: Uint8Array;
  /** As a guest agent gave it. */
  readonly event_log: string | null;
  /** DER of the chain that the host put beside an SEV-SNP report; unverified. */
  readonly certificates: CertificateTable;
}

export interface CertificateTable {
  readonly vcek?: Uint8Array;
  readonly vlek?: Uint8Array;
  readonly ask?: Uint8Array;
  readonly ark?: Uint8Array;
}

/**
 * Makes of a raw quote what is published: its canonical form with the collateral by which it verifies.
 *
 * @throws {Fault} `quote_failed` when the bytes are no such quote, or there is no collateral for it
 */
export type Publish = (raw: RawQuote) => Promise<Evidence>;
