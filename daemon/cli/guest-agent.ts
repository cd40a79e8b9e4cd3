// `aegisd guest-agent`: a simulated dstack guest agent on a unix socket, to try the key source dstack without a CVM. Test
// equipment, so it is refused where the settings say production: whoever reaches its socket has every key.
import { once } from 'node:events';
import { resolve } from 'node:path';
import { loadConfig } from '../../config/load.ts';
import { type Release, startAgent } from '../demo/agent.ts';
import { makeAppKeys, openAppKeys } from '../demo/appkeys.ts';
import { openSimulator } from '../tee/simulator.ts';
import { RequestError } from './connection.ts';
import { EXIT } from './program.ts';

interface Options {
  readonly socket: string;
  readonly keys?: string;
  readonly pki?: string;
  readonly release: Release;
  readonly config?: string;
  readonly json?: boolean;
}

/** Runs until SIGTERM or SIGINT. */
export async function guestAgent(options: Options): Promise<number> {
  try {
    return await run(options);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return EXIT.refused;
  }
}

/** @throws {RequestError} `not_in_production`, `keys_invalid`, `socket_in_use` */
async function run(options: Options): Promise<number> {
  const { config } = loadConfig(options.config === undefined ? {} : { file: options.config });
  if (config.daemon.environment === 'production') {
    throw new RequestError('not_in_production', 'daemon.environment is "production", and this is test equipment');
  }
  const ended = Promise.race(['SIGTERM', 'SIGINT'].map((signal) => once(process, signal)));
  const keys = options.keys === undefined ? makeAppKeys() : openAppKeys(options.keys);
  const socket = resolve(options.socket);
  const simulator = options.pki === undefined ? undefined : openSimulator(resolve(options.pki), Date.now);
  const quote = simulator && { quote: simulator.quoteOf };
  await using agent = await startAgent({ socket, keys, release: options.release, ...quote }).catch((cause) => {
    const reason = cause.code === 'EADDRINUSE' ? 'something else is there' : cause.code;
    throw new RequestError('socket_in_use', `cannot listen on ${socket}: ${reason}`, { cause });
  });
  const { app_id, kms_root } = agent;
  const about = { socket, app_id, kms_root, release: options.release, simulated: true };
  process.stdout.write(options.json === true ? `${JSON.stringify(about)}\n` : said(about, options.keys));
  await ended;
  return EXIT.ok;
}

function said({ socket, app_id, kms_root }: Record<'socket' | 'app_id' | 'kms_root', string>, keys?: string): string {
  return [
    `A SIMULATED guest agent listens on ${socket}: test equipment, which protects nothing`,
    keys === undefined ? 'Its keys end with it; --keys FILE keeps them.' : `Its keys are in ${keys}.`,
    'For a daemon that takes its keys from here:',
    '',
    '[keys]',
    'source = "dstack"',
    `dstack_socket = ${JSON.stringify(socket)}`,
    `kms_root = "${kms_root}"`,
    `app_id = "${app_id}"`,
    '',
  ].join('\n');
}
