// Risk (DESIGN §9), assembled: the room that keeps and assesses indicators, the feeds and the daemon's own eyes that bring some, and
// the simulator. The sequencer makes one before it performs anything, asks it what a batch is ordered under and what an emergency
// has left, and lets it rotate; the API, the CLI and the library talk to it.
import { z } from 'zod';
import { INDICATORS_MAX, ReportedIndicator, type ReportedIndicatorInput } from '../actors/indicator.ts';
import type { Attestation } from '../actors/quote.ts';
import { SELF_CHECK_FAILED } from '../workers/job.ts';
import { firstIssue, within } from './api/input.ts';
import { Fault } from './fault.ts';
import { meta, type RiskRecord } from './records.ts';
import { demandRotation } from './risk/demand.ts';
import { seen } from './risk/eyes.ts';
import { RiskFeeds } from './risk/feeds.ts';
import { type Report, type RiskOptions, RiskRoom } from './risk/room.ts';
import { ThreatSimulator } from './risk/simulator.ts';
import { type RiskView, riskView } from './risk/view.ts';
import type { RotationOutcome, Wish } from './rotator.ts';
import type { Performer, Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly options: () => RiskOptions;
  readonly now: () => number;
  /** See `RiskRoom`. */
  readonly aging?: () => number;
  readonly dwell?: () => number;
  /** The newest evidence that verified. */
  readonly attestation: () => Attestation | undefined;
  readonly quote_lifetime_ms: number;
  /** In the step of an assessment: the score that holds from then on. */
  readonly follow?: (step: Step, score: number, now_ms: number) => void;
  /** What is recommended or allowed may have changed. */
  readonly onChange: () => void;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
  readonly warn: (detail: object, message: string) => void;
}

/** `field` is of the first indicator that is wrong, such as `[3].severity`; then none was taken. */
export type ThreatUpdate =
  | Extract<Report, { ok: true }>
  | { readonly ok: false; readonly code: 'invalid_indicator'; readonly field: string; readonly detail: string };

const Many = z.array(ReportedIndicator).min(1).max(INDICATORS_MAX, `expected at most ${INDICATORS_MAX} indicators`);

/** Between two looks of the daemon's own eyes. */
const LOOK_MS = 60_000;

export class Risk {
  readonly room: RiskRoom;
  readonly feeds: RiskFeeds;
  readonly simulator: ThreatSimulator;
  readonly #modules: Modules;
  #looking: NodeJS.Timeout | undefined;
  #signature_failed_ms: number | undefined;

  constructor(modules: Modules) {
    this.#modules = modules;
    this.room = new RiskRoom(modules);
    const { room } = this;
    this.feeds = new RiskFeeds({ ...modules, room });
    this.simulator = new ThreatSimulator({ ...modules, room });
  }

  /** Durably assessed when it resolves, before anything is cut; then it goes on looking and polling. */
  async start(): Promise<void> {
    await this.room.start();
    await this.simulator.clear();
    this.#looking = setInterval(() => this.look(), LOOK_MS).unref();
    this.look();
    await this.feeds.start();
  }

  async stop(): Promise<void> {
    clearInterval(this.#looking);
    this.simulator.close();
    await this.feeds.stop();
    await this.room.stop();
  }

  /** What an emergency has left; only an admin's order gives back more. */
  get allowed(): RiskRecord['allowed'] {
    return this.room.record.allowed;
  }

  /** Seals follow each other without a pause, and nothing is cut that the one before doesn't cover. */
  get inEmergency(): boolean {
    return this.room.inEmergency;
  }

  /** Whether the cutter waits for the seal over what was cut before. */
  holdsCuts(reader: Reader): boolean {
    if (!this.inEmergency) return false;
    const { cut, signed } = meta(reader, 'heights');
    const { size, sealed } = meta(reader, 'log');
    return cut > signed || size > sealed;
  }

  /** Of rotations that the score asks for. */
  performer(rotate: (wish: Wish) => Promise<RotationOutcome>, timeout_ms: number): Performer {
    const { store } = this.#modules;
    return this.room.performer((act) => demandRotation(store, act, rotate), timeout_ms) as Performer;
  }

  view(explained = false): RiskView {
    return riskView(this.room, this.#modules.options().dry_run, explained);
  }

  /** @throws {Fault} of the store */
  async updateThreat(input: ReportedIndicatorInput | readonly ReportedIndicatorInput[]): Promise<ThreatUpdate> {
    const invalid = (found: { field: string; detail: string }) =>
      ({ ok: false, code: 'invalid_indicator', ...found }) as const;
    const parsed = Array.isArray(input) ? Many.safeParse(input) : ReportedIndicator.safeParse(input);
    if (!parsed.success) return invalid(firstIssue(parsed.error));
    const report = await this.room.report(Array.isArray(parsed.data) ? parsed.data : [parsed.data]);
    if (report.ok) return report;
    const { index, field, detail } = report;
    return invalid({ field: within(Array.isArray(input) ? index : undefined, field), detail });
  }

  /** An admin's order has changed what holds. */
  reassess(): void {
    this.#report(this.room.assess());
  }

  #report(change: Promise<void>): void {
    const { onFault, fatal } = this.#modules;
    change.catch((error: unknown) => (error instanceof Fault ? onFault(error) : fatal(error)));
  }

  /** An effect has failed; of interest is a signature that this process had just made and that failed its own check. */
  noticed({ code, detail }: Fault): void {
    if (code !== 'worker_failed' || !String(detail.reason).includes(SELF_CHECK_FAILED)) return;
    this.#signature_failed_ms = this.#modules.now();
    this.look();
  }

  /** Reports what is wrong with the platform and with the daemon's own work, and takes back what has healed. */
  look(): void {
    const { attestation, quote_lifetime_ms, now } = this.#modules;
    const newest = attestation();
    const { room } = this;
    const held = room.threats.find(({ id }) => id === 'daemon/signature-check')?.at_ms;
    const sight = {
      attestation: newest && { ...newest.aegis_verification, not_after_ms: newest.not_after_ms },
      quote_lifetime_ms,
      // One that an earlier process saw goes on counting until it has decayed.
      signature_failed_ms: this.#signature_failed_ms ?? held,
    };
    this.#report(room.replace('daemon', seen(sight, now())));
  }
}
