// `aegisd start`: the daemon's life from its configuration to its last seal. Signals are taken before anything is opened, so
// that one during start-up ends in an orderly stop too.
import { url as inspectorUrl } from 'node:inspector';
import { loadConfig } from '../../config/load.ts';
import { createServer } from '../api/server.ts';
import { Fault } from '../fault.ts';
import { createLogger } from '../logger.ts';
import { createSequencer, type Sequencer } from '../sequencer.ts';
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
}

export async function start(options: Options): Promise<number> {
  const stop = stopSignal();
  if (inspectorUrl() !== undefined) {
    // A SIGUSR1 before the first statement of main.ts opens it, and whoever is attached could read every key.
    process.stderr.write(`${INSPECTED}\n`);
    return EXIT.refused;
  }
  const { config, sources } = loadConfig(options.config === undefined ? {} : { file: options.config });
  const log = createLogger(config.daemon.log_level);
  // Node's default for both is to end at once.
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const) {
    process.on(signal, () =>
      log.warn({ signal }, 'this version does nothing on this signal; a restart reads new settings'),
    );
  }
  const fatal = (error: unknown) => {
    log.fatal({ err: error }, 'a broken invariant ends the process; the next start takes up what was acknowledged');
    process.exit(1);
  };
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', fatal);

  const accept_missing_watermark = options.acceptMissingWatermark === true;
  let rotate = () => log.warn({}, 'SIGUSR1 before the start was over: send it again');
  process.on('aegis:rotate' as never, () => rotate());
  const sequencer = await createSequencer({ config, log, fatal, accept_missing_watermark });
  rotate = () => void rotateOn(sequencer, log);
  try {
    await serve(sequencer, log, stop, sources, options.json === true);
    await sequencer.close();
  } catch (error) {
    // Not in the state to finish anything; and what does not end by itself may not outlive the message.
    setTimeout(() => process.exit(EXIT.refused), CLOSE_MS).unref();
    await sequencer.close(0).catch((err: unknown) => log.warn({ err }, 'closing failed'));
    throw error;
  }
  return EXIT.ok;
}

/** From the first request to the last seal. @throws {Fault} */
async function serve(
  sequencer: Sequencer,
  log: ReturnType<typeof createLogger>,
  stop: Promise<NodeJS.Signals>,
  sources: readonly string[],
  json: boolean,
): Promise<void> {
  await using server = await createServer({ sequencer, log, version: VERSION });
  const address = await server.listen();
  announce({ ...address, sources, admin_token: server.adminTokenPath }, sequencer.status(), json);
  log.info({ ...address, sources, version: VERSION }, 'listening');

  const signal = await stop;
  log.info({ signal }, 'stopping: no more admission, what is in hand is finished and sealed');
  const sealed = await sequencer.finish();
  log.info({ sealed }, sealed ? 'everything in hand is sealed' : 'out of time: the rest is taken up at the next start');
}

/** What SIGUSR1 asks for. A signal gets no answer but the log's. */
async function rotateOn(sequencer: Sequencer, log: ReturnType<typeof createLogger>): Promise<void> {
  try {
    const outcome = await sequencer.rotate({ reason: 'manual' });
    if (outcome.ok) log.info({ ...outcome.rotation }, 'SIGUSR1: the next epoch of keys is announced');
    else log.warn({ ...outcome }, 'SIGUSR1: no rotation');
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    log.warn({ err: error }, 'SIGUSR1: no rotation');
  }
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
