// GET /sequencer/status: what the daemon says of itself, under the names that dashboards of the upstream know.
import { Status } from '../status.ts';
import { NoQuery } from './input.ts';
import { type App, type Modules, problems } from './route.ts';

export function sequencerRoutes(app: App, { sequencer }: Modules): void {
  app.get(
    '/sequencer/status',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Mempool, heights, log, epoch, faults',
        tags: ['sequencer'],
        querystring: NoQuery,
        response: { 200: Status, ...problems('invalid_query') },
      },
    },
    async () => sequencer.status(),
  );
}
