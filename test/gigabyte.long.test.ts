// A gigabyte through encryption and decryption of one asset at once, in a daemon of its own: what comes out is what went in, and the
// memory that the daemon ever took is that of a stream a hundred times as short, give or take what a collector leaves lying.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { type Child, startDaemon } from '../daemon/demo/child.ts';

const PIECE_BYTES = 1_048_576;
const SHORT = 10;
const LONG = 1_024;
/** An eighth of what passes, and more than V8 lets lie before it collects. */
const GROWTH_BYTES_MAX = 128 * 1_048_576;

async function post({ socket }: Child, path: string, body: Readable | string): Promise<IncomingMessage> {
  const type = typeof body === 'string' ? 'application/json' : 'application/octet-stream';
  const headers = { 'content-type': type };
  const request = httpRequest({ socketPath: socket, agent: false, method: 'POST', path, headers });
  if (typeof body === 'string') request.end(body);
  else body.pipe(request);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  // A stream that breaks shows at its end.
  request.on('error', () => {});
  return response;
}

/** Pieces that differ, so that none can take the place of another. */
function* pieces(count: number, digest: ReturnType<typeof createHash>) {
  const filler = randomBytes(PIECE_BYTES);
  for (let i = 0; i < count; i++) {
    const piece = Buffer.from(filler);
    piece.writeUInt32BE(i);
    digest.update(piece);
    yield piece;
  }
}

/** Sends so much there and back. @returns what went in and what came out */
async function roundTrip(daemon: Child, count: number) {
  const sent = createHash('sha256');
  const sealed = await post(daemon, '/assets/file/encrypt', Readable.from(pieces(count, sent), { objectMode: false }));
  expect(sealed.statusCode).toBe(200);
  const opened = await post(daemon, '/assets/file/decrypt', sealed);
  expect(opened.statusCode).toBe(200);
  const received = createHash('sha256');
  let bytes = 0;
  for await (const piece of opened) {
    received.update(piece as Buffer);
    bytes += (piece as Buffer).length;
  }
  return { bytes, sent: sent.digest('hex'), received: received.digest('hex') };
}

/** proc(5), VmHWM: the most that it ever had in memory. */
function peakBytes({ pid }: Child): number {
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return Number(kilobytes) * 1024;
}

it.skipIf(process.platform !== 'linux')('streams a gigabyte in the memory of ten megabytes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'aegis-gigabyte-'));
  const daemon = await startDaemon(folder, join(folder, 'log'));
  try {
    const access_policy = { requires_pqc: false, requires_tee: false, risk_threshold: 10_000 };
    const file = { asset_id: 'file', asset_type: 'OffChainFile', access_policy };
    const registered = await post(daemon, '/assets/register', JSON.stringify(file));
    expect(registered.statusCode).toBe(201);
    registered.resume();

    const short = await roundTrip(daemon, SHORT);
    expect(short.received).toBe(short.sent);
    const before = peakBytes(daemon);
    const long = await roundTrip(daemon, LONG);
    expect(long).toMatchObject({ bytes: LONG * PIECE_BYTES, received: long.sent });
    const growth = peakBytes(daemon) - before;
    console.log(`peak of ${Math.round(before / 1e6)} MB, and ${Math.round(growth / 1e6)} MB more for ${LONG} MiB`);
    expect(growth).toBeLessThan(GROWTH_BYTES_MAX);
  } finally {
    await daemon.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
