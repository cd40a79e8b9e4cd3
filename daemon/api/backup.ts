// A backup over HTTP, for `aegisd backup`: taken into the state folder, where its operator finds it. Nobody chooses by a request where
// the daemon writes, and what is in a backup opens under the daemon's own keys alone.
import { resolve } from 'node:path';
import { z } from 'zod';
import { Counter } from '../../actors/encoding.ts';
import { BackupManifest, Backups } from '../backup.ts';
import { NoQuery } from './input.ts';
import { type App, type Modules, problems } from './route.ts';

export const TakenBackup = z
  .strictObject({
    folder: z.string().describe('On the machine of the daemon.'),
    bytes: Counter,
    manifest: BackupManifest,
  })
  .meta({ id: 'TakenBackup' });

export function backup(app: App, { sequencer }: Modules): void {
  const folder = resolve(sequencer.config.daemon.state_dir, 'backups');
  const backups = new Backups({ store: sequencer.store, folder, now: () => sequencer.now() });

  app.post(
    '/admin/backup',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Copy the store while it runs',
        description: 'One at a time: who asks while one is taken gets that one.',
        tags: ['admin'],
        querystring: NoQuery,
        response: {
          200: TakenBackup,
          ...problems('unauthorized', 'forbidden', 'invalid_query', 'store_unavailable'),
        },
      },
    },
    async () => backups.take(),
  );
}
