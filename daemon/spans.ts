// What the daemon spends its time on, told to whoever in this process listens: a request, a cut, an effect such as opening, signing
// or sealing. The channel is Node's own (diagnostics_channel `aegisd.span`), so a program that embeds a sequencer can listen as
// telemetry.ts does; while nobody listens, nothing is measured. A span says kinds, numbers, codes and ids of requests, never what is
// in an envelope, which one it is, or who sent it.
import { channel } from 'node:diagnostics_channel';
import { Fault } from './fault.ts';

export interface Span {
  /** `request`, `cut`, or the kind of an effect: `open`, `sign`, `seal`. */
  readonly name: string;
  /** What it is about: the height of a batch, the size of a head. */
  readonly subject?: number;
  /** Unix time in ms with decimals, by the process' monotonic clock. */
  readonly started_ms: number;
  readonly duration_ms: number;
  /** Code of the fault that ended it, `internal_error` for what is none. */
  readonly error?: string;
  readonly attributes?: Readonly<Record<string, string | number>>;
  /** W3C trace context that the request came with. */
  readonly traceparent?: string;
}

const spans = channel('aegisd.span');

/** Whether somebody listens. */
export const listened = (): boolean => spans.hasSubscribers;

export function tell(span: Span): void {
  spans.publish(span);
}

export function onSpan(listener: (span: Span) => void): Disposable {
  const hear = (message: unknown) => listener(message as Span);
  spans.subscribe(hear);
  return { [Symbol.dispose]: () => void spans.unsubscribe(hear) };
}

/** @param about  of what came of it; undefined where there is nothing to tell */
export async function timed<T>(
  name: string,
  act: () => Promise<T>,
  about: (result: T | undefined) => Pick<Span, 'subject'> | undefined,
): Promise<T> {
  if (!listened()) return act();
  const started = performance.now();
  const end = (result: T | undefined, error?: string) => {
    const found = about(result);
    if (found === undefined) return;
    const times = { started_ms: performance.timeOrigin + started, duration_ms: performance.now() - started };
    tell({ name, ...times, ...found, ...(error !== undefined && { error }) });
  };
  try {
    const result = await act();
    end(result);
    return result;
  } catch (error) {
    end(undefined, error instanceof Fault ? error.code : 'internal_error');
    throw error;
  }
}
