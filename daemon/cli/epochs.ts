// `aegisd epochs`: the epochs of keys and where each stands; `aegisd epochs rotate` announces the next one.
import { Epochs } from '../api/epochs.ts';
import { Rotation } from '../api/rotation.ts';
import { ask, type Common } from './asking.ts';
import type { Connection } from './connection.ts';

interface Options extends Common {
  reason?: string;
  delayBlocks?: number;
}

export const epochs = (act: string, options: Options): Promise<number> =>
  ask(options, (daemon) => (act === 'rotate' ? rotate(daemon, options) : list(daemon)));

async function list(connection: Connection) {
  const answer = await connection.get('/epochs', Epochs);
  const lines = answer.epochs.map(({ epoch, status, admits, grace_ends_at, backlog, reason, first_height }) => {
    const from = first_height === null ? '' : `, from height ${first_height}`;
    const until = grace_ends_at === null || !admits ? '' : `, admits until ${grace_ends_at}`;
    const waits = backlog === 0 || status !== 'grace' ? '' : `, ${backlog} secrets to move`;
    return `epoch ${String(epoch).padEnd(4)} ${status.padEnd(8)} ${reason}${from}${until}${waits}`;
  });
  return { answer, lines };
}

async function rotate(connection: Connection, { reason, delayBlocks: delay_blocks }: Options) {
  const wish = { ...(reason !== undefined && { reason }), ...(delay_blocks !== undefined && { delay_blocks }) };
  const answer = await connection.post('/epochs/rotate', wish, Rotation);
  const when = `from height ${answer.at_height} on, at the latest from ${answer.deadline}`;
  return { answer, lines: [`announced  epoch ${answer.to_epoch} signs ${when}: ${answer.reason}`] };
}
