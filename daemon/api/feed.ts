// The feed's history over HTTP, and what /feed says to those who don't speak WebSocket. The WebSocket side is daemon/feed.ts.
import { z } from 'zod';
import { Counter } from '../../actors/encoding.ts';
import { CLOSE_CODES, FeedEntry } from '../../actors/feed.ts';
import { FeedQuery } from '../feed.ts';
import { peerOf } from './door.ts';
import { integer } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

const closes = Object.entries(CLOSE_CODES)
  .map(([reason, code]) => `${code} ${reason}`)
  .join(', ');

const LIMIT_MAX = 1_000;
const LIMIT_DEFAULT = 100;

const FeedPage = z
  .strictObject({ entries: z.array(FeedEntry), newest: Counter.describe('The newest cursor of the journal.') })
  .meta({ id: 'FeedPage' });

export function feed(app: App, modules: Modules): void {
  app.get(
    '/feed',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Every journal entry, in order, over WebSocket',
        description:
          'Entries behind `cursor` (the one you have seen last) and everything after, as JSON texts; without it, from ' +
          `now on. \`types\` is a comma-separated filter. Close codes carry a reason: ${closes}.`,
        tags: ['feed'],
        querystring: FeedQuery,
        response: problems('invalid_query', 'upgrade_required', 'feed_full', 'rate_limited'),
      },
    },
    async (request, reply) => {
      const upgrades = request.headers.upgrade !== undefined;
      const full = upgrades && modules.feed.isFull;
      if (full) return refuse(reply, 'feed_full', { retry_after_s: 1 });
      if (upgrades && modules.feed.hasShare(peerOf(request.raw.socket).client)) {
        const detail = `one address has ${modules.sequencer.config.feed.client_max} places of the feed at most`;
        return refuse(reply, 'rate_limited', { retry_after_s: 1, detail });
      }
      reply.header('upgrade', 'websocket');
      return refuse(reply, 'upgrade_required');
    },
  );

  app.get(
    '/feed/entries',
    {
      config: { role: 'public', long: true },
      schema: {
        summary: 'A page of the journal',
        description: 'Entries behind the cursor `after`, oldest first; fewer than `limit` where they are large.',
        tags: ['feed'],
        querystring: z.strictObject({ after: integer(0).optional(), limit: integer(1, LIMIT_MAX).optional() }),
        response: { 200: FeedPage, ...problems('invalid_query', 'future_cursor', 'outdated_cursor') },
      },
    },
    async (request, reply) => {
      const { after = 0, limit = LIMIT_DEFAULT } = request.query;
      const page = modules.feed.page(after, limit);
      if (!page.ok) {
        const { ok: _, code, ...particulars } = page;
        return refuse(reply, code, particulars);
      }
      return { entries: page.entries, newest: page.newest };
    },
  );
}
