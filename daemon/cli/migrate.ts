// `aegisd migrate …`: a migration of state begun, watched, completed and rolled back on a running daemon, and a checkpoint exported as a
// file for `aegisd verify`. What decides needs the daemon's unix socket, or the admin's token over TCP.
import { writeFileSync } from 'node:fs';
import type { Snapshot } from '../../actors/checkpoint.ts';
import { ExportedHead, ExportedPart, MigrationStatus } from '../api/migration.ts';
import { ask, type Common } from './asking.ts';
import { type Connection, RequestError } from './connection.ts';

export const status = (options: Common): Promise<number> =>
  shown(options, (daemon) => daemon.get('/migration/status', MigrationStatus));

export const start = (options: Common & { sender?: string[] }): Promise<number> =>
  shown(options, (daemon) => daemon.post('/migration/start', { senders: options.sender ?? [] }, MigrationStatus));

/** @param act  the last part of the route */
export const end = (act: 'complete' | 'rollback', checkpoint_id: string, options: Common): Promise<number> =>
  shown(options, (daemon) => daemon.post(`/migration/${act}`, { checkpoint_id }, MigrationStatus));

export async function exportCheckpoint(
  checkpoint_id: string,
  options: Common & { readonly out: string },
): Promise<number> {
  return ask(options, async (daemon) => {
    const path = `/migration/checkpoints/${encodeURIComponent(checkpoint_id)}`;
    const { parts, pqc_signature, slh_dsa_sig, attestation, keyset, ...head } = await daemon.get(path, ExportedHead);
    const asset_snapshots: Snapshot[] = [];
    for (let part = 0; part < parts; part++) {
      asset_snapshots.push(...(await daemon.get(`${path}/snapshots?part=${part}`, ExportedPart)).asset_snapshots);
    }
    if (asset_snapshots.length !== head.asset_count) {
      throw new RequestError('checkpoint_not_found', `the snapshots of ${checkpoint_id} are gone`);
    }
    const file = { ...head, pqc_signature, asset_snapshots, slh_dsa_sig, attestation, keyset };
    writeFileSync(options.out, `${JSON.stringify(file)}\n`, { flag: 'wx' });
    const sealed = slh_dsa_sig === null ? 'no seal covers it yet, so export it again to verify it' : 'sealed';
    const answer = { checkpoint_id, out: options.out, asset_count: head.asset_count, sealed: slh_dsa_sig !== null };
    return { answer, lines: [`${options.out}: ${checkpoint_id} of ${head.asset_count} assets, ${sealed}`] };
  });
}

const shown = (options: Common, request: (daemon: Connection) => Promise<MigrationStatus>): Promise<number> =>
  ask(options, async (daemon) => {
    const answer = await request(daemon);
    return { answer, lines: described(answer) };
  });

function described({
  state,
  stage,
  checkpoint_id,
  checkpoint,
  assets,
  senders,
  checkpoints,
}: MigrationStatus): string[] {
  const newest =
    stage === null
      ? ['migration  none so far']
      : [
          `migration  ${stage}, assets are ${state} (${assets.done} of ${assets.total} looked at)`,
          `checkpoint ${checkpoint_id}${checkpoint === null ? ', not signed yet' : `, ${checkpoint.state_hash.slice(0, 18)}…`}`,
          ...(senders.length === 0 ? [] : [`senders    ${senders.join(', ')}`]),
        ];
  const kept = checkpoints.map(
    ({ checkpoint_id: id, asset_count, timestamp, sealed, parts }) =>
      `  ${id.padEnd(24)} ${timestamp}  ${asset_count} assets${sealed ? '' : ', not sealed yet'}${
        parts === 0 && asset_count > 0 ? ', snapshots are gone' : ''
      }`,
  );
  return [...newest, ...(kept.length === 0 ? [] : ['checkpoints', ...kept])];
}
