// Orders of admins over HTTP (DESIGN §11). Handing one in takes the admin's token or the unix socket, and its signature besides;
// what was executed, and by whose key, is for everyone to read: each order explains an entry of the log, and whoever
// checks the log checks it.
import { z } from 'zod';
import { Admins, ExecutedOrder, Order } from '../../actors/order.ts';
import { admins } from '../admins.ts';
import { executedOrders } from '../orders.ts';
import { integer, NoQuery } from './input.ts';
import { type App, type Modules, problems, refuse } from './route.ts';

/** An order takes up to 10 KB. */
const LISTED_MAX = 100;
const LISTED = 20;

const Orders = z.strictObject({ orders: z.array(ExecutedOrder) }).meta({ id: 'Orders' });

export function orders(app: App, { sequencer }: Modules): void {
  const { store } = sequencer;

  app.post(
    '/admin/orders',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'Execute an order that an admin has signed',
        description: 'Once: the same order again is refused with the `leaf_index` of the first time.',
        tags: ['admin'],
        querystring: NoQuery,
        body: Order,
        response: {
          200: ExecutedOrder,
          ...problems(
            ...(['empty_body', 'invalid_json', 'invalid_body', 'invalid_query', 'order_admin_unknown'] as const),
            ...(['order_signature_invalid', 'order_wrong_log', 'order_expired', 'order_lifetime_too_long'] as const),
            ...(['order_replayed', 'act_refused', 'act_not_supported', 'body_too_large'] as const),
            ...(['unsupported_media_type', 'store_unavailable'] as const),
          ),
        },
      },
    },
    async (request, reply) => {
      const outcome = await sequencer.orders.execute(request.body);
      if (outcome.ok) return outcome.executed;
      const { ok: _, code, ...particulars } = outcome;
      return refuse(reply, code, particulars);
    },
  );

  app.get(
    '/admin/orders',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Orders that were executed, in the order of the log',
        tags: ['admin'],
        querystring: z.strictObject({ after: integer(0).optional(), limit: integer(1, LISTED_MAX).optional() }),
        response: { 200: Orders, ...problems('invalid_query') },
      },
    },
    async (request) => {
      const { after, limit = LISTED } = request.query;
      return { orders: executedOrders(store, after, limit) };
    },
  );

  app.get(
    '/admin/keys',
    {
      config: { role: 'public' },
      schema: {
        summary: 'Whose orders are executed, fixed when the log began',
        tags: ['admin'],
        querystring: NoQuery,
        response: { 200: Admins, ...problems('invalid_query') },
      },
    },
    async () => admins(store),
  );
}
