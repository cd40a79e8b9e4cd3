// The event log of a TDX guest (dstack's JSON form) and its replay into RTMR0-3. verification.ts replays it, the dstack provider
// brings it into canonical form before it is published. A register binds only digests and their order, so the canonical
// log holds nothing else: boot events (RTMR0-2) are bare digests, sorted by register; runtime events (RTMR3) keep name and
// payload, because their digest is recomputed from them. Each change of a canonical log then changes a register.
import { sha384 } from '@noble/hashes/sha2.js';
import { z } from 'zod';
import { concat, utf8 } from './encoding.ts';
import { little } from './intelquote.ts';

/** dstack's runtime event type, part of the digest (FACTS: `sha384(LE32(type) ‖ ":" ‖ name ‖ ":" ‖ payload)`). */
const RUNTIME_EVENT = 0x08000001;
const REGISTERS = 4;
const EVENTS_MAX = 4_096;
const TEXT_BYTES_MAX = 1_048_576;

const RawEvent = z.object({
  imr: z
    .int()
    .min(0)
    .max(REGISTERS - 1),
  event_type: z.int().min(0).max(0xffff_ffff),
  digest: z.string().regex(/^(?:[0-9a-f]{96})?$/),
  event: z.string().max(1_024),
  event_payload: z.string().regex(/^(?:[0-9a-f]{2})*$/),
});
type RawEvent = z.output<typeof RawEvent>;
const RawEvents = z.array(RawEvent).max(EVENTS_MAX);

export interface Replay {
  /** RTMR0-3, 48 bytes each. */
  readonly registers: readonly Uint8Array[];
  /** sha256 of the compose file that dstack measured before `system-ready`, 32 bytes; null where none or several. */
  readonly compose_hash: Uint8Array | null;
  /** Runtime events before `system-ready`, in order: none where that event is missing. */
  readonly boot: readonly BootEvent[];
}

export interface BootEvent {
  readonly event: string;
  readonly payload: Uint8Array;
}

/** The canonical form of a log as a guest agent gives it. @throws {SyntaxError} when it isn't such a log */
export function canonicalEventLog(text: string): string {
  return JSON.stringify(read(text).map(canonical).sort(byRegister));
}

/** @throws {SyntaxError} unless `text` is the canonical form of a log */
export function replay(text: string): Replay {
  const events = read(text);
  if (JSON.stringify(events.map(canonical).sort(byRegister)) !== text) {
    throw new SyntaxError('event log is not in its canonical form');
  }
  const registers = Array.from({ length: REGISTERS }, (): Uint8Array => new Uint8Array(48));
  for (const { imr, digest } of events) registers[imr] = sha384(concat(registers[imr]!, Uint8Array.fromHex(digest)));
  const boot = bootEvents(events);
  const hash = onlyPayload(boot, 'compose-hash');
  return { registers, compose_hash: hash?.length === 32 ? hash : null, boot };
}

function read(text: string): RawEvent[] {
  if (text.length > TEXT_BYTES_MAX) throw new SyntaxError(`event log of more than ${TEXT_BYTES_MAX} bytes`);
  const parsed = RawEvents.safeParse(JSON.parse(text));
  if (!parsed.success) throw new SyntaxError(`event log: ${parsed.error.issues[0]?.path.join('.')} is not as expected`);
  return parsed.data;
}

/** Stable, so the order within a register, which is measured, stays. */
const byRegister = (a: RawEvent, b: RawEvent) => a.imr - b.imr;

function canonical(event: RawEvent): RawEvent {
  if (event.imr !== 3) {
    if (event.digest === '') throw new SyntaxError(`boot event of RTMR${event.imr} has no digest`);
    return { imr: event.imr, event_type: 0, digest: event.digest, event: '', event_payload: '' };
  }
  if (event.event_type !== RUNTIME_EVENT) throw new SyntaxError(`event type ${event.event_type} in RTMR3`);
  // The digest doesn't say where the name ends: a colon in it would let payload pass for name.
  if (event.event.includes(':')) throw new SyntaxError('event name with a colon');
  if (!event.event.isWellFormed()) throw new SyntaxError('event name is not Unicode');
  return {
    imr: 3,
    event_type: RUNTIME_EVENT,
    digest: runtimeDigest(event).toHex(),
    event: event.event,
    event_payload: event.event_payload,
  };
}

function runtimeDigest({ event, event_payload }: RawEvent): Uint8Array {
  return sha384(concat(little(RUNTIME_EVENT, 4), utf8(`:${event}:`), Uint8Array.fromHex(event_payload)));
}

/** What an application emits after `system-ready` proves nothing about how it was started. */
function bootEvents(events: readonly RawEvent[]): BootEvent[] {
  const runtime = events.filter((event) => event.imr === 3);
  const ready = runtime.findIndex((event) => event.event === 'system-ready');
  return runtime
    .slice(0, Math.max(ready, 0))
    .map(({ event, event_payload }) => ({ event, payload: Uint8Array.fromHex(event_payload) }));
}

/** The payload of the one event of that name; null where there are none or several. */
export function onlyPayload(boot: readonly BootEvent[], name: string): Uint8Array | null {
  const [first, ...more] = boot.filter(({ event }) => event === name);
  return first !== undefined && more.length === 0 ? first.payload : null;
}
