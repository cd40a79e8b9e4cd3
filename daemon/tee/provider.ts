// What a source of hardware quotes offers (DESIGN §6). The sealer and the keyset publisher call `quote`; which provider
// stands behind it is chosen by `attestation.primary`. The rest of the agents' TEE provider protocol (generateKey, sign,
// verifyAttestation, getAttestationReport) joins this interface when it is built.
import type { Evidence } from '../../actors/evidence.ts';
import type { ProviderName } from '../../actors/quote.ts';

export type { Collateral } from '../../actors/collateral.ts';
export type { Evidence } from '../../actors/evidence.ts';

export interface QuoteProvider {
  readonly providerName: ProviderName;
  /** True where no hardware vouches for anything. */
  readonly simulated: boolean;
  isAvailable(): Promise<boolean>;
  /**
   * @param report_data  64 bytes, from `quoteDigest`
   * @returns            canonical evidence with collateral
   * @throws {Fault}     `quote_failed`
   */
  quote(report_data: Uint8Array): Promise<Evidence>;
}
