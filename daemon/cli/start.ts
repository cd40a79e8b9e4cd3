// `aegisd start`: the daemon's life from its configuration to its last seal, as systemd or a shell sees it. Signals are taken before
// anything is opened: one during start-up ends in an orderly stop too, or is heeded once there is something to heed it. The
// supervisor hears of each stage (notify.ts), and the file of settings is watched for as long as the daemon serves.
import { url as inspectorUrl } from 'node:inspector';
import { loadConfig } from '../../config/load.ts';
import { steadyCollector } from '../collector.ts';
import { Fault } from '../fault.ts';
import { FileWatch } from '../filewatch.ts';
import { createLogger } from '../logger.ts';
import { type Notifier, openNotifier } from '../notify.ts';
import { ruleFlaws } from '../rules.ts';
import { createSequencer, type Sequencer } from '../sequencer.ts';
import { Telemetry } from '../telemetry.ts';
import { EXIT, VERSION } from './program.ts';

/** Said on standard error, and nothing else is done. */
export const INSPECTED =
  'aegisd: the debugger is open (SIGUSR1 while Node started, --inspect, or NODE_OPTIONS), so no key may be derived; start again without it';

/** As a shell reports a process that SIGINT ended. */
const INTERRUPTED = 130;
/** What a start that failed leaves to threads and files. */
const CLOSE_MS = 5_000;

interface Options {
  config?: string;
  json?: boolean;
  acceptMissingWatermark?: boolean;
  acceptNewWitness?: boolean;
  successorOf?: string;
}

export async function start(options: Options): Promise<number> {
  const stop = stopSignal();
  const orders = heed();
  if (inspectorUrl() !== undefined) {
    // A SIGUSR1 before the first statement of main.ts opens it, and whoever is attached could read every key.
    process.stderr.write(`${INSPECTED}\n`);
    return EXIT.refused;
  }
  steadyCollector();
  const load = () => loadConfig({ file: options.config, check: ruleFlaws });
  const { config, sources } = load();
  const log = createLogger(config.daemon.log_level);
  const notifier = await openNotifier({ onFailed: (reason) => log.warn({ reason }, 'systemd hears nothing') });
  const fatal = (error: unknown) => {
    log.fatal({ err: error }, 'a broken invariant ends the process; the next start takes up what was acknowledged');
    process.exit(1);
  };
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', fatal);

  notifier.status('Starting: opening the store and deriving keys');
  const taking = options.successorOf === undefined ? undefined : succession(options.successorOf, notifier, stop);
  const starting = createSequencer({
    config,
    log,
    fatal,
    load: () => load().config,
    accept_missing_watermark: options.acceptMissingWatermark === true,
    accept_new_witness: options.acceptNewWitness === true,
    ...taking,
  }).catch((error: unknown) => {
    // What was taken so far is begun anew, or gone on with, at the next start.
    if (taking?.signal.aborted && error instanceof Fault && error.code === 'succession_failed') return undefined;
    throw error;
  });
  // What serves is loaded while threads start and make the first keys; `serve` says what is wrong with it.
  import('../api/server.ts').catch(() => {});
  const sequencer = await starting;
  if (sequencer === undefined) {
    notifier.close();
    return EXIT.ok;
  }
  sequencer.events.on('reloaded', () => {
    log.level = sequencer.config.daemon.log_level;
  });
  const { otlp_endpoint: endpoint } = config.telemetry;
  const { log_id } = sequencer.keyset;
  await using telemetry = endpoint === '' ? undefined : new Telemetry({ endpoint, log_id, version: VERSION, log });
  try {
    await serve({ sequencer, log, notifier, orders, stop, sources, options, telemetry });
    await sequencer.close();
  } catch (error) {
    notifier.close();
    // Not in the state to finish anything; and what does not end by itself may not outlive the message.
    setTimeout(() => process.exit(EXIT.refused), CLOSE_MS).unref();
    await sequencer.close(0).catch((err: unknown) => log.warn({ err }, 'closing failed'));
    throw error;
  } finally {
    notifier.close();
  }
  return EXIT.ok;
}

/** A start that waits for another enclave: the supervisor gives it time and hears what it waits for, and a signal gives it up. */
function succession(successor_of: string, notifier: Notifier, stop: Promise<NodeJS.Signals>) {
  const giveUp = new AbortController();
  let isUnderWay = false;
  void stop.then((signal) => {
    if (isUnderWay) notifier.stopping(`Stopping on ${signal}: the succession is given up until the next start`);
    giveUp.abort();
  });
  const onSucceeding = (stage: string | undefined) => {
    isUnderWay = stage !== undefined;
    if (isUnderWay) notifier.prolong();
    else notifier.prolonged();
    notifier.status(`Starting: ${isUnderWay ? `taking the log over from ${successor_of}; ${stage}` : 'deriving keys'}`);
  };
  return { successor_of, signal: giveUp.signal, onSucceeding };
}

type Log = ReturnType<typeof createLogger>;

/** What signals ask for; `serve` puts what does it in the place of what can't yet. */
interface Orders {
  rotate: () => void;
  reload: () => void;
  handOver: () => void;
  /** What was asked for before there was anything that could do it. */
  readonly early: Set<string>;
}

interface Serving {
  readonly sequencer: Sequencer;
  readonly log: Log;
  readonly notifier: Notifier;
  readonly orders: Orders;
  readonly stop: Promise<NodeJS.Signals>;
  readonly sources: readonly string[];
  readonly options: Options;
  readonly telemetry: Telemetry | undefined;
}

/** Node's default for SIGHUP and SIGUSR2 is to end at once. */
function heed(): Orders {
  const early = new Set<string>();
  const orders: Orders = {
    rotate: () => early.add('SIGUSR1'),
    reload: () => early.add('SIGHUP'),
    handOver: () => early.add('SIGUSR2'),
    early,
  };
  process.on('aegis:reload' as never, () => orders.reload());
  process.on('aegis:rotate' as never, () => orders.rotate());
  process.on('SIGUSR2', () => orders.handOver());
  return orders;
}

/** From the first request to the last seal. @throws {Fault} */
async function serve({ sequencer, log, notifier, orders, stop, sources, options, telemetry }: Serving): Promise<void> {
  const { createServer } = await import('../api/server.ts');
  await using server = await createServer({ sequencer, log, version: VERSION, telemetry });
  const address = await server.listen();
  announce({ ...address, sources, admin_token: server.adminTokenPath }, sequencer.status(), options.json === true);
  log.info({ ...address, sources, version: VERSION }, 'listening');
  const status = () => statusLine(sequencer, address.url);
  notifier.ready(status());
  notifier.watch(status);

  let stopping = false;
  const reload = (cause: string) => {
    if (stopping) log.warn({ cause }, 'stopping: settings are read at the next start');
    else void reloadOn(cause, sequencer, log, notifier, status);
  };
  orders.rotate = () => void rotateOn(sequencer, log);
  orders.reload = () => reload('SIGHUP');
  orders.handOver = () => handOverOn(sequencer, log);
  if (orders.early.has('SIGUSR1')) log.warn({}, 'SIGUSR1 before the start was over: send it again');
  if (orders.early.has('SIGUSR2')) log.warn({}, 'SIGUSR2 before the start was over: send it again');
  if (orders.early.has('SIGHUP')) orders.reload();
  const watch = options.config === undefined ? undefined : new FileWatch(options.config, () => reload('the file'));

  const signal = await stop;
  stopping = true;
  watch?.[Symbol.dispose]();
  log.info({ signal }, 'stopping: no more admission, what is in hand is finished and sealed');
  notifier.stopping(`Stopping on ${signal}: finishing and sealing what is in hand`);
  const sealed = await sequencer.finish();
  log.info({ sealed }, sealed ? 'everything in hand is sealed' : 'out of time: the rest is taken up at the next start');
}

/** For `systemctl status`: where, how far, and what an operator has to do something about. */
function statusLine(sequencer: Sequencer, url: string): string {
  const { epoch, sequencer: about, log, settings } = sequencer.status();
  const { ready, reasons } = sequencer.ready();
  const parts = [
    `${ready ? 'Serving' : `NOT READY (${reasons.join(', ')})`} on ${url}${about.simulated ? ', SIMULATED' : ''}`,
    `epoch ${epoch.active}, ${about.batch_count} batches, ${log.sealed} of ${log.size} log entries sealed`,
  ];
  if (settings.rejected_at_ms !== null)
    parts.push('the newest settings are REFUSED and the old ones hold: see the log');
  if (settings.waiting.length > 0) parts.push(`a restart takes ${settings.waiting.join(', ')}`);
  return parts.join('; ');
}

/** What SIGHUP and a change of the file ask for. */
async function reloadOn(
  cause: string,
  sequencer: Sequencer,
  log: Log,
  notifier: Notifier,
  status: () => string,
): Promise<void> {
  notifier.reloading();
  try {
    const outcome = await sequencer.reload();
    if (!outcome.ok) log.error({ cause, issues: outcome.message.split('\n') }, 'settings refused: the old ones hold');
    else {
      const changed = outcome.changed.map(({ key, before, after }) => ({ setting: key, before, after }));
      if (outcome.waiting.length > 0) log.warn({ waiting: outcome.waiting }, 'settings that need a restart');
      log.info({ cause, changed }, changed.length === 0 ? 'settings reloaded: nothing to apply' : 'settings reloaded');
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    log.error(
      { cause, err: error },
      'settings not reloaded: the old ones hold; send SIGHUP once the store writes again',
    );
  }
  notifier.ready(status());
}

/** What SIGUSR1 asks for. A signal gets no answer but the log's. */
async function rotateOn(sequencer: Sequencer, log: Log): Promise<void> {
  try {
    const outcome = await sequencer.rotate({ reason: 'manual' });
    if (outcome.ok) log.info({ ...outcome.rotation }, 'SIGUSR1: the next epoch of keys is announced');
    else log.warn({ ...outcome }, 'SIGUSR1: no rotation');
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    log.warn({ err: error }, 'SIGUSR1: no rotation');
  }
}

/** What SIGUSR2 asks for: that a successor which an order allows may come. */
function handOverOn(sequencer: Sequencer, log: Log): void {
  const outcome = sequencer.handover.open();
  if (!outcome.ok) log.warn({ ...outcome }, 'SIGUSR2: no handover');
}

/** Resolves with the first SIGTERM or SIGINT; a second SIGINT ends the process at once, which loses nothing. */
export function stopSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let asked = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (asked && signal === 'SIGINT') process.exit(INTERRUPTED);
      asked = true;
      resolve(signal);
    });
  }
  return promise;
}

function announce(
  address: { url: string; socket: string; sources: readonly string[]; admin_token: string },
  status: ReturnType<Sequencer['status']>,
  json: boolean,
): void {
  const { simulated, tee_platform } = status.sequencer;
  const about = { ...address, pid: process.pid, simulated, log_id: status.log.log_id, chain_id: status.chain.chain_id };
  if (json) {
    process.stdout.write(`${JSON.stringify(about)}\n`);
    return;
  }
  const platform = simulated
    ? `SIMULATED (${tee_platform}): no hardware vouches for anything; for trying things out only`
    : tee_platform;
  process.stdout.write(
    [
      `aegisd ${VERSION} listens on ${address.url}`,
      `  platform      ${platform}`,
      `  chain         ${status.chain.chain_id}, epoch ${status.epoch.active}, ${status.sequencer.batch_count} batches so far`,
      `  unix socket   ${address.socket}`,
      `  admin token   ${address.admin_token}`,
      `  API           ${address.url}/openapi.json, feed ${address.url.replace('http', 'ws')}/feed`,
      '',
      'Try next, in another terminal:',
      '  npx aegisd send --sample --wait     encrypt a transaction, submit it, wait for its seal',
      '  npx aegisd status                   how the daemon is',
      '  npx aegisd demo                     200 transactions on a daemon of their own, verified in a fresh process',
      '',
    ].join('\n'),
  );
}
