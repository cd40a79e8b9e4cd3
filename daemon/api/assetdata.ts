// POST /assets/{id}/encrypt, /decrypt and /rewrap (DESIGN §7, §11). The first two are streams in both directions at once, of any
// size through bounded memory. What shows before the first byte of an answer is a problem; after it only the end of the
// connection can tell that the rest is missing, so that is what happens: it is reset, never ended as if all were well.
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type DataOperation, RegisteredId } from '../../actors/asset.ts';
import { uint } from '../../actors/encoding.ts';
import type { AssetData, Outcome } from '../assetdata.ts';
import { decryptStream, encryptStream, StreamError } from '../datastream.ts';
import { takeTime } from './door.ts';
import { NoQuery } from './input.ts';
import { type ProblemCode, Refused } from './problem.ts';
import { type App, callerOf, type Modules, problems } from './route.ts';

/** Each holds a few hundred KiB and a share of the main thread. */
const STREAMS_MAX = 8;
const OCTETS = 'application/octet-stream';

const Params = z.strictObject({ id: RegisteredId });
export const Rewrapped = z
  .strictObject({ asset_id: RegisteredId, from_epoch: uint(32), epoch: uint(32) })
  .meta({ id: 'AssetRewrapped' });
const KEY = ['asset_not_found', 'grant_missing', 'operation_not_allowed', 'asset_protected', 'asset_frozen'] as const;
const COMMON = [...KEY, 'evidence_missing', 'unauthorized', 'forbidden', 'invalid_path', 'invalid_query'] as const;
const STREAM = ['streams_busy', 'unsupported_media_type', 'empty_body', 'data_key_retired'] as const;
const BROKEN = ['stream_unknown', 'stream_foreign', 'stream_truncated', 'stream_reordered', 'stream_altered'] as const;

export function assetData(app: App, { sequencer }: Modules): void {
  const { assetData: data } = sequencer;
  let streams = 0;

  // In a context of its own, so that every other route takes JSON and nothing else.
  void app.register(async (inner) => {
    inner.removeAllContentTypeParsers();
    inner.addContentTypeParser(OCTETS, async (_request: FastifyRequest, payload: Readable) => payload);
    stream(inner as never, 'encrypt', 'Encrypts a stream under the data key of the asset', [], async (id, body) => {
      const begun = unwrapped(await data.begin(id));
      return encryptStream(begun.key, begun.header, body);
    });
    stream(
      inner as never,
      'decrypt',
      'Decrypts a stream of the asset',
      ['data_key_missing', ...BROKEN],
      async (id, body) => decryptStream(async (header) => unwrapped(await data.resume(id, header)), body),
    );
  });

  app.post(
    '/assets/:id/rewrap',
    {
      config: { role: 'data', roles: ['names', 'worker'] },
      schema: {
        summary: 'Move the data key of an asset to the active epoch',
        tags: ['assets'],
        params: Params,
        querystring: NoQuery,
        response: {
          200: Rewrapped,
          ...problems(...COMMON, 'data_key_missing', 'data_key_retired', 'store_unavailable'),
        },
      },
    },
    async (request) => {
      const { id } = request.params;
      permit(data, request, id, 'rewrap');
      return { asset_id: id, ...unwrapped(await data.rewrap(id)) };
    },
  );

  function stream(
    inner: App,
    operation: DataOperation,
    summary: string,
    own: readonly ProblemCode[],
    make: (asset_id: string, body: Readable) => Promise<AsyncGenerator<Uint8Array>>,
  ): void {
    inner.post(
      `/assets/:id/${operation}`,
      {
        config: { role: 'data', roles: ['names', 'worker'] },
        schema: {
          summary,
          tags: ['assets'],
          params: Params,
          querystring: NoQuery,
          response: {
            200: { description: 'The stream', content: { [OCTETS]: { schema: z.string() } } },
            ...problems(...COMMON, ...STREAM, ...own),
          },
        },
      },
      async (request, reply) => {
        const { id } = request.params as { id: string };
        permit(data, request, id, operation);
        if (!(request.body instanceof Readable)) throw new Refused('empty_body');
        if (streams >= STREAMS_MAX) throw new Refused('streams_busy', { retry_after_s: 1 });
        streams += 1;
        reply.raw.once('close', () => (streams -= 1));
        const answered = await begun(await make(id, request.body));
        // The first piece came in the time of every request; what follows may take as long as there is to send.
        takeTime(request.raw.socket, reply.raw);
        return answer(reply, answered);
      },
    );
  }
}

function permit(data: AssetData, request: FastifyRequest, id: string, operation: DataOperation): void {
  unwrapped(data.permit(id, operation, callerOf(request)));
}

function unwrapped<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Refused(outcome.code);
  return outcome.value;
}

/** The first piece is made before anything is answered: until then a problem can be said. */
async function begun(stream: AsyncGenerator<Uint8Array>): Promise<AsyncGenerator<Uint8Array>> {
  let first: IteratorResult<Uint8Array>;
  try {
    first = await stream.next();
  } catch (error) {
    throw error instanceof StreamError ? new Refused(error.code) : error;
  }
  return (async function* () {
    if (first.done !== true) yield first.value;
    yield* stream;
  })();
}

/** A failure of the stream destroys the connection, with the answer unfinished. */
function answer(reply: FastifyReply, stream: AsyncGenerator<Uint8Array>): FastifyReply {
  const source = Readable.from(stream, { objectMode: false });
  source.once('error', () => reply.raw.destroy());
  return reply.type(OCTETS).send(source);
}
