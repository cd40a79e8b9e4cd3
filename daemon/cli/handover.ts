// `aegisd handover`: lets a successor enclave take over from a running daemon, looks how that stands, or takes it back. Which enclave may
// come, the signed orders of admins say, and nothing here. With --wait it goes on until this enclave has ended and a seal says so.
import { setTimeout as delay } from 'node:timers/promises';
import { timestamp } from '../../actors/encoding.ts';
import { HandoverStatus } from '../../actors/handover.ts';
import { ask, type Common } from './asking.ts';
import type { Connection } from './connection.ts';

interface Options extends Common {
  readonly status?: boolean;
  readonly cancel?: boolean;
  readonly wait?: boolean;
  /** Seconds. */
  readonly timeout: number;
}

const LOOK_MS = 500;

export function handover(successor_url: string | undefined, options: Options): Promise<number> {
  return ask(options, async (daemon) => {
    const answer = await begin(daemon, successor_url, options);
    const found = options.wait === true ? await ended(daemon, options.timeout) : answer;
    const ok = options.wait !== true || isOver(found);
    return { answer: found, lines: described(found), ok };
  });
}

function begin(daemon: Connection, successor_url: string | undefined, options: Options): Promise<HandoverStatus> {
  if (options.status === true) return look(daemon);
  if (options.cancel === true) return daemon.ask('DELETE', '/admin/handover', undefined, HandoverStatus);
  return daemon.post('/admin/handover', successor_url === undefined ? {} : { successor_url }, HandoverStatus);
}

const look = (daemon: Connection) => daemon.get('/handover', HandoverStatus);

const isOver = ({ state, newest }: HandoverStatus): boolean => state === 'ended' && newest !== null;

async function ended(daemon: Connection, timeout_s: number): Promise<HandoverStatus> {
  const limit = AbortSignal.timeout(timeout_s * 1000);
  for (;;) {
    const found = await look(daemon);
    if (isOver(found) || limit.aborted) return found;
    await delay(LOOK_MS, undefined, { signal: limit }).catch(() => {});
  }
}

const STATES: Record<HandoverStatus['state'], string> = {
  none: 'no handover is open',
  open: 'open: a successor that an order allows may come',
  transferring: 'a successor takes the state; nothing is admitted meanwhile',
  ended: 'this enclave has ended and will never sign again',
};

function described({ state, successor_url, allowed, newest }: HandoverStatus): string[] {
  const orders = allowed.map(({ measurement, in_force_after_ms, leaf_index }) => {
    const [, register] = Object.entries(measurement).find(([name]) => /^(mrtd|measurement|mr_enclave)$/.test(name))!;
    const name = `${measurement.quote_type} ${String(register).slice(0, 18)}…`;
    return `  ${name}  from ${timestamp(in_force_after_ms)} on, by the order at leaf ${leaf_index}`;
  });
  return [
    `handover   ${STATES[state]}`,
    ...(successor_url === null ? [] : [`successor  ${successor_url}`]),
    ...(newest === null
      ? []
      : [`sealed     epoch ${newest.handover.from_epoch} ended at size ${newest.sealed.seal.size} of the log`]),
    ...(orders.length === 0 ? ['allowed    nobody: an admin signs allow_measurement'] : ['allowed', ...orders]),
  ];
}
