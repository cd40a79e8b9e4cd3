// Decides when keys rotate and retire (DESIGN §5): takes the wishes of admins, of the risk score, of the calendar and of a
// changed platform, announces the next epoch, and executes and retires when the store says that it may. It keeps nothing: after
// a crash the store says what was announced, and a wish that was not announced was promised to nobody. Keys are derived and
// proved before the step that publishes them, and off the main thread.
import { isDeepStrictEqual } from 'node:util';
import type { RotationReason } from '../actors/epoch.ts';
import type { Attestation } from '../actors/quote.ts';
import { inGrace, standing } from './epoch.ts';
import type { Epochs } from './epochs.ts';
import { Fault } from './fault.ts';
import { type EpochKeys, keysetOf } from './keys/keyring.ts';
import type { KeySource } from './keys/source.ts';
import { type Meta, meta, pendingRotation, putMeta, type RotationRecord, rotationRecord } from './records.ts';
import { type Backlog, close, isOver, isSpent, retire } from './retirement.ts';
import { announce, bringForward, execute, isDue, isReady } from './rotation.ts';
import type { Runtime, Step } from './runtime.ts';
import type { Reader, Store } from './store.ts';

/** `[rotation]` of sequencer.toml. */
export interface RotationOptions {
  readonly interval_s: number;
  readonly delay_blocks: number;
  readonly delay_max_s: number;
  readonly grace_s: number;
}

export interface Wish {
  readonly reason: RotationReason;
  /** `emergency`: at the next height, and whatever was announced comes forward. A compromise is one always. */
  readonly urgency?: 'scheduled' | 'emergency';
  /** Heights from now; `rotation.delay_blocks` where left out. */
  readonly delay_blocks?: number;
}

export type RotationOutcome =
  | { readonly ok: true; readonly rotation: RotationRecord }
  | { readonly ok: false; readonly code: 'rotation_pending'; readonly rotation: RotationRecord }
  | { readonly ok: false; readonly code: 'too_many_epochs'; readonly grace: number }
  | { readonly ok: false; readonly code: 'draining' };

interface Modules {
  readonly runtime: Runtime;
  readonly store: Store;
  readonly epochs: Epochs;
  readonly source: KeySource['name'];
  /** Derives and proves. @throws {Fault} */
  readonly derive: (epoch: number) => Promise<EpochKeys>;
  readonly backlog: Backlog;
  readonly options: () => RotationOptions;
  /** Stands still while the clock is held. */
  readonly now: () => number;
  /** Whether nothing retires, since the clock is held. */
  readonly held?: () => boolean;
  /** The log has grown by a keyset. */
  readonly onAnnounced: () => void;
  /** Only a seal is missing. */
  readonly onUnsealed: () => Promise<void>;
  /** A new epoch signs, durably: what was held may go on. */
  readonly onExecuted: () => void;
  readonly onFault: (error: Fault) => void;
  readonly fatal: (error: unknown) => void;
}

/** Each holds keys in memory. An emergency passes it, and ends the grace of all others. */
const GRACE_EPOCHS_MAX = 16;
/** The longest time without a look: the host may set the clock. */
const LOOK_MAX_MS = 60_000;
const LOOK_MIN_MS = 10;
/** After a fault: of the key source, or of the disk. */
const RETRY_MS = 5_000;

export class Rotator {
  readonly #modules: Modules;
  #timer: NodeJS.Timeout | undefined;
  #preparing: Promise<unknown> | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  /** Of the first quote since the start, until it was compared. */
  #measured: Meta['measurements'] | undefined;
  #compared = false;

  constructor(modules: Modules) {
    this.#modules = modules;
  }

  /** Whether nothing may be cut: the old epoch has cut its last batch. Asked inside the step that would. */
  holdsCuts(reader: Reader): boolean {
    return isDue(reader, this.#modules.now());
  }

  /** Whether the next seal belongs to the new epoch. */
  holdsSeals(reader: Reader): boolean {
    return !this.#stopped && isReady(reader, this.#modules.now());
  }

  /**
   * Announces the next epoch; durable when it resolves with `ok`, and executed once the old one has nothing left to sign.
   *
   * @throws {Fault} of the key source, of the proof, of the store: nothing was announced
   */
  async rotate(wish: Wish): Promise<RotationOutcome> {
    const { store } = this.#modules;
    // Whoever waited for keys that failed hears of it, so that many wishes don't ask a key source that hangs one after the other.
    while (this.#preparing !== undefined) await this.#preparing;
    if (this.#stopped) return { ok: false, code: 'draining' };
    const pending = pendingRotation(store);
    if (pending !== undefined) return this.#bringForward(pending, wish);
    const grace = inGrace(store).length;
    if (grace >= GRACE_EPOCHS_MAX && !isUrgent(wish)) return { ok: false, code: 'too_many_epochs', grace };
    return { ok: true, rotation: await this.#exclusively(() => this.#announce(wish)) };
  }

  /** The first quote since the start has verified: are these the measurements that the store remembers? */
  measured({ measurements }: Attestation): void {
    if (this.#compared) return;
    this.#measured ??= measurements;
    this.wake();
  }

  /** Something may have become possible: a batch was signed, a head sealed, a backlog emptied, a timer fired. */
  wake(): void {
    this.#again = true;
    if (this.#stopped || this.#looking !== undefined) return;
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
      if (this.#again) this.wake();
    });
  }

  /** What is announced stays announced; the next start goes on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await Promise.allSettled([this.#preparing, this.#looking]);
  }

  async #look(): Promise<void> {
    let wait_ms = LOOK_MAX_MS;
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#execute();
        await this.#retire();
        await this.#compare();
        await this.#keepTime();
        wait_ms = this.#next_ms() - this.#modules.now();
      } catch (error) {
        if (!(error instanceof Fault)) return this.#modules.fatal(error);
        this.#modules.onFault(error);
        wait_ms = RETRY_MS;
      }
    }
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => this.wake(), Math.max(LOOK_MIN_MS, Math.min(wait_ms, LOOK_MAX_MS))).unref();
  }

  /** When the clock alone will make something possible. */
  #next_ms(): number {
    const { store } = this.#modules;
    const pending = pendingRotation(store);
    const now_ms = this.#modules.now();
    const times = [pending?.deadline_ms ?? this.#scheduled_ms()];
    for (const epoch of inGrace(store)) {
      const { barrier, grace_ends_ms } = standing(store, epoch)!;
      if (barrier === undefined) times.push(grace_ends_ms ?? now_ms);
    }
    // What is over already waits for an event, not for the clock.
    return Math.min(...times.filter((time_ms) => time_ms > now_ms), Number.POSITIVE_INFINITY);
  }

  /** When the calendar wants the next rotation. */
  #scheduled_ms(): number {
    const { store, options } = this.#modules;
    const { interval_s } = options();
    if (interval_s === 0) return Number.POSITIVE_INFINITY;
    const since_ms = rotationRecord(store, meta(store, 'epoch').active)?.executed_at_ms;
    return (since_ms ?? meta(store, 'genesis').created_at_ms) + interval_s * 1000;
  }

  async #announce(wish: Wish, alongside?: (step: Step) => void): Promise<RotationRecord> {
    const { runtime, store, epochs, source, derive, options, now } = this.#modules;
    const keys = await derive(meta(store, 'epoch').active + 1);
    // Before the commit, so that they are there once it is durable; without it they are derived again.
    epochs.add(keys);
    return runtime.commit((step) => {
      const now_ms = now();
      const { delay_blocks, delay_max_s } = options();
      const delay = isUrgent(wish) ? 0 : (wish.delay_blocks ?? delay_blocks);
      const at_height = meta(step, 'heights').cut + delay;
      const due = { reason: wish.reason, at_height, deadline_ms: now_ms + delay_max_s * 1000 };
      const { keyset, digest } = keysetOf(keys, source, epochs.log, now_ms);
      alongside?.(step);
      return announce(step, keyset, digest, due, now_ms);
    });
  }

  async #bringForward(pending: RotationRecord, wish: Wish): Promise<RotationOutcome> {
    const { runtime, store, now } = this.#modules;
    const worse = wish.reason === 'compromise' && pending.reason !== 'compromise';
    if (!isUrgent(wish) || (!worse && isDue(store, now()))) {
      return { ok: false, code: 'rotation_pending', rotation: pending };
    }
    const outcome = await runtime.commit((step): RotationOutcome => {
      const found = pendingRotation(step);
      // Executed meanwhile, which is as urgent as can be; unless the keys that leaked are now those of its grace.
      if (found?.to_epoch !== pending.to_epoch) {
        if (worse) for (const epoch of inGrace(step)) close(step, epoch);
        return { ok: true, rotation: rotationRecord(step, pending.to_epoch)! };
      }
      return { ok: true, rotation: bringForward(step, wish.reason, now()) };
    });
    this.wake();
    return outcome;
  }

  async #execute(): Promise<void> {
    const { runtime, store, epochs, options, now, onUnsealed, onExecuted } = this.#modules;
    if (!isDue(store, now())) return;
    if (!isReady(store, now())) {
      const { cut, signed } = meta(store, 'heights');
      return cut === signed ? onUnsealed() : undefined;
    }
    const executed = await runtime.commit((step) => {
      const now_ms = now();
      // A cut may have come between while the deadline was near.
      return isReady(step, now_ms) && execute(step, options().grace_s * 1000, now_ms) !== undefined;
    });
    if (!executed) return;
    epochs.refresh();
    onExecuted();
  }

  async #retire(): Promise<void> {
    const { runtime, store, epochs, backlog, now, held } = this.#modules;
    if (held?.() === true) return;
    for (const epoch of inGrace(store)) {
      if (isOver(store, epoch, now())) {
        await runtime.commit((step) => {
          if (isOver(step, epoch, now())) close(step, epoch);
        });
      }
      if (!isSpent(store, epoch, backlog)) continue;
      await runtime.commit((step) => {
        if (isSpent(step, epoch, backlog)) retire(step, epoch, now());
      });
      epochs.refresh();
    }
  }

  /** Another enclave is not to go on under keys that the one before it has used. */
  async #compare(): Promise<void> {
    const { runtime, store } = this.#modules;
    const found = this.#measured;
    if (found === undefined) return;
    // A wish that waited too may have begun by then.
    while (this.#preparing !== undefined) await this.#preparing.catch(() => {});
    const remember = (step: Step) => putMeta(step, 'measurements', found);
    const known = store.get('meta', 'measurements') as Meta['measurements'] | undefined;
    const same = known === undefined || isDeepStrictEqual(known, found);
    // One that is announced will do: its keys have signed nothing yet.
    if (same || pendingRotation(store) !== undefined) {
      if (!isDeepStrictEqual(known, found)) await runtime.commit(remember);
    } else {
      await this.#exclusively(() => this.#announce({ reason: 'cvm_update' }, remember));
    }
    this.#measured = undefined;
    this.#compared = true;
  }

  async #keepTime(): Promise<void> {
    const { store, now } = this.#modules;
    if (pendingRotation(store) !== undefined || this.#preparing !== undefined) return;
    if (now() < this.#scheduled_ms() || inGrace(store).length >= GRACE_EPOCHS_MAX) return;
    await this.#exclusively(() => this.#announce({ reason: 'scheduled' }));
  }

  /** One at a time derives and announces. */
  async #exclusively(announcing: () => Promise<RotationRecord>): Promise<RotationRecord> {
    const preparing = announcing();
    this.#preparing = preparing.finally(() => {
      this.#preparing = undefined;
    });
    this.#preparing.catch(() => {});
    const rotation = await preparing;
    this.#modules.onAnnounced();
    this.wake();
    return rotation;
  }
}

function isUrgent({ reason, urgency }: Wish): boolean {
  return reason === 'compromise' || urgency === 'emergency';
}
