// `aegisd witness`: the life of a witness from its configuration to its end. It has no batch in hand, so it ends at once: what it
// acknowledged is durable, and what it did not is asked again.
import { url as inspectorUrl } from 'node:inspector';
import { loadConfig } from '../../config/load.ts';
import { createLogger } from '../logger.ts';
import { openNotifier } from '../notify.ts';
import { ruleFlaws } from '../rules.ts';
import { serveWitness } from '../witness/api.ts';
import { createWitness } from '../witness/witness.ts';
import { EXIT } from './program.ts';
import { INSPECTED, stopSignal } from './start.ts';

interface Options {
  config?: string;
  json?: boolean;
  acceptMissingWatermark?: boolean;
}

/** Runs until SIGTERM or SIGINT. */
export async function witness(options: Options): Promise<number> {
  const stop = stopSignal();
  if (inspectorUrl() !== undefined) {
    process.stderr.write(`${INSPECTED}\n`);
    return EXIT.refused;
  }
  const { config } = loadConfig({ file: options.config, check: ruleFlaws });
  const log = createLogger(config.daemon.log_level);
  const fatal = (error: unknown) => {
    log.fatal({ err: error }, 'a broken invariant ends the process; what was acknowledged is durable');
    process.exit(1);
  };
  process.on('uncaughtException', fatal);
  process.on('unhandledRejection', fatal);
  for (const signal of ['SIGHUP', 'SIGUSR2'] as const)
    process.on(signal, () => log.warn({ signal }, 'not for a witness'));

  const notifier = await openNotifier({ onFailed: (reason) => log.warn({ reason }, 'systemd hears nothing') });
  const accept_missing_watermark = options.acceptMissingWatermark === true;
  await using role = await createWitness({ config, log, fatal, accept_missing_watermark });
  await using server = await serveWitness(role, config, log);
  const { simulated, providerName } = role.platform.provider;
  const about = { url: server.url, pid: process.pid, simulated, platform: providerName, witness_key: role.witness_key };
  process.stdout.write(options.json === true ? `${JSON.stringify(about)}\n` : said(about));
  log.info({ url: server.url }, 'listening');
  const status = `Witnessing on ${server.url}${simulated ? ', SIMULATED' : ''}`;
  notifier.ready(status);
  notifier.watch(() => status);
  const signal = await stop;
  log.info({ signal }, 'stopping');
  notifier.stopping(`Stopping on ${signal}`);
  return EXIT.ok;
}

function said({ url, platform, simulated }: { url: string; platform: string; simulated: boolean }): string {
  return [
    `aegisd witness listens on ${url}`,
    `  platform      ${simulated ? `SIMULATED (${platform}): no hardware vouches for anything` : platform}`,
    `  what it saw   ${url}/witness, ${url}/log/head`,
    '',
    'For its sequencer:',
    '',
    '[attestation]',
    'witness = "required"',
    `witness_url = ${JSON.stringify(url)}`,
    '',
  ].join('\n');
}
