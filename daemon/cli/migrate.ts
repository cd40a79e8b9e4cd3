// `aegisd migrate …`: a migration of state begun, watched, completed and rolled back on a running daemon, and a checkpoint exported as a
// file for `aegisd verify`. What decides needs the daemon's unix socket, or the admin's token over TCP.
import { readFileSync, writeFileSync } from 'node:fs';
import type { Snapshot } from '../../actors/checkpoint.ts';
import { ExportedHead, ExportedPart, MigrationStatus } from '../api/migration.ts';
import { type Connection, connect, RequestError } from './connection.ts';
import { printable } from './entry.ts';
import { reportUsage, sizeOf, UsageError } from './file.ts';
import { EXIT } from './program.ts';

interface Common {
  readonly config?: string;
  readonly url?: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
}

const TOKEN_BYTES_MAX = 4_096;

export const status = (options: Common): Promise<number> =>
  ask(options, (daemon) => daemon.get('/migration/status', MigrationStatus));

export const start = (options: Common & { sender?: string[] }): Promise<number> =>
  ask(options, (daemon) => daemon.post('/migration/start', { senders: options.sender ?? [] }, MigrationStatus));

/** @param act  the last part of the route */
export const end = (act: 'complete' | 'rollback', checkpoint_id: string, options: Common): Promise<number> =>
  ask(options, (daemon) => daemon.post(`/migration/${act}`, { checkpoint_id }, MigrationStatus));

export async function exportCheckpoint(
  checkpoint_id: string,
  options: Common & { readonly out: string },
): Promise<number> {
  return told(options, async (daemon) => {
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

function ask(options: Common, request: (daemon: Connection) => Promise<MigrationStatus>): Promise<number> {
  return told(options, async (daemon) => {
    const answer = await request(daemon);
    return { answer, lines: described(answer) };
  });
}

async function told(
  options: Common,
  act: (daemon: Connection) => Promise<{ answer: object; lines: readonly string[] }>,
): Promise<number> {
  try {
    const daemon = connect({
      ...options,
      ...(options.tokenFile !== undefined && { token: readToken(options.tokenFile) }),
    });
    try {
      const { answer, lines } = await act(daemon);
      process.stdout.write(`${options.json === true ? JSON.stringify(answer) : lines.map(printable).join('\n')}\n`);
      return EXIT.ok;
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      process.stderr.write(`${daemon.where}: ${error.message}\n`);
      return EXIT.refused;
    } finally {
      daemon.close();
    }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    reportUsage(error, options.json === true);
    return EXIT.usage;
  }
}

function readToken(path: string): string {
  if (sizeOf(path) > TOKEN_BYTES_MAX) throw new UsageError(path, '', 'too large for a token');
  return readFileSync(path, 'utf8').trim();
}

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
