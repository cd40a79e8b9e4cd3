// Journal entries in human words, one line each, for `aegisd watch`. What an entry of a known type doesn't have in its known
// shape, or a type that this version doesn't know, is shown as it came. Nothing here trusts the daemon: control characters
// never reach the terminal, and a line has a bound.
import { z } from 'zod';
import { timestamp } from '../../actors/encoding.ts';
import type { FeedEntry } from '../../actors/feed.ts';

const LINE_CHARACTERS_MAX = 240;
/** What a Date can hold. */
const TIME_MAX_MS = 8_640_000_000_000_000;

const line = <Schema extends z.ZodType>(schema: Schema, describe: (data: z.output<Schema>) => string) => {
  return (data: unknown): string | undefined => {
    const parsed = schema.safeParse(data);
    return parsed.success ? describe(parsed.data) : undefined;
  };
};

const LINES: Readonly<Record<string, (data: unknown) => string | undefined>> = {
  tx_submitted: line(
    z.object({ envelope_id: z.string(), admission_sequence: z.string(), epoch: z.int() }),
    ({ envelope_id, admission_sequence, epoch }) =>
      `admitted   envelope ${short(envelope_id)}, number ${admission_sequence}, epoch ${epoch}`,
  ),
  txs_ordered: line(
    z.object({ height: z.int(), from: z.int(), order: z.array(z.unknown()) }),
    ({ height, from, order }) =>
      `ordered    ${many(order.length, from === 0 ? 'envelope' : 'more envelope')} into batch ${height}`,
  ),
  batch_created: line(
    z.object({
      height: z.int(),
      batch_id: z.string(),
      tx_count: z.int(),
      refused: z.array(z.object({ reason: z.string() })),
    }),
    ({ height, batch_id, tx_count, refused }) =>
      `signed     batch ${height} ${short(batch_id)}: ${many(tx_count, 'transaction')}${reasons(refused)}`,
  ),
  seal_created: line(
    z.object({ size: z.int(), heights: z.array(z.int()) }),
    ({ size, heights }) => `sealed     the first ${many(size, 'log entry')}${range(heights)}`,
  ),
  order_executed: line(
    z.object({ leaf_index: z.int(), admin: z.string(), act: z.looseObject({ type: z.string() }) }),
    ({ leaf_index, admin, act: { type, ...rest } }) =>
      `executed   ${type} ${JSON.stringify(rest)} by admin ${short(admin)}, log entry ${leaf_index}`,
  ),
  epoch_rewrapped: line(
    z.object({ epoch: z.int(), to_epoch: z.int() }),
    ({ epoch, to_epoch }) => `rewrapped  the secrets of epoch ${epoch}, to epoch ${to_epoch}`,
  ),
  rotation_scheduled: line(
    z.object({ to_epoch: z.int(), at_height: z.int(), deadline: z.string(), reason: z.string() }),
    ({ to_epoch, at_height, deadline, reason }) =>
      `announced  epoch ${to_epoch} from height ${at_height} on, at the latest from ${deadline}: ${reason}`,
  ),
  epoch_retired: line(
    z.object({ epoch: z.int(), forced: z.boolean() }),
    ({ epoch, forced }) => `retired    epoch ${epoch}${forced ? ', by force' : ''}: its keys are gone`,
  ),
  qrm_update: line(
    z.object({
      score: z.int(),
      recommendation: z.string(),
      cause: z.string(),
      previous: z.object({ score: z.int() }),
      rotation: z.object({ urgency: z.string(), dry_run: z.boolean() }).nullable(),
    }),
    ({ score, recommendation, cause, previous, rotation }) => {
      const asked =
        rotation === null ? '' : `, asks for a rotation (${rotation.dry_run ? 'dry run' : rotation.urgency})`;
      return `risk       ${previous.score} to ${score}, ${recommendation}, by ${cause}${asked}`;
    },
  ),
  simulation_started: line(
    z.object({ seed: z.int(), rounds: z.int() }),
    ({ seed, rounds }) => `simulated  a threat of seed ${seed} in ${rounds} rounds`,
  ),
  simulation_stopped: line(
    z.object({ seed: z.int(), round: z.int(), reason: z.string() }),
    ({ seed, round, reason }) => `simulated  seed ${seed} ${reason} after ${round} rounds`,
  ),
  attestation_changed: line(
    z.object({
      role: z.string(),
      provider: z.string().optional(),
      state: z.string().optional(),
      enabled: z.boolean().optional(),
    }),
    ({ role, provider, state, enabled }) =>
      enabled === undefined
        ? `attesting  ${provider} (${role}) ${state === 'failing' ? 'fails' : 'works again'}`
        : `attesting  ${role} turned ${enabled ? 'on' : 'off'}`,
  ),
  config_reloaded: line(
    z.object({
      changed: z.array(z.object({ key: z.string(), before: z.unknown(), after: z.unknown() })),
      waiting: z.array(z.string()),
    }),
    ({ changed, waiting }) => {
      const said = changed.map(({ key, before, after }) => `${key} ${String(before)} to ${String(after)}`);
      if (waiting.length > 0) said.push(`${waiting.join(', ')} with the next start`);
      return `settings   ${said.length === 0 ? 'as they were' : said.join('; ')}`;
    },
  ),
  config_rejected: line(
    z.object({ issues: z.int() }),
    ({ issues }) => `settings   refused for ${issues} mistakes; the old ones hold`,
  ),
  clock_held: line(
    z.object({ cause: z.string(), apart_ms: z.number() }),
    ({ cause, apart_ms }) =>
      `clock      ${apart_ms / 1000} s apart at a ${cause}: expiry, decay and names wait until somebody agrees`,
  ),
  clock_agreed: line(z.object({ by: z.string() }), ({ by }) => `clock      believed again, by the ${by}`),
  rotation_executed: line(
    z.object({ from_epoch: z.int().nullable(), to_epoch: z.int(), reason: z.string() }),
    ({ from_epoch, to_epoch, reason }) =>
      `rotated    ${from_epoch === null ? '' : `epoch ${from_epoch} to `}epoch ${to_epoch}: ${reason}`,
  ),
};

/** `12:00:00.250      42  signed     batch 7 …`: time of day in UTC, cursor, what happened. */
export function describeEntry({ cursor, type, at_ms, data }: FeedEntry): string {
  const time = at_ms <= TIME_MAX_MS ? timestamp(at_ms).slice(11, 23) : '--:--:--.---';
  const words = LINES[type]?.(data) ?? `${type.padEnd(10)} ${JSON.stringify(data) ?? ''}`;
  const text = printable(`${time} ${String(cursor).padStart(7)}  ${words}`);
  return text.length > LINE_CHARACTERS_MAX ? `${text.slice(0, LINE_CHARACTERS_MAX)}…` : text;
}

/** A server could otherwise send control sequences to the terminal. */
export function printable(text: string): string {
  return text.replace(/\p{C}/gu, ' ');
}

function many(count: number, what: string): string {
  return count === 1 ? `1 ${what}` : `${count} ${what.replace(/y$/, 'ie')}s`;
}

/** `, 3 refused (unopenable 2, replayed)`. */
function reasons(refused: readonly { readonly reason: string }[]): string {
  if (refused.length === 0) return '';
  const counts = new Map<string, number>();
  for (const { reason } of refused) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  const named = [...counts].map(([reason, count]) => (count === 1 ? reason : `${reason} ${count}`));
  return `, ${refused.length} refused (${named.join(', ')})`;
}

function range(heights: readonly number[]): string {
  if (heights.length === 0) return '';
  const [first, last] = [heights[0]!, heights.at(-1)!];
  return first === last ? `, batch ${first}` : `, batches ${first} to ${last}`;
}

const short = (digest: string): string => (digest.length > 20 ? `${digest.slice(0, 10)}…${digest.slice(-8)}` : digest);
