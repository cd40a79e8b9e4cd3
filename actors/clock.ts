// What is believed of a clock that somebody else sets (DESIGN §12). The host's clock is held against the time that was agreed on
// last, carried on by the process's own monotonic clock: while the two are within the step that is allowed, the host's holds;
// beyond it the clock is held. Then time goes on by the monotonic clock, and what ages by the clock (expiry, decay) stands still until
// the host's clock comes back, or somebody who may says that it is right. Pure: readings come in, the next state goes out.

/** Both clocks at one moment. */
export interface Reading {
  /** The host's, Unix time. */
  readonly wall_ms: number;
  /** Since some moment; only differences count. */
  readonly monotonic_ms: number;
}

export interface Hold {
  readonly cause: HoldCause;
  /** Where the clock that things age by stands still. */
  readonly stopped_ms: number;
  readonly since: Reading;
  /** The time that the day goes on from. */
  readonly runs_on: Reading;
}

/** The host's clock was set while the daemon ran; or it is far from where the last run left it. */
export const HOLD_CAUSES = ['step', 'start'] as const;
export type HoldCause = (typeof HOLD_CAUSES)[number];

export interface Timekeeping {
  /** What was agreed on. It doesn't move by itself, so that many small steps come to a large one. */
  readonly agreed: Reading;
  /** The newest reading within what is allowed. */
  readonly last: Reading;
  readonly hold: Hold | null;
}

const since = (from: Reading, { monotonic_ms }: Reading): number => from.wall_ms + (monotonic_ms - from.monotonic_ms);

/** How far the host's clock is from the agreed time; negative when it is behind. */
export const apart = ({ agreed }: Timekeeping, reading: Reading): number => reading.wall_ms - since(agreed, reading);

/**
 * By how much the host's clock was ahead of all the time that was spent running, over all runs, when it was agreed on. What comes
 * to it while nothing runs, nobody here has measured.
 */
export interface Anchor {
  readonly offset_ms: number;
  /** How long all runs had lasted by then. */
  readonly uptime_ms: number;
}

const DAY_MS = 86_400_000;

/**
 * What a start takes for true without being told: within the step that is allowed the anchor follows the host's clock, by one such step
 * for each day of running. So the gaps of many short runs don't add up to more than one long run is allowed; beyond it the anchor stays.
 */
export function followed(anchor: Anchor, found: Anchor, step_max_ms: number): Anchor {
  const ran_ms = Math.min(DAY_MS, Math.max(0, found.uptime_ms - anchor.uptime_ms));
  const credit_ms = Math.floor((step_max_ms * ran_ms) / DAY_MS);
  const off_ms = found.offset_ms - anchor.offset_ms;
  if (Math.abs(off_ms) > step_max_ms + credit_ms) return anchor;
  const moved_ms = Math.max(-credit_ms, Math.min(credit_ms, off_ms));
  return { offset_ms: anchor.offset_ms + moved_ms, uptime_ms: found.uptime_ms };
}

/** What the runs before have left. */
export interface Left {
  /** The newest time that things aged by. */
  readonly mark_ms: number;
  /** What the clock would show by the anchor. */
  readonly agreed_ms: number;
}

/**
 * At a start, where the monotonic clock says nothing of the time before. Timestamps and evidence go by the host's clock from here
 * on, whatever the gap, because a daemon that was off for a while has to go on; only what ages waits.
 *
 * @param left  undefined at the first start, or where nobody could ever agree
 */
export function begin(left: Left | undefined, reading: Reading, step_max_ms: number): Timekeeping {
  if (left === undefined) return agree(reading);
  const agreed = { ...reading, wall_ms: left.agreed_ms };
  if (Math.abs(reading.wall_ms - left.agreed_ms) <= step_max_ms) return { agreed, last: reading, hold: null };
  const hold = { cause: 'start', stopped_ms: left.mark_ms, since: reading, runs_on: reading } as const;
  return { agreed, last: reading, hold };
}

/** One look at the clocks. The state comes back as it was where nothing has changed but the time. */
export function observe(state: Timekeeping, reading: Reading, step_max_ms: number): Timekeeping {
  const { agreed, last, hold } = state;
  if (Math.abs(apart(state, reading)) <= step_max_ms) return { agreed, last: reading, hold: null };
  if (hold !== null) return state;
  const stopped_ms = since(last, reading);
  return { agreed, last, hold: { cause: 'step', stopped_ms, since: reading, runs_on: last } };
}

/** The host's clock is right, says somebody who may. */
export const agree = (reading: Reading): Timekeeping => ({ agreed: reading, last: reading, hold: null });

/** The time of day: of receipts, headers and evidence. */
export function dayTime({ hold }: Timekeeping, reading: Reading): number {
  return hold === null ? reading.wall_ms : Math.round(since(hold.runs_on, reading));
}

/** The time that lifetimes end and threats decay by: stands still while the clock is held. */
export function agingTime({ hold }: Timekeeping, reading: Reading): number {
  return hold === null ? reading.wall_ms : Math.round(hold.stopped_ms);
}

/** `agingTime`, but going on through a hold: how long something has lasted in this run must not depend on the host. */
export function dwellTime({ hold }: Timekeeping, reading: Reading): number {
  if (hold === null) return reading.wall_ms;
  return Math.round(hold.stopped_ms + (reading.monotonic_ms - hold.since.monotonic_ms));
}
