// `aegisd status`: a running daemon's own account of itself.
import { Status } from '../status.ts';
import { ask, type Common } from './asking.ts';

export const status = (options: Common): Promise<number> =>
  ask(options, async (daemon) => {
    const answer = await daemon.get('/sequencer/status', Status);
    return { answer, lines: describe(answer, daemon.where) };
  });

function describe({ readiness, sequencer, chain, log, epoch, store, faults }: Status, where: string): string[] {
  const platform = sequencer.simulated ? `${sequencer.tee_platform} (SIMULATED)` : sequencer.tee_platform;
  const stuck = faults.map(({ effect, message, tries }) => `  failing    ${effect}, ${tries} tries: ${message}`);
  return [
    `aegisd at ${where}: ${readiness.ready ? 'ready' : `NOT READY (${readiness.reasons.join(', ')})`}`,
    `  platform   ${platform}`,
    `  chain      ${chain.chain_id}, ${chain.height === null ? 'no batch yet' : `height ${chain.height}`}`,
    `  signs      ${chain.algorithm_set}, epoch ${epoch.active}`,
    `  log        ${log.size} entries, ${log.sealed} of them sealed`,
    `  queue      ${sequencer.mempool_size} pending, ${sequencer.ordered_queue} batches on their way (${sequencer.ordering_mode})`,
    `  store      ${store.writable ? 'writable' : 'NOT WRITABLE'}${store.reason === null ? '' : `, ${store.reason}`}`,
    ...stuck,
  ];
}
