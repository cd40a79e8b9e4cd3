// Spans on their way to an OpenTelemetry collector: OTLP over HTTP in JSON (`telemetry.otlp_endpoint`, off by default). It promises to
// be in nobody's way: what waits is bounded, one request is on its way at a time and no longer than SEND_TIMEOUT_MS, and what finds no
// room or no collector is dropped and counted. Cutting, opening and signing a batch share a trace, whose id follows from log and height.
import { createHash, randomBytes } from 'node:crypto';
import type { Logger } from './embedding.ts';
import { onSpan, type Span } from './spans.ts';

export interface TelemetryOptions {
  /** Base URL; spans go to `/v1/traces` below it. */
  readonly endpoint: string;
  readonly log_id: string;
  readonly version: string;
  readonly log: Pick<Logger, 'warn' | 'info'>;
}

/** Bounds of the queue, of one request, and of how long a span waits for others. */
const QUEUED_MAX = 4_096;
const SENT_MAX = 512;
const FLUSH_MS = 1_000;
const SEND_TIMEOUT_MS = 5_000;
/** Requests can be thousands a second; batches and seals always find room. */
const REQUESTS_QUEUED_MAX = QUEUED_MAX / 2;

/** opentelemetry-proto, trace.proto: SpanKind, StatusCode. */
const KIND = { internal: 1, server: 2 };
const STATUS_ERROR = 2;

/** What shares the trace of a batch; its subject is a height. */
const OF_A_BATCH: ReadonlySet<string> = new Set(['cut', 'open', 'sign']);
const TRACEPARENT = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$/;

export class Telemetry implements AsyncDisposable {
  readonly #options: TelemetryOptions;
  readonly #url: string;
  readonly #listening: Disposable;
  readonly #counts = { sent: 0, dropped: 0, failed: 0 };
  #queue: object[] = [];
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #refused = false;
  #closing = false;

  constructor(options: TelemetryOptions) {
    this.#options = options;
    this.#url = `${options.endpoint.replace(/\/$/, '')}/v1/traces`;
    this.#listening = onSpan((span) => this.#take(span));
  }

  /** Spans since the start: taken by the collector, without room here, not taken. */
  get counts(): Readonly<{ sent: number; dropped: number; failed: number }> {
    return this.#counts;
  }

  /** One more request with what waits, after the one that is on its way; the rest is given up. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    this.#listening[Symbol.dispose]();
    clearTimeout(this.#timer);
    await this.#sending;
    if (this.#queue.length > 0) await this.#send();
    this.#counts.dropped += this.#queue.splice(0).length;
  }

  #take(span: Span): void {
    const room = span.name === 'request' ? REQUESTS_QUEUED_MAX : QUEUED_MAX;
    if (this.#queue.length >= room) {
      this.#counts.dropped += 1;
      return;
    }
    this.#queue.push(encoded(span, this.#options.log_id));
    if (this.#queue.length >= SENT_MAX) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#sending !== undefined || this.#queue.length === 0) return;
    this.#sending = this.#send().finally(() => {
      this.#sending = undefined;
      if (this.#closing) return;
      if (this.#queue.length >= SENT_MAX) this.#flush();
      else if (this.#queue.length > 0) this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
    });
  }

  /** Never throws: whoever acts must not hear of who watches. */
  async #send(): Promise<void> {
    const spans = this.#queue.splice(0, SENT_MAX);
    const reason = await this.#post(JSON.stringify(envelope(spans, this.#options)));
    this.#counts[reason === undefined ? 'sent' : 'failed'] += spans.length;
    const { log, endpoint } = this.#options;
    // Once, and once more when it is over: a collector that is down for a night fills no log.
    if (reason !== undefined && !this.#refused) log.warn({ endpoint, reason }, 'the collector takes no spans');
    if (reason === undefined && this.#refused)
      log.info({ endpoint, ...this.#counts }, 'the collector takes spans again');
    this.#refused = reason !== undefined;
  }

  /** @returns why it was not taken */
  async #post(body: string): Promise<string | undefined> {
    const signal = AbortSignal.timeout(SEND_TIMEOUT_MS);
    const headers = { 'content-type': 'application/json' };
    try {
      const answer = await fetch(this.#url, {
        ...{ method: 'POST', headers, body, signal, redirect: 'error', credentials: 'omit' },
      });
      await answer.body?.cancel();
      return answer.ok ? undefined : `HTTP ${answer.status}`;
    } catch (error) {
      const { cause, name } = error as Error & { cause?: { code?: string } };
      return cause?.code ?? name;
    }
  }
}

/** JSON of ExportTraceServiceRequest: ids in hex, 64-bit integers as text (OTLP §"JSON Protobuf Encoding"). */
function envelope(spans: readonly object[], { version, log_id }: TelemetryOptions): object {
  const resource = { 'service.name': 'aegisd', 'service.version': version, 'aegis.log_id': log_id };
  const scope = { name: 'aegisd', version };
  return { resourceSpans: [{ resource: { attributes: listed(resource) }, scopeSpans: [{ scope, spans }] }] };
}

function encoded({ name, subject, started_ms, duration_ms, error, attributes, traceparent }: Span, log_id: string) {
  const about = { ...(subject !== undefined && { [`aegis.${unitOf(name)}`]: subject }), ...attributes };
  return {
    ...placed(name, subject, traceparent, log_id),
    name: attributes?.['http.route'] ?? name,
    kind: name === 'request' ? KIND.server : KIND.internal,
    startTimeUnixNano: nanoseconds(started_ms),
    endTimeUnixNano: nanoseconds(started_ms + duration_ms),
    attributes: listed(about),
    ...(error !== undefined && { status: { code: STATUS_ERROR, message: error } }),
  };
}

/** Where it stands: under the cut of its batch, under what called us, or by itself. */
function placed(name: string, subject: number | undefined, traceparent: string | undefined, log_id: string) {
  const own = randomBytes(8).toString('hex');
  if (OF_A_BATCH.has(name) && subject !== undefined) {
    const [traceId, cut] = idsOf(`${log_id}/batch/${subject}`);
    return name === 'cut' ? { traceId, spanId: cut } : { traceId, spanId: own, parentSpanId: cut };
  }
  const [, traceId, parentSpanId] = TRACEPARENT.exec(traceparent ?? '') ?? [];
  if (traceId !== undefined && parentSpanId !== undefined) return { traceId, spanId: own, parentSpanId };
  return { traceId: randomBytes(16).toString('hex'), spanId: own };
}

function idsOf(text: string): [traceId: string, spanId: string] {
  const digest = createHash('sha256').update(text).digest('hex');
  return [digest.slice(0, 32), digest.slice(32, 48)];
}

const unitOf = (name: string): string => (OF_A_BATCH.has(name) ? 'height' : name === 'seal' ? 'log_size' : 'subject');

const nanoseconds = (time_ms: number): string => String(BigInt(Math.round(time_ms * 1000)) * 1000n);

function listed(attributes: Readonly<Record<string, string | number>>): object[] {
  return Object.entries(attributes).map(([key, value]) => ({
    key,
    value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value },
  }));
}
