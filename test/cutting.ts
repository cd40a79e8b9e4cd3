// A network between two daemons that a test cuts: HTTP goes through as it is, and at each message the test may break the connection,
// before the message arrives or before its answer does, or do something else and let it pass.
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** `before`: it has not arrived; `after`: it was answered, and nobody has heard. */
export type Moment = 'before' | 'after';

export interface Cutting extends AsyncDisposable {
  readonly url: string;
  /** Paths, in the order in which they came. */
  readonly seen: string[];
}

/** @param act  asked at both moments of every message; true cuts it */
export async function cutting(
  target: () => string,
  act: (path: string, moment: Moment, nth: number) => boolean | Promise<boolean>,
): Promise<Cutting> {
  const seen: string[] = [];
  const counts = new Map<string, number>();
  const pass = async (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url!;
    const nth = (counts.get(path) ?? 0) + 1;
    counts.set(path, nth);
    seen.push(path);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    if (await act(path, 'before', nth)) return request.socket.destroy();
    const { hostname, port } = new URL(target());
    const { method, headers } = request;
    const forwarded = httpRequest({ host: hostname, port, path, method, headers, agent: false });
    forwarded.end(Buffer.concat(chunks));
    const [answer] = (await once(forwarded, 'response')) as [IncomingMessage];
    const body: Buffer[] = [];
    for await (const chunk of answer) body.push(chunk);
    if (await act(path, 'after', nth)) return request.socket.destroy();
    response.writeHead(answer.statusCode!, answer.headers).end(Buffer.concat(body));
    return undefined;
  };
  const server = createServer((request, response) => {
    // Nobody there any more is a cut, too.
    pass(request, response).catch(() => request.socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
