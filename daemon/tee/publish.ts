// Brings raw quotes into the one form that is published (canonical bytes, so that nothing unsigned in them can be changed),
// with the collateral by which they verify. Called by the providers; where collateral comes from is given to it.
import { canonicalEventLog } from '../../actors/eventlog.ts';
import { canonicalQuote } from '../../actors/intelquote.ts';
import { canonicalSnpReport } from '../../actors/snp.ts';
import { Fault } from '../fault.ts';
import type { CertificateTable, Evidence, Publish, RawQuote } from './provider.ts';

/** A quote that wants its collateral. */
export interface Bare {
  readonly quote_type: Evidence['quote_type'];
  /** Canonical. */
  readonly quote: Uint8Array;
  /** What the host put beside an SEV-SNP report; unverified. */
  readonly certificates: CertificateTable;
}

/** @throws {Fault} `quote_failed` when there is none for this quote */
export type CollateralSource = (bare: Bare) => Promise<Evidence['collateral']>;

export function publisher(provider: string, collateral: CollateralSource): Publish {
  return async (raw) => {
    const { quote_type, certificates } = raw;
    const { quote, event_log } = canonical(provider, raw);
    return { quote_type, quote, event_log, collateral: await collateral({ quote_type, quote, certificates }) };
  };
}

function canonical(provider: string, { quote_type, quote, event_log }: RawQuote) {
  try {
    return {
      quote: quote_type === 'SEV-SNP' ? canonicalSnpReport(quote) : canonicalQuote(quote),
      event_log: event_log === null ? null : canonicalEventLog(event_log),
    };
  } catch (cause) {
    const reason = `its ${quote_type} evidence is malformed: ${cause instanceof Error ? cause.message : 'unreadable'}`;
    throw new Fault({ code: 'quote_failed', provider, reason }, { cause });
  }
}

/** Where nobody serves any. */
export const noCollateral: CollateralSource = async ({ quote_type }) => {
  throw new Fault({ code: 'quote_failed', provider: quote_type, reason: 'no collateral for its quotes is configured' });
};
