// Quotes of a dstack CVM: TDX with the event log that leads to its registers, from the guest agent (dstack.ts guards the SDK).
// Called by platform.ts, one at a time. That the quote holds what was asked for, and that the log leads to its registers, is
// verified there before anything is published.
import type { GuestAgent } from '../dstack.ts';
import type { Publish, QuoteProvider } from './provider.ts';

export interface DstackOptions {
  readonly agent: Pick<GuestAgent, 'quote' | 'info'>;
  readonly publish: Publish;
}

export function dstackProvider({ agent, publish }: DstackOptions): QuoteProvider {
  return {
    providerName: 'dstack',
    simulated: false,
    async isAvailable() {
      try {
        await agent.info();
        return true;
      } catch {
        return false;
      }
    },
    async quote(report_data) {
      const { quote, event_log } = await agent.quote(report_data);
      return publish({ quote_type: 'TDX', quote, event_log, certificates: {} });
    },
  };
}
