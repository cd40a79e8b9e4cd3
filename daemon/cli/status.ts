// `aegisd status`: a running daemon's own account of itself.
import { Status } from '../status.ts';
import { connect, RequestError } from './connection.ts';
import { printable } from './entry.ts';
import { EXIT } from './program.ts';

export async function status(options: { config?: string; url?: string; json?: boolean }): Promise<number> {
  const connection = connect(options);
  try {
    const answer = await connection.get('/sequencer/status', Status);
    process.stdout.write(options.json === true ? `${JSON.stringify(answer)}\n` : describe(answer, connection.where));
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    process.stderr.write(`${connection.where}: ${error.message}\n`);
    return EXIT.refused;
  }
}

function describe({ sequencer, chain, log, epoch, store, faults }: Status, where: string): string {
  const platform = sequencer.simulated ? `${sequencer.tee_platform} (SIMULATED)` : sequencer.tee_platform;
  const stuck = faults.map(({ effect, message, tries }) => `  failing    ${effect}, ${tries} tries: ${message}`);
  return `${[
    `aegisd at ${where}${sequencer.draining ? ', stopping' : ''}`,
    `  platform   ${platform}`,
    `  chain      ${chain.chain_id}, ${chain.height === null ? 'no batch yet' : `height ${chain.height}`}`,
    `  signs      ${chain.algorithm_set}, epoch ${epoch.active}`,
    `  log        ${log.size} entries, ${log.sealed} of them sealed`,
    `  queue      ${sequencer.mempool_size} pending, ${sequencer.ordered_queue} batches on their way (${sequencer.ordering_mode})`,
    `  store      ${store.writable ? 'writable' : 'NOT WRITABLE'}${store.reason === null ? '' : `, ${store.reason}`}`,
    ...stuck,
  ]
    .map(printable)
    .join('\n')}\n`;
}
